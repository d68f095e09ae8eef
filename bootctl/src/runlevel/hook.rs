//! Commands of the administrator that run when a level is left or entered, as jobs of init.

use std::collections::BTreeMap;
use std::time::Duration;

use init_wire::{Account, JobSpec, Stdio};

use super::Level;
use crate::app::DEFAULT_PATH;

/// What tells a hook between which levels it runs.
const ENV_TO: &str = "RUNLEVEL";
const ENV_FROM: &str = "PREVLEVEL";
/// What sysvinit calls no level at all.
const NONE: &str = "N";

/// `[hook.NAME]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) name: String,
    pub(crate) exec: String,
    pub(crate) args: Vec<String>,
    pub(crate) user: Option<Account>,
    pub(crate) level: Level,
    pub(crate) moment: Moment,
    /// Lower ones run first.
    pub(crate) order: i64,
    pub(crate) timeout: Duration,
    pub(crate) policy: Policy,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Enter,
    Leave,
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The level is not reached.
    Fail,
    /// It is told, and that is all.
    GoOn,
}

impl Hook {
    /// The name of its job.
    pub(crate) fn job(&self) -> String {
        format!("hook.{}", self.name)
    }

    /// The job, on the way between two levels.
    pub(crate) fn spec(&self, from: Option<Level>, to: Level) -> JobSpec {
        let from = from.map_or_else(|| NONE.to_owned(), |level| level.to_string());
        let envs = BTreeMap::from([
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            (ENV_TO.to_owned(), to.to_string()),
            (ENV_FROM.to_owned(), from),
        ]);
        JobSpec {
            args: self.args.clone(),
            envs,
            user: self.user.clone(),
            stdout: Stdio::Log,
            stderr: Stdio::Log,
            ..JobSpec::new(&self.exec)
        }
    }

    #[cfg(test)]
    pub(super) fn sample(name: &str) -> Self {
        Self {
            name: name.into(),
            exec: "true".into(),
            args: Vec::new(),
            user: None,
            level: Level::MULTI,
            moment: Moment::Enter,
            order: 0,
            timeout: Duration::from_secs(1),
            policy: Policy::Fail,
        }
    }
}

/// Those that run when one level is left and another one entered: first those of leaving, each by their order,
/// and by their name where that is the same.
pub(super) fn due(all: &[Hook], from: Option<Level>, to: Level) -> Vec<Hook> {
    let mut leave: Vec<Hook> = Vec::new();
    let mut enter = Vec::new();
    for hook in all {
        match hook.moment {
            Moment::Leave if from == Some(hook.level) => leave.push(hook.clone()),
            Moment::Enter if hook.level == to => enter.push(hook.clone()),
            Moment::Leave | Moment::Enter => {}
        }
    }
    let by_order =
        |one: &Hook, other: &Hook| (one.order, &one.name).cmp(&(other.order, &other.name));
    leave.sort_by(by_order);
    enter.sort_by(by_order);
    leave.into_iter().chain(enter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_hooks_come_in_their_order() {
        use Moment::{Enter, Leave};
        let hook = |name: &str, level, moment, order| Hook {
            level: Level::new(level).expect("a level"),
            moment,
            order,
            ..Hook::sample(name)
        };
        let all = [
            hook("b", 1, Enter, 5),
            hook("a", 1, Enter, 5),
            hook("first", 1, Enter, -1),
            hook("left", 3, Leave, 99),
            hook("other", 3, Enter, 0),
            hook("never", 1, Leave, 0),
        ];
        let names = |from, to| {
            let due = due(&all, from, to);
            due.into_iter().map(|hook| hook.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Some(Level::MULTI), Level::SINGLE), ["left", "first", "a", "b"]);
        assert_eq!(names(None, Level::MULTI), ["other"]);
        let spec = all[0].spec(None, Level::SINGLE);
        assert_eq!((spec.envs["RUNLEVEL"].as_str(), spec.envs["PREVLEVEL"].as_str()), ("1", "N"));
    }
}
