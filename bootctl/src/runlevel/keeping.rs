//! The supervisor's part: from what there is to the next step of a change, and what is asked of it.

use std::collections::BTreeMap;
use std::path::Path;

use axum::http::StatusCode;
use init_wire::LastExit;
use tracing::{info, warn};

use super::hook::due;
use super::{Busy, Hook, Level, Policy, Runlevel, Seen, State, Step, kept};
use crate::admin::wire::RunlevelView;
use crate::client::{Aloud, InitError, Then};
use crate::event::{Event, Reply};
use crate::exit;
use crate::name::quoted;
use crate::plan::{Desired, Observed, Wanted};
use crate::requests::{Goal, refused};
use crate::standing::Standing;
use crate::supervise::Supervisor;
use crate::wanted::Apps;

/// The job that init was started for.
const BOOT: &str = "boot";

/// A hook has ended.
pub(crate) struct HookNews {
    hook: Hook,
    result: Result<Option<Aloud>, InitError>,
}

impl Runlevel {
    /// As a bootctl finds it that is started: where an earlier one was, or at the level to boot.
    pub(crate) fn found(run_dir: &Path, boot: Level, hooks: &[Hook]) -> Self {
        let Some((level, next)) = kept::read(run_dir) else {
            let due = due(hooks, None, boot);
            if due.is_empty() {
                kept::write(run_dir, (boot, None));
            }
            return Self::boot(boot, due);
        };
        let mut runlevel = Self::boot(level, Vec::new());
        if let Some(next) = next {
            info!("on with the change to runlevel {next}");
            // Nothing else is under way.
            let _ = runlevel.begin(next);
        }
        runlevel
    }
}

impl Supervisor {
    pub(crate) fn telinit(&mut self, text: &str) -> Result<Goal, Box<Reply>> {
        let level: Level = text.parse().map_err(|why| {
            let message = format!("{} is no runlevel: {why}", quoted(text));
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_level", message)
        })?;
        if level.is_public() && self.is_least() {
            self.read_anew()?;
        }
        self.runlevel.begin(level).map_err(|Busy(other)| {
            let message =
                format!("the change to runlevel {other} is under way; ask again after it");
            refused(StatusCode::CONFLICT, "busy", message)
        })?;
        self.is_level_due = false;
        self.proxy_trouble = None;
        self.moved();
        Ok(Goal::Level(level))
    }

    /// Goes on to the level to boot into, now that there is a config for it.
    pub(crate) fn go_on_booting(&mut self) {
        if self.is_level_due {
            self.runlevel.begin_anew(self.level_to_boot());
            self.moved();
        }
    }

    pub(crate) fn level_to_boot(&self) -> Level {
        self.fixed.runlevel.unwrap_or(self.settings.runlevel)
    }

    /// After a clean end nobody goes on with it.
    pub(crate) fn forget_level(&self) {
        kept::remove(&self.hands.run_dir);
    }

    /// Goes on with a change, if one is under way.
    pub(crate) fn change_level(&mut self, observed: &Observed) {
        loop {
            if self.runlevel.next().is_none() {
                return;
            }
            let seen = self.seen_of_level(observed);
            let hooks = &self.settings.hooks;
            let step = self.runlevel.look(&seen, |from, to| due(hooks, Some(from), to));
            match step {
                None => return,
                Some(Step::Moved) => self.moved(),
                Some(Step::Run(hook)) => return self.run_hook(hook),
            }
        }
    }

    /// What is wanted is another thing now.
    fn moved(&mut self) {
        let apps: Vec<_> =
            self.wanted.values().filter_map(|wanted| wanted.app().cloned()).collect();
        for app in apps {
            let name = app.name.clone();
            let wanted = self.as_recorded(&name, app);
            self.wanted.insert(name, wanted);
        }
        self.wanted.touch_all();
        // A boot whose hooks have not all run is one, whoever goes on with it.
        if !matches!(self.runlevel.state(), State::Between { from: None, .. }) {
            let kept = (self.runlevel.level(), self.runlevel.next());
            kept::write(&self.hands.run_dir, kept);
        }
        if let State::At(level) = self.runlevel.state() {
            self.is_level_due &= self.is_least() || *level != self.level_to_boot();
            if let Some(why) = self.runlevel.trouble() {
                warn!("runlevel {level}: {why}");
            } else {
                info!("runlevel {level}");
            }
        }
    }

    fn seen_of_level(&self, observed: &Observed) -> Seen {
        let stays = |id: &crate::name::InstanceId| match self.wanted.get(&id.app) {
            Some(Wanted::Running(_)) => true,
            Some(Wanted::AsItIs) => !self.runlevel.is_halting(),
            Some(Wanted::Stopped(_)) | None => false,
        };
        let is_closed = self.runlevel.is_public() || observed.proxies.is_empty();
        let is_parted = is_closed && observed.instances.keys().all(stays);
        let is_open = match self.proxy_standing(observed) {
            Standing::Reached => Ok(true),
            Standing::Working(_) => Ok(false),
            Standing::Failed(why) => Err(why),
        };
        Seen { is_parted, is_open }
    }

    fn run_hook(&mut self, hook: Hook) {
        let (from, to) = match self.runlevel.state() {
            State::Between { from, to, .. } => (*from, *to),
            State::At(level) => (None, *level),
            State::Parting { from, to } | State::Opening { from, to } => (Some(*from), *to),
        };
        info!("runlevel {to}: hook {}", hook.name);
        let (init, tell) = (self.hands.init.clone(), self.hands.tell.clone());
        tokio::spawn(async move {
            let result = init.run_aloud(&hook.job(), &hook.spec(from, to), hook.timeout).await;
            drop(tell.send(Event::Hook(HookNews { hook, result })).await);
        });
    }

    pub(crate) fn hook_ended(&mut self, news: HookNews) {
        let HookNews { hook, result } = news;
        let failure = match result {
            Ok(Some(Aloud { exit: Some(LastExit::Code(0)), .. })) => None,
            Ok(Some(Aloud { exit, log })) => {
                let last = log.last().map(|line| format!(", and has written last: {line}"));
                Some(format!(
                    "{}{}",
                    format_args!("has failed: {}", exit::told(exit.as_ref())),
                    last.unwrap_or_default()
                ))
            }
            Ok(None) => Some(format!("has taken longer than {:?}, and was ended", hook.timeout)),
            Err(error) => Some(format!("cannot be run: {error}")),
        };
        let failure = failure.map(|why| format!("the hook {} {why}", hook.name));
        if let (Some(why), Policy::GoOn) = (&failure, hook.policy) {
            warn!("{why}; it may, so all goes on");
        }
        self.runlevel.hook_ended(hook.policy, failure);
        self.moved();
    }

    /// Leaves out of what is wanted what is not of a level at which nobody is let in: it ends in its order, those first
    /// that name others.
    pub(crate) fn close(&self, desired: &mut Desired) {
        let is_halting = self.runlevel.is_halting();
        let stays = |wanted: &Wanted| match wanted {
            Wanted::Running(_) => true,
            Wanted::AsItIs => !is_halting,
            Wanted::Stopped(_) => false,
        };
        let all = self.wanted.iter().filter(|(_, wanted)| stays(wanted));
        let all: BTreeMap<_, _> =
            all.map(|(name, wanted)| (name.clone(), wanted.clone())).collect();
        desired.apps = Apps::from(all);
        desired.proxy = None;
        desired.precedence = self.precedence();
    }

    /// At level 0 nothing is left to do. Where init was there for bootctl, it ends as well, and the machine if it is one.
    pub(crate) fn halt(&mut self) {
        if self.winding_down || *self.runlevel.state() != State::At(Level::HALT) {
            return;
        }
        self.winding_down = true;
        let own = self.roster.named(BOOT).and_then(|job| job.pid);
        if own != Some(std::process::id()) {
            return;
        }
        let init = self.hands.init.clone();
        tokio::spawn(async move {
            let ended = match init.is_machine().await {
                Ok(true) => init.end_machine(Then::Poweroff).await,
                Ok(false) => init.end_machine(Then::Exit).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                warn!("init is not ended: {error}");
            }
        });
    }

    /// How near a level is.
    pub(crate) fn level_standing(&self, level: Level, observed: &Observed) -> Standing {
        match self.runlevel.next() {
            Some(next) if next == level => {
                Standing::Working(format!("runlevel {next} is on its way: {}", self.doing()))
            }
            Some(next) => Standing::Failed(format!("runlevel {next} was asked for meanwhile")),
            None if self.runlevel.level() != level => {
                let why = self.runlevel.trouble().unwrap_or("another one was asked for meanwhile");
                Standing::Failed(format!("{why}; the runlevel is {}", self.runlevel.level()))
            }
            // An app that does not get there keeps nobody waiting: the status tells of it.
            None if level == Level::HALT => Standing::Reached,
            None => match self
                .wanted
                .keys()
                .map(|name| self.standing(name, observed))
                .find(|standing| matches!(standing, Standing::Working(_)))
            {
                Some(working) => working,
                None => Standing::Reached,
            },
        }
    }

    fn doing(&self) -> String {
        match self.runlevel.state() {
            State::At(_) => "apps are being started".into(),
            State::Parting { .. } => "what is not of it ends".into(),
            State::Between { .. } => "hooks run".into(),
            State::Opening { .. } => "the public side is being opened".into(),
        }
    }

    pub(crate) fn runlevel_view(&self) -> RunlevelView {
        RunlevelView {
            level: self.runlevel.level().number(),
            next: self.runlevel.next().map(Level::number),
            doing: self.runlevel.next().map(|_| self.doing()),
            trouble: self.runlevel.trouble().map(str::to_owned),
        }
    }
}
