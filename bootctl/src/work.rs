//! What is under way to get an app's next release: the commands of its `[deploy]`, one after the other, each a job
//! of init's. Pure: what comes next, and what may begin at all.
//!
//! ```text
//!             copied            ended with 0           ended with 0
//!   Copying ─────────▶ update ─────────────▶ rebuild ─────────────▶ done
//!      │ it fails        │ it fails             │ it fails
//!      └─────────────────┴──────────────────────┴──▶ over, and nothing has changed
//! ```
//!
//! An app that runs from a release is worked on in a copy of it, which becomes a release only when all has gone
//! well. One that does not is worked on where it is: what its commands have done stays done.
//!
//! It is part of the app's record, so that a bootctl that starts anew goes on with it.

use serde::{Deserialize, Serialize};

use crate::name::AppName;
use crate::release::{Number, Rules, Step};

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Work {
    /// What tells its jobs from those of other times.
    pub(crate) id: u64,
    pub(crate) task: Task,
    /// The copy that is worked in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) release: Option<Number>,
    pub(crate) phase: Phase,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Task {
    Update,
    Rebuild,
    /// Both.
    Upgrade,
    /// Both, and then what has come of them is rolled.
    Deploy,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Copying,
    Update,
    Rebuild,
}

/// A key that has to be written first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) Step);

impl Task {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Rebuild => "rebuild",
            Self::Upgrade => "upgrade",
            Self::Deploy => "deploy",
        }
    }

    /// The commands to run. What is to be done at all must be written; of several, those that are.
    fn steps(self, rules: &Rules) -> Result<Vec<Step>, Missing> {
        let all: &[Step] = match self {
            Self::Update => &[Step::Update],
            Self::Rebuild => &[Step::Rebuild],
            Self::Upgrade | Self::Deploy => &[Step::Update, Step::Rebuild],
        };
        let written: Vec<Step> =
            all.iter().copied().filter(|step| rules.command(*step).is_some()).collect();
        match (written.is_empty(), all.first()) {
            (true, Some(first)) => Err(Missing(*first)),
            (_, _) => Ok(written),
        }
    }
}

impl Phase {
    pub(crate) fn step(self) -> Option<Step> {
        match self {
            Self::Copying => None,
            Self::Update => Some(Step::Update),
            Self::Rebuild => Some(Step::Rebuild),
        }
    }

    fn of(step: Step) -> Self {
        match step {
            Step::Update => Self::Update,
            Step::Rebuild => Self::Rebuild,
        }
    }
}

impl Work {
    /// How far it is.
    pub(crate) fn sentence(&self, name: &AppName) -> String {
        let what = match self.phase.step() {
            Some(step) => format!("its {} runs", step.word()),
            None => "a copy of its release is made".into(),
        };
        format!("the {} of {name} is under way: {what}", self.task.word())
    }

    /// Begins a task, in a copy or where the app is.
    pub(crate) fn begin(
        id: u64,
        task: Task,
        release: Option<Number>,
        rules: &Rules,
    ) -> Result<Self, Missing> {
        let first = task.steps(rules)?.first().copied();
        let phase = match (release, first) {
            (None, Some(step)) => Phase::of(step),
            (Some(_), _) | (None, None) => Phase::Copying,
        };
        Ok(Self { id, task, release, phase })
    }

    /// What comes next when a phase has gone well; nothing when all is done. Commands that are not in the file any
    /// more are left out.
    pub(crate) fn next(&self, rules: &Rules) -> Option<Self> {
        let steps = self.task.steps(rules).unwrap_or_default();
        let next = match self.phase {
            Phase::Copying => steps.first(),
            Phase::Update => steps.iter().find(|step| **step == Step::Rebuild),
            Phase::Rebuild => None,
        };
        next.map(|step| Self { phase: Phase::of(*step), ..self.clone() })
    }
}

/// The job that a command is.
pub(crate) fn job_name(app: &AppName, step: Step) -> String {
    format!("{app}.{}", step.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(update: bool, rebuild: bool) -> Rules {
        let command = |is: bool| is.then(|| "true".to_owned());
        Rules { update: command(update), rebuild: command(rebuild), ..Rules::default() }
    }

    fn phases(task: Task, release: Option<Number>, rules: &Rules) -> Result<Vec<Phase>, Missing> {
        let first = Work::begin(1, task, release, rules)?;
        Ok(std::iter::successors(Some(first), |work| work.next(rules)).map(|w| w.phase).collect())
    }

    #[test]
    fn d09_commands_run_one_after_the_other_as_far_as_they_are_written() {
        use Phase::{Copying, Rebuild, Update};
        let (both, copy) = (rules(true, true), Some(Number::FIRST));
        assert_eq!(phases(Task::Update, None, &both), Ok(vec![Update]));
        assert_eq!(phases(Task::Rebuild, copy, &both), Ok(vec![Copying, Rebuild]));
        assert_eq!(phases(Task::Upgrade, None, &both), Ok(vec![Update, Rebuild]));
        assert_eq!(phases(Task::Deploy, copy, &both), Ok(vec![Copying, Update, Rebuild]));
        assert_eq!(phases(Task::Deploy, None, &rules(false, true)), Ok(vec![Rebuild]));
        assert_eq!(phases(Task::Upgrade, copy, &rules(true, false)), Ok(vec![Copying, Update]));
    }

    #[test]
    fn d09_what_is_not_written_is_off() {
        for task in [Task::Update, Task::Upgrade, Task::Deploy] {
            assert_eq!(phases(task, None, &rules(false, false)), Err(Missing(Step::Update)));
        }
        let missing = phases(Task::Rebuild, None, &rules(true, false));
        assert_eq!(missing, Err(Missing(Step::Rebuild)));
    }

    #[test]
    fn d09_a_command_that_is_gone_from_the_file_is_left_out() {
        let work = Work::begin(1, Task::Upgrade, None, &rules(true, true)).expect("both are there");
        assert_eq!(work.next(&rules(true, false)), None);
        assert_eq!(work.next(&rules(false, false)), None);
    }
}
