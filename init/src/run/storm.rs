//! Orphans that end all at once.

use std::time::{Duration, Instant};

use crate::reaper::Turn;

/// Takes orphans that end one after the other, as fast as they come, a few at once: being woken for
/// each costs more than taking it.
#[derive(Default)]
pub(super) struct Storm {
    /// Turns in a row that have found orphans only.
    turns: u32,
    last: Option<Instant>,
    rest: Option<Instant>,
}

impl Storm {
    /// Turns in a row that make a storm.
    const MANY: u32 = 16;
    /// Orphans wait so long then. So do signals, and jobs that end meanwhile.
    const REST: Duration = Duration::from_millis(1);

    /// Notes a turn.
    pub(super) fn note(&mut self, turn: &Turn) {
        if turn.orphans == 0 {
            *self = Self::default();
            return;
        }
        let now = Instant::now();
        let last = self.last.replace(now).filter(|last| now < *last + Self::REST);
        let goes_on = turn.orphans > 1 || turn.orphans == 1 && last.is_some();
        self.turns = if goes_on && turn.ours == 0 { self.turns.saturating_add(1) } else { 0 };
        self.rest = (self.turns >= Self::MANY && !turn.more).then(|| now + Self::REST);
    }

    /// Until when nobody is to be taken.
    pub(super) fn rest(&self, now: Instant) -> Option<Instant> {
        self.rest.filter(|until| *until > now)
    }
}
