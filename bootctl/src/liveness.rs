//! When an instance that fails is restarted. Pure: what is seen and the time in, whose turn it is out.
//!
//! ```text
//!   fails ──▶ waits 1 s, doubling to 1 min with each restart ──▶ its turn ──▶ restarted
//!     └─ well again: nothing happens                              └─ another of its app has just
//!                                                                   been: waits until that one is
//!                                                                   well, or has had its time
//! ```
//!
//! One instance of an app at a time, so that not all are away at once. One that has been well for
//! a minute begins with a second again. Nothing of this is kept when bootctl is started anew: the
//! waits begin from the first one then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::name::InstanceId;
use crate::touched::Touched;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Who is well for so long has recovered.
const RECOVERY: Duration = Duration::from_mins(1);
/// How long the others of an app wait for one that was restarted.
const TURN: Duration = Duration::from_secs(30);

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// It answers.
    Well,
    /// It is on its way, or nobody knows.
    Coming,
    /// It fails, and may be restarted.
    Failing,
}

/// All instances under care.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// Of those that have had trouble: of any other there is nothing to know.
    rows: BTreeMap<InstanceId, Row>,
}

#[derive(Clone, Debug)]
struct Row {
    /// Restarts since it has last recovered.
    strikes: u32,
    /// All restarts.
    restarts: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well { since: Instant },
    Coming,
    Failing { due: Instant },
    Restarted { at: Instant },
}

impl Liveness {
    /// Those for whom time alone makes a difference: they are to be among those that are seen.
    pub(crate) fn restless(&self) -> impl Iterator<Item = &InstanceId> {
        self.rows.iter().filter(|(_, row)| row.state.is_restless()).map(|(id, _)| id)
    }

    /// Those of apps that were touched.
    pub(crate) fn known<'a>(
        &'a self,
        touched: &'a Touched,
    ) -> Box<dyn Iterator<Item = &'a InstanceId> + 'a> {
        let of = |app| self.rows.range(InstanceId::all_of(app)).map(|(id, _)| id);
        match touched {
            Touched::All => Box::new(self.rows.keys()),
            Touched::Only(apps) => Box::new(apps.iter().flat_map(of)),
        }
    }

    /// Takes what is seen of instances, or that they are gone; answers those whose turn it is to be restarted.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        seen: &BTreeMap<InstanceId, Option<Pulse>>,
    ) -> Vec<InstanceId> {
        for (id, pulse) in seen {
            let row = pulse.map(|pulse| {
                let mut row = self.rows.remove(id).unwrap_or_else(Row::new);
                row.take(now, pulse);
                row
            });
            match row {
                Some(row) if !row.is_new() => drop(self.rows.insert(id.clone(), row)),
                Some(_) | None => drop(self.rows.remove(id)),
            }
        }
        let mut turns: Vec<InstanceId> = Vec::new();
        for (id, row) in &self.rows {
            let is_due = matches!(row.state, State::Failing { due } if due <= now);
            if is_due && !self.is_busy(id, now) && !turns.iter().any(|turn| turn.app == id.app) {
                turns.push(id.clone());
            }
        }
        for id in &turns {
            if let Some(row) = self.rows.get_mut(id) {
                row.strikes = row.strikes.saturating_add(1);
                row.restarts = row.restarts.saturating_add(1);
                row.state = State::Restarted { at: now };
            }
        }
        turns
    }

    /// When to look again, if nothing else happens.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let due = |(id, row): (&InstanceId, &Row)| match row.state {
            State::Failing { due } => Some(self.free(id, now).map_or(due, |free| due.max(free))),
            State::Well { .. } | State::Coming | State::Restarted { .. } => None,
        };
        self.rows.iter().filter_map(due).min()
    }

    /// When an instance that fails is restarted, if it is.
    pub(crate) fn due(&self, id: &InstanceId) -> Option<Instant> {
        match self.rows.get(id)?.state {
            State::Failing { due } => Some(due),
            State::Well { .. } | State::Coming | State::Restarted { .. } => None,
        }
    }

    /// How often an instance was restarted.
    pub(crate) fn restarts(&self, id: &InstanceId) -> u32 {
        self.rows.get(id).map_or(0, |row| row.restarts)
    }

    fn is_busy(&self, id: &InstanceId, now: Instant) -> bool {
        self.free(id, now).is_some()
    }

    /// Until when another instance of the same app has its turn.
    fn free(&self, id: &InstanceId, now: Instant) -> Option<Instant> {
        let others = self.rows.iter().filter(|(other, _)| other.app == id.app && *other != id);
        let until = others.filter_map(|(_, row)| match row.state {
            State::Restarted { at } => Some(at + TURN).filter(|until| *until > now),
            State::Well { .. } | State::Coming | State::Failing { .. } => None,
        });
        until.max()
    }
}

impl State {
    fn is_restless(self) -> bool {
        match self {
            Self::Failing { .. } | Self::Restarted { .. } => true,
            Self::Well { .. } | Self::Coming => false,
        }
    }
}

impl Row {
    fn new() -> Self {
        Self { strikes: 0, restarts: 0, state: State::Coming }
    }

    /// Whether it is as good as none.
    fn is_new(&self) -> bool {
        self.strikes == 0 && self.restarts == 0 && !self.state.is_restless()
    }

    fn take(&mut self, now: Instant, pulse: Pulse) {
        self.state = match (self.state, pulse) {
            (State::Well { since }, Pulse::Well) => {
                if now.saturating_duration_since(since) >= RECOVERY {
                    self.strikes = 0;
                }
                State::Well { since }
            }
            (State::Coming | State::Failing { .. } | State::Restarted { .. }, Pulse::Well) => {
                State::Well { since: now }
            }
            (State::Well { since }, Pulse::Failing) => {
                if now.saturating_duration_since(since) >= RECOVERY {
                    self.strikes = 0;
                }
                State::Failing { due: now + wait(self.strikes) }
            }
            (State::Coming, Pulse::Failing) => State::Failing { due: now + wait(self.strikes) },
            (State::Failing { due }, Pulse::Failing) => State::Failing { due },
            // What is seen may be older than the restart; a moment later it is not.
            (State::Restarted { at }, Pulse::Failing) => {
                if now.saturating_duration_since(at) >= FIRST_WAIT {
                    State::Failing { due: now + wait(self.strikes) }
                } else {
                    State::Restarted { at }
                }
            }
            (State::Restarted { at }, Pulse::Coming) => State::Restarted { at },
            (State::Well { .. } | State::Coming | State::Failing { .. }, Pulse::Coming) => {
                State::Coming
            }
        };
    }
}

fn wait(strikes: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1_u32.checked_shl(strikes).unwrap_or(u32::MAX)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::AppName;

    fn id(app: &str, number: u32) -> InstanceId {
        InstanceId::new(AppName::parse(app).expect("a name"), number)
    }

    /// Steps with all these pulses; answers whom it restarts.
    fn step(care: &mut Liveness, now: Instant, all: &[(&InstanceId, Pulse)]) -> Vec<InstanceId> {
        let gone = care.rows.keys().map(|id| (id.clone(), None));
        let mut seen: BTreeMap<_, _> = gone.collect();
        seen.extend(all.iter().map(|(id, pulse)| ((*id).clone(), Some(*pulse))));
        care.step(now, &seen)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let waits: Vec<u64> = (0..9).map(|strikes| wait(strikes).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(wait(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn one_that_fails_is_restarted_after_its_wait_and_each_time_later() {
        let (mut care, a) = (Liveness::default(), id("a", 1));
        let mut now = Instant::now();
        for wait in [1, 2, 4] {
            assert_eq!(step(&mut care, now, &[(&a, Pulse::Well)]), []);
            assert_eq!(step(&mut care, now, &[(&a, Pulse::Failing)]), []);
            assert_eq!(care.next(now), Some(now + seconds(wait)));
            assert_eq!(care.due(&a), Some(now + seconds(wait)));
            now += seconds(wait);
            assert_eq!(step(&mut care, now, &[(&a, Pulse::Failing)]), std::slice::from_ref(&a));
            assert_eq!(care.next(now), None);
            assert_eq!(step(&mut care, now, &[(&a, Pulse::Coming)]), []);
        }
        assert_eq!(care.restarts(&a), 3);
        // Well for a minute: as if nothing had been.
        step(&mut care, now, &[(&a, Pulse::Well)]);
        now += RECOVERY;
        step(&mut care, now, &[(&a, Pulse::Failing)]);
        assert_eq!(care.due(&a), Some(now + seconds(1)));
    }

    #[test]
    fn one_that_is_well_in_time_is_left_alone() {
        let (mut care, a) = (Liveness::default(), id("a", 1));
        let now = Instant::now();
        step(&mut care, now, &[(&a, Pulse::Failing)]);
        step(&mut care, now, &[(&a, Pulse::Well)]);
        assert_eq!(care.next(now), None);
        assert_eq!(step(&mut care, now + seconds(5), &[(&a, Pulse::Well)]), []);
        assert!(care.rows.is_empty(), "there is nothing to know of it");
    }

    #[test]
    fn instances_of_an_app_take_turns_and_apps_do_not_wait_for_each_other() {
        let mut care = Liveness::default();
        let (one, two, other) = (id("a", 1), id("a", 2), id("b", 1));
        let mut now = Instant::now();
        let all = |pulses: [Pulse; 3]| [(&one, pulses[0]), (&two, pulses[1]), (&other, pulses[2])];
        let failing = all([Pulse::Failing; 3]);
        step(&mut care, now, &failing);
        now += seconds(1);
        assert_eq!(step(&mut care, now, &failing), [one.clone(), other.clone()]);
        let coming = all([Pulse::Coming, Pulse::Failing, Pulse::Coming]);
        assert_eq!(step(&mut care, now + seconds(29), &coming), []);
        assert_eq!(care.next(now + seconds(29)), Some(now + seconds(30)));
        let well = all([Pulse::Well, Pulse::Failing, Pulse::Coming]);
        assert_eq!(step(&mut care, now + seconds(29), &well), std::slice::from_ref(&two));
    }

    #[test]
    fn one_that_never_comes_does_not_keep_the_others_waiting_for_ever() {
        let mut care = Liveness::default();
        let (one, two) = (id("a", 1), id("a", 2));
        let now = Instant::now();
        step(&mut care, now, &[(&one, Pulse::Failing), (&two, Pulse::Failing)]);
        let at = now + seconds(1);
        step(&mut care, at, &[(&one, Pulse::Failing), (&two, Pulse::Failing)]);
        let seen = [(&one, Pulse::Coming), (&two, Pulse::Failing)];
        assert_eq!(step(&mut care, at + TURN, &seen), std::slice::from_ref(&two));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let (mut care, a) = (Liveness::default(), id("a", 1));
        let now = Instant::now();
        step(&mut care, now, &[(&a, Pulse::Failing)]);
        step(&mut care, now, &[]);
        assert_eq!((care.due(&a), care.next(now)), (None, None));
    }
}
