//! Runlevels: which apps run, and whether the public side is open. Pure.
//!
//! | level | apps | public side |
//! |---|---|---|
//! | 0 | none: bootctl ends, and with it what its init is there for | closed |
//! | 1 | those that name it | closed, so that another server may have its port |
//! | 2, 3, 4 | those that name it, which without a word all do | open |
//!
//! ```text
//!            what only `from` has ends     leave hooks of `from`,       what `to` has is started
//!                                          then enter hooks of `to`
//!  At(from) ─▶ Parting ──────────────────▶ Between ───────────────────▶ Opening ──▶ At(to)
//!     ▲                                       │ a hook fails               │ the port is taken
//!     └───────────────────────────────────────┴────────────────────────────┘
//! ```
//!
//! Hooks run while there is nothing but what belongs to both levels. A level that cannot be reached changes nothing but
//! what had ended for it, which is started again; to level 0 there is no way back.

mod hook;
mod keeping;
mod kept;

pub(crate) use hook::{Hook, Moment, Policy};
pub(crate) use keeping::HookNews;

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Level(u8);

impl Level {
    pub(crate) const HALT: Self = Self(0);
    pub(crate) const SINGLE: Self = Self(1);
    pub(crate) const MULTI: Self = Self(3);

    pub(crate) fn new(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| *number <= 4).map(Self)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// Whether clients are let in.
    pub(crate) fn is_public(self) -> bool {
        self > Self::SINGLE
    }
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().ok().filter(|_| text.len() == 1);
        number.and_then(Self::new).ok_or("write a runlevel, 0 to 4")
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The levels that an app names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels(u8);

impl Default for Levels {
    fn default() -> Self {
        [2, 3, 4].into_iter().filter_map(Level::new).collect()
    }
}

impl FromIterator<Level> for Levels {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        Self(levels.into_iter().fold(0, |all, level| all | 1 << level.0))
    }
}

impl Levels {
    pub(crate) fn has(self, level: Level) -> bool {
        self.0 & 1 << level.0 != 0
    }
}

/// Where we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    At(Level),
    Parting {
        from: Level,
        to: Level,
    },
    /// At boot there is nothing that it comes from.
    Between {
        from: Option<Level>,
        to: Level,
        hooks: VecDeque<Hook>,
        is_running: bool,
    },
    Opening {
        from: Level,
        to: Level,
    },
}

/// What there is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether nothing runs any more but what is wanted now.
    pub(crate) is_parted: bool,
    /// Whether clients are let in, as far as they are to be; why they cannot be.
    pub(crate) is_open: Result<bool, String>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Run(Hook),
    /// Another state; what is wanted is to be worked out anew.
    Moved,
}

/// The current one, and the one that is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Runlevel {
    state: State,
    /// Why the last one that was asked for was not reached.
    trouble: Option<String>,
}

/// Another change is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy(pub(crate) Level);

impl Runlevel {
    /// As a machine comes up, with the hooks to enter its level.
    pub(crate) fn boot(to: Level, hooks: Vec<Hook>) -> Self {
        let state = if hooks.is_empty() {
            State::At(to)
        } else {
            State::Between { from: None, to, hooks: hooks.into(), is_running: false }
        };
        Self { state, trouble: None }
    }

    /// As a machine comes up whose config cannot be used: at level 1, unless it is to halt.
    pub(crate) fn least(asked: Option<Level>, why: &impl fmt::Display) -> Self {
        let level = asked.map_or(Level::SINGLE, |asked| asked.min(Level::SINGLE));
        Self { state: State::At(level), trouble: Some(why.to_string()) }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The one that holds: while another one is on its way, the one that it comes from.
    pub(crate) fn level(&self) -> Level {
        match self.state {
            State::At(level) => level,
            State::Parting { from, .. } | State::Opening { from, .. } => from,
            State::Between { from, to, .. } => from.unwrap_or(to),
        }
    }

    /// The one that is on its way.
    pub(crate) fn next(&self) -> Option<Level> {
        match self.state {
            State::At(_) => None,
            State::Parting { to, .. } | State::Between { to, .. } | State::Opening { to, .. } => {
                Some(to)
            }
        }
    }

    /// Whether what names these levels is to run now.
    pub(crate) fn has(&self, levels: Levels) -> bool {
        match &self.state {
            State::At(level) => levels.has(*level),
            State::Between { from: None, .. } => false,
            State::Parting { from, to }
            | State::Between { from: Some(from), to, .. }
            | State::Opening { from, to } => levels.has(*from) && levels.has(*to),
        }
    }

    /// Whether clients are to be let in now.
    pub(crate) fn is_public(&self) -> bool {
        match &self.state {
            State::At(level) => level.is_public(),
            State::Between { from: None, .. } => false,
            State::Parting { from, to } | State::Between { from: Some(from), to, .. } => {
                from.is_public() && to.is_public()
            }
            State::Opening { to, .. } => to.is_public(),
        }
    }

    /// Whether all is to end.
    pub(crate) fn is_halting(&self) -> bool {
        self.state == State::At(Level::HALT) || self.next() == Some(Level::HALT)
    }

    /// Begins a change also to the level that it is at: what is to be done on the way there has not been.
    pub(crate) fn begin_anew(&mut self, to: Level) {
        if let State::At(from) = self.state {
            self.state = State::Parting { from, to };
            self.trouble = None;
        }
    }

    /// Begins a change, if it is not there already, or on its way.
    pub(crate) fn begin(&mut self, to: Level) -> Result<(), Busy> {
        match (&self.state, self.next()) {
            (State::At(level), _) if *level == to => {}
            (State::At(from), _) => {
                self.state = State::Parting { from: *from, to };
                self.trouble = None;
            }
            (_, Some(next)) if next == to => {}
            (_, next) => return Err(Busy(next.unwrap_or(to))),
        }
        Ok(())
    }

    /// Goes on as far as it can. `hooks` are those of leaving one level and entering another.
    pub(crate) fn look(
        &mut self,
        seen: &Seen,
        hooks: impl FnOnce(Level, Level) -> Vec<Hook>,
    ) -> Option<Step> {
        let (next, step) = match &mut self.state {
            State::At(_) | State::Between { is_running: true, .. } => return None,
            State::Parting { from, to } => {
                if !seen.is_parted {
                    return None;
                }
                let hooks = hooks(*from, *to).into();
                let from = Some(*from);
                (State::Between { from, to: *to, hooks, is_running: false }, Step::Moved)
            }
            State::Between { from, to, hooks, is_running } => match (hooks.pop_front(), *from) {
                (Some(hook), _) => {
                    *is_running = true;
                    return Some(Step::Run(hook));
                }
                // What boots has nothing to go back to, and halting needs nothing any more.
                (None, None) => (State::At(*to), Step::Moved),
                (None, Some(_)) if *to == Level::HALT => (State::At(*to), Step::Moved),
                (None, Some(from)) => (State::Opening { from, to: *to }, Step::Moved),
            },
            State::Opening { from, to } => match &seen.is_open {
                Ok(true) => (State::At(*to), Step::Moved),
                Ok(false) => return None,
                Err(why) => {
                    self.trouble = Some(format!("runlevel {to} was not reached: {why}"));
                    (State::At(*from), Step::Moved)
                }
            },
        };
        self.state = next;
        Some(step)
    }

    /// A hook has ended; why it has failed, if it has.
    pub(crate) fn hook_ended(&mut self, policy: Policy, failure: Option<String>) {
        let State::Between { from, to, is_running, .. } = &mut self.state else { return };
        *is_running = false;
        let Some(why) = failure else { return };
        match (policy, *from) {
            (Policy::GoOn, _) => self.trouble = Some(why),
            (Policy::Fail, _) if *to == Level::HALT => self.trouble = Some(why),
            (Policy::Fail, Some(from)) => {
                self.trouble = Some(format!("runlevel {to} was not reached: {why}"));
                self.state = State::At(from);
            }
            // As a machine does that cannot come up: somebody has to look.
            (Policy::Fail, None) => {
                self.trouble = Some(format!("runlevel {to} was not reached: {why}"));
                self.state = State::At(Level::SINGLE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level(number: u32) -> Level {
        Level::new(number).expect("a level")
    }

    fn seen(is_parted: bool, is_open: Result<bool, &str>) -> Seen {
        Seen { is_parted, is_open: is_open.map_err(str::to_owned) }
    }

    fn hook(name: &str) -> Hook {
        Hook::sample(name)
    }

    fn none(_: Level, _: Level) -> Vec<Hook> {
        Vec::new()
    }

    #[test]
    fn d01_a_change_goes_step_by_step() {
        let mut runlevel = Runlevel::boot(Level::MULTI, Vec::new());
        let (own, both) =
            ([level(3)].into_iter().collect(), [level(1), level(3)].into_iter().collect());
        let only_single: Levels = [level(1)].into_iter().collect();
        assert!(runlevel.has(own) && runlevel.is_public());
        runlevel.begin(Level::SINGLE).expect("nothing else is under way");
        assert!(!runlevel.has(own) && runlevel.has(both) && !runlevel.is_public());
        assert!(!runlevel.has(only_single), "it comes after what has to go");
        assert_eq!(runlevel.begin(level(2)), Err(Busy(Level::SINGLE)));
        assert_eq!(runlevel.begin(Level::SINGLE), Ok(()));
        assert_eq!(runlevel.look(&seen(false, Ok(true)), none), None);
        let hooks = |_, _| vec![hook("a"), hook("b")];
        assert_eq!(runlevel.look(&seen(true, Ok(true)), hooks), Some(Step::Moved));
        for name in ["a", "b"] {
            assert_eq!(runlevel.look(&seen(true, Ok(true)), none), Some(Step::Run(hook(name))));
            assert_eq!(runlevel.look(&seen(true, Ok(true)), none), None, "one at a time");
            runlevel.hook_ended(Policy::Fail, None);
        }
        assert_eq!(runlevel.look(&seen(true, Ok(true)), none), Some(Step::Moved));
        assert_eq!(runlevel.look(&seen(true, Ok(true)), none), Some(Step::Moved));
        assert_eq!(
            (runlevel.state(), runlevel.level()),
            (&State::At(Level::SINGLE), Level::SINGLE)
        );
        assert!(runlevel.has(only_single));
    }

    #[test]
    fn b04_a_boot_without_a_config_goes_on_from_level_1() {
        for (asked, at) in [(None, 1), (Some(0), 0), (Some(1), 1), (Some(4), 1)] {
            let runlevel = Runlevel::least(asked.map(level), &"why");
            assert_eq!((runlevel.level(), runlevel.trouble()), (level(at), Some("why")));
            assert!(runlevel.next().is_none() && !runlevel.is_public());
        }
        // Also to the level that it is at: its hooks have not run.
        for to in [1, 3] {
            let mut runlevel = Runlevel::least(None, &"why");
            runlevel.begin_anew(level(to));
            runlevel.begin_anew(level(4));
            assert_eq!((runlevel.next(), runlevel.trouble()), (Some(level(to)), None));
            runlevel.look(&seen(true, Ok(true)), |_, _| vec![hook("a")]);
            assert_eq!(runlevel.look(&seen(true, Ok(true)), none), Some(Step::Run(hook("a"))));
            assert!(
                !runlevel.is_public() && runlevel.has([1, to].into_iter().map(level).collect())
            );
            runlevel.hook_ended(Policy::Fail, None);
            while runlevel.look(&seen(true, Ok(true)), none).is_some() {}
            assert_eq!(runlevel.state(), &State::At(level(to)));
        }
    }

    #[test]
    fn d02_a_level_that_cannot_be_opened_is_not_reached() {
        let mut runlevel = Runlevel::boot(Level::SINGLE, Vec::new());
        runlevel.begin(Level::MULTI).expect("nothing else is under way");
        for _ in 0..2 {
            assert_eq!(runlevel.look(&seen(true, Ok(false)), none), Some(Step::Moved));
        }
        assert!(runlevel.is_public());
        assert_eq!(runlevel.look(&seen(true, Ok(false)), none), None);
        assert_eq!(runlevel.look(&seen(true, Err("taken")), none), Some(Step::Moved));
        assert_eq!(runlevel.state(), &State::At(Level::SINGLE));
        assert!(
            !runlevel.is_public() && runlevel.trouble().is_some_and(|why| why.contains("taken"))
        );
    }

    #[test]
    fn d07_a_hook_that_fails_keeps_the_level_unless_it_may() {
        for (policy, from, to, end) in [
            (Policy::Fail, Some(3), 1, State::At(level(3))),
            (Policy::Fail, None, 3, State::At(level(1))),
        ] {
            let mut runlevel = Runlevel::boot(level(from.unwrap_or(to)), vec![hook("a")]);
            if from.is_some() {
                runlevel = Runlevel::boot(level(3), Vec::new());
                runlevel.begin(level(to)).expect("nothing else is under way");
                runlevel.look(&seen(true, Ok(true)), |_, _| vec![hook("a")]);
            }
            assert_eq!(runlevel.look(&seen(true, Ok(true)), none), Some(Step::Run(hook("a"))));
            runlevel.hook_ended(policy, Some("no".into()));
            assert_eq!(runlevel.state(), &end);
            assert!(runlevel.trouble().is_some());
        }
        for (policy, to) in [(Policy::GoOn, 1), (Policy::Fail, 0), (Policy::GoOn, 0)] {
            let mut runlevel = Runlevel::boot(level(3), Vec::new());
            runlevel.begin(level(to)).expect("nothing else is under way");
            runlevel.look(&seen(true, Ok(true)), |_, _| vec![hook("a")]);
            runlevel.look(&seen(true, Ok(true)), none);
            runlevel.hook_ended(policy, Some("no".into()));
            assert_eq!(runlevel.next(), Some(level(to)), "{policy:?}");
        }
    }

    proptest! {
        /// Whatever happens in whichever order: it never hangs where everything goes well, clients are let in only at
        /// levels that are public, and what halts stays halted.
        #[test]
        fn d01_every_change_comes_to_an_end(
            moves in prop::collection::vec((0_u32..5, 0_usize..3, any::<bool>(), 0_u8..4), 1..30),
        ) {
            let mut runlevel = Runlevel::boot(Level::MULTI, vec![hook("boot")]);
            let mut is_halted = false;
            for (to, count, goes_well, luck) in moves {
                let busy = runlevel.next();
                let begun = runlevel.begin(level(to));
                prop_assert_eq!(begun.is_err(), busy.is_some_and(|next| next != level(to)));
                // Some are left in the middle.
                for _ in 0..if luck == 0 { 3 } else { 20 } {
                    let open = if goes_well { Ok(true) } else { Err("no") };
                    let hooks = |_, _| (0..count).map(|_| hook("a")).collect();
                    if let Some(Step::Run(hook)) = runlevel.look(&seen(true, open), hooks) {
                        runlevel.hook_ended(hook.policy, (!goes_well).then(|| "no".into()));
                    }
                    is_halted |= runlevel.state() == &State::At(Level::HALT);
                    let levels = [Some(runlevel.level()), runlevel.next()];
                    let some_public = levels.into_iter().flatten().any(Level::is_public);
                    prop_assert!(!runlevel.is_public() || some_public);
                }
                if luck > 0 {
                    prop_assert_eq!(runlevel.next(), None, "{:?}", runlevel);
                    if goes_well && begun.is_ok() {
                        prop_assert_eq!(runlevel.level(), level(to));
                    }
                }
                if is_halted && runlevel.level() == Level::HALT {
                    break;
                }
            }
        }
    }

    #[test]
    fn d06_levels_are_read_as_they_are_written() {
        assert_eq!("3".parse(), Ok(Level::MULTI));
        for bad in ["", "5", "03", "-1", "S", "33"] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
        let usual = Levels::default();
        let has: Vec<u32> = (0..5).filter(|number| usual.has(level(*number))).collect();
        assert_eq!(has, [2, 3, 4]);
    }
}
