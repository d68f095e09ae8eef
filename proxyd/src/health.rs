//! How a target is doing, as its answers tell: the core, without clock or lock.
//!
//! ```text
//!           so many failures in a row          its time is over, one request
//!   well ─────────────────────────────▶ ejected ───────────────────────────▶ trial
//!    ▲                                  ▲     │ any answer                   │ │
//!    │                                  │     ▼                    no answer │ │
//!    └──────────────────────────────────┼── (used, since all were ejected)   │ │
//!    ▲                                  └──── for twice as long ◀────────────┘ │
//!    └────────────────────────────────────────────────────────────── answer ───┘
//! ```

use proxyd_wire as wire;

/// What is remembered of a target; times are milliseconds of a clock that only goes forward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) failures: u32,
    /// Ejections in a row, without a while of health between them.
    ejections: u32,
    pub(crate) standing: Standing,
    /// When it was last back, and how long it had been ejected for.
    back: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    #[default]
    Well,
    Ejected {
        until: u64,
    },
    Trial,
}

/// What a request found when it was counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// No failure since the last answer.
    #[default]
    Well,
    /// Some failures, but not enough.
    Suspect,
    /// Ejected, and used all the same because all are.
    Ejected,
    /// The request is the one that tries.
    Trial,
}

impl Record {
    /// A request came to nothing.
    pub(crate) fn failed(&mut self, now: u64, sight: Sight, rule: &wire::Eject) {
        if rule.failures == 0 {
            // Whoever was ejected by an earlier rule is let back.
            *self = Record::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        match (self.standing, sight) {
            (Standing::Well, _) if self.failures < rule.failures => {}
            (Standing::Well, _) | (Standing::Trial, Sight::Trial) => self.eject(now, rule),
            // It is known already.
            (Standing::Ejected { .. } | Standing::Trial, _) => {}
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, now: u64, sight: Sight) {
        match (self.standing, sight) {
            (Standing::Well, _) => self.failures = 0,
            (Standing::Ejected { .. } | Standing::Trial, Sight::Ejected | Sight::Trial) => {
                self.failures = 0;
                self.standing = Standing::Well;
                self.back = self.back.map(|(_, time)| (now, time));
            }
            // It was sent before the failures, and says nothing of what is now.
            (Standing::Ejected { .. } | Standing::Trial, Sight::Well | Sight::Suspect) => {}
        }
    }

    /// The one request that tries goes out; `false`: it is not the time, or one is under way.
    pub(crate) fn try_out(&mut self, now: u64) -> bool {
        let due = matches!(self.standing, Standing::Ejected { until } if until <= now);
        if due {
            self.standing = Standing::Trial;
        }
        due
    }

    /// The request that tried has ended without telling anything: another may try.
    pub(crate) fn untold(&mut self, now: u64) {
        if self.standing == Standing::Trial {
            self.standing = Standing::Ejected { until: now };
        }
    }

    fn eject(&mut self, now: u64, rule: &wire::Eject) {
        let calm = self.standing == Standing::Well
            && self.back.is_none_or(|(since, time)| now.saturating_sub(since) >= time);
        self.ejections = if calm { 1 } else { self.ejections.saturating_add(1) };
        let doublings = self.ejections.saturating_sub(1).min(31);
        let time = (u64::from(rule.backoff_ms) << doublings).min(u64::from(rule.max_backoff_ms));
        self.standing = Standing::Ejected { until: now.saturating_add(time) };
        self.back = Some((now, time));
    }

    pub(crate) fn view(&self) -> wire::Health {
        match self.standing {
            Standing::Well => wire::Health::Well,
            Standing::Ejected { .. } => wire::Health::Ejected,
            Standing::Trial => wire::Health::Trial,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> wire::Eject {
        wire::Eject { failures: 3, backoff_ms: 100, max_backoff_ms: 500, ..wire::Eject::default() }
    }

    fn until(record: &Record) -> u64 {
        match record.standing {
            Standing::Ejected { until } => until,
            standing => panic!("{standing:?}"),
        }
    }

    #[test]
    fn out_and_back() {
        let (rule, mut record) = (rule(), Record::default());
        record.failed(0, Sight::Well, &rule);
        record.failed(0, Sight::Suspect, &rule);
        record.answered(0, Sight::Suspect);
        for _ in 0..3 {
            assert_eq!(record.standing, Standing::Well);
            record.failed(10, Sight::Suspect, &rule);
        }
        assert_eq!(until(&record), 110);
        assert!(!record.try_out(109));
        let mut now = 110;
        for time in [200, 400, 500, 500] {
            assert!(record.try_out(now));
            assert!(!record.try_out(now), "one at a time");
            record.failed(now, Sight::Well, &rule);
            assert_eq!(record.standing, Standing::Trial, "an old failure is no verdict");
            record.failed(now, Sight::Trial, &rule);
            now += time;
            assert_eq!(until(&record), now);
        }
        assert!(record.try_out(now));
        record.untold(now);
        assert!(record.try_out(now));
        record.answered(now, Sight::Well);
        assert_eq!(record.standing, Standing::Trial, "an old answer is no verdict");
        record.answered(now, Sight::Trial);
        assert_eq!((record.standing, record.failures), (Standing::Well, 0));
    }

    #[test]
    fn who_fails_again_soon_is_out_for_longer() {
        let (rule, mut record) = (rule(), Record::default());
        let fail = |record: &mut Record, now| {
            (0..3).for_each(|_| record.failed(now, Sight::Well, &rule));
            until(record) - now
        };
        assert_eq!(fail(&mut record, 0), 100);
        record.answered(50, Sight::Ejected);
        assert_eq!(fail(&mut record, 100), 200);
        record.answered(300, Sight::Ejected);
        assert_eq!(fail(&mut record, 500), 100, "it has been well for as long as it was out");
    }

    proptest! {
        #[test]
        fn any_order(events in proptest::collection::vec((0..5_u8, 0..4_u8, 0..300_u64), 0..200)) {
            let (rule, mut record, mut now, mut trials) = (rule(), Record::default(), 0, 0_i32);
            for (event, sight, passed) in events {
                now += passed;
                // Only who tries brings a trial's verdict.
                let sight = match sight {
                    0 => Sight::Well,
                    1 => Sight::Suspect,
                    2 => Sight::Ejected,
                    _ if trials > 0 => Sight::Trial,
                    _ => Sight::Suspect,
                };
                match event {
                    0 | 1 => record.failed(now, sight, &rule),
                    2 => record.answered(now, sight),
                    3 => trials += i32::from(record.try_out(now)),
                    _ if trials > 0 => record.untold(now),
                    _ => {}
                }
                match record.standing {
                    Standing::Well => prop_assert!(record.failures < rule.failures),
                    Standing::Ejected { until } => prop_assert!(until <= now + 500),
                    Standing::Trial => prop_assert!(trials > 0),
                }
            }
            // Whatever was: it is tried within the longest time, and one answer brings it back.
            if record.standing != Standing::Well {
                if record.standing != Standing::Trial {
                    prop_assert!(record.try_out(now + 500));
                }
                record.answered(now + 500, Sight::Trial);
                prop_assert_eq!(record.standing, Standing::Well);
            }
        }
    }
}
