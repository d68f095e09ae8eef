//! Whether an instance is ready to be sent requests. Pure: results of probes in, verdicts out.
//!
//! ```text
//!             passes in a row
//! Unknown ──────────────────────▶ Ready
//!    │ one fail                   │  ▲
//!    └────────▶ Unready ◀─────────┘  │
//!                 │    fails in a row│
//!                 └──────────────────┘ passes in a row
//! ```
//!
//! A new process is a new story: its predecessor's readiness says nothing about it.

use std::time::Duration;

/// The first wait, and the least.
const QUICKEST: Duration = Duration::from_millis(10);

/// How an app's instances are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) probe: Probe,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) passes: u32,
    pub(crate) fails: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The port accepts a connection.
    Tcp,
    /// `GET` of this path answers with 2xx or 3xx.
    Http(String),
}

impl Default for Check {
    fn default() -> Self {
        Self {
            probe: Probe::Tcp,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            passes: 1,
            fails: 3,
        }
    }
}

/// What is known about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Nothing yet.
    Unknown,
    /// It answers.
    Ready,
    /// It does not, or not any more.
    Unready,
}

/// One process under watch.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    health: Health,
    passes: u32,
    fails: u32,
}

impl Watch {
    pub(crate) fn new(health: Health) -> Self {
        Self { health, passes: 0, fails: 0 }
    }

    /// Takes the result of a probe; answers what is known now.
    pub(crate) fn step(&mut self, check: &Check, passed: bool) -> Health {
        if passed {
            self.passes = self.passes.saturating_add(1);
            self.fails = 0;
        } else {
            self.fails = self.fails.saturating_add(1);
            self.passes = 0;
        }
        self.health = match self.health {
            Health::Unknown | Health::Unready if self.passes >= check.passes => Health::Ready,
            Health::Ready if self.fails >= check.fails => Health::Unready,
            Health::Unknown if !passed => Health::Unready,
            same @ (Health::Unknown | Health::Ready | Health::Unready) => same,
        };
        self.health
    }

    /// How long to wait before the next probe, `age` after the watch began: at `interval` once it
    /// is ready; before that, a tenth of its age, so that a slow start is noticed soon after it
    /// is over without being asked all the time.
    pub(crate) fn wait(&self, check: &Check, age: Duration) -> Duration {
        match self.health {
            Health::Ready => check.interval,
            Health::Unknown | Health::Unready => {
                (age / 10).clamp(QUICKEST, check.interval.max(QUICKEST))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(check: &Check, from: Health, results: &[bool]) -> Health {
        let mut watch = Watch::new(from);
        results.iter().fold(from, |_, passed| watch.step(check, *passed))
    }

    #[test]
    fn passes_and_fails_count_in_a_row() {
        let check = Check { passes: 2, fails: 3, ..Check::default() };
        assert_eq!(run(&check, Health::Unknown, &[true]), Health::Unknown);
        assert_eq!(run(&check, Health::Unknown, &[true, true]), Health::Ready);
        assert_eq!(run(&check, Health::Unknown, &[false]), Health::Unready);
        assert_eq!(run(&check, Health::Unready, &[true, false, true]), Health::Unready);
        assert_eq!(run(&check, Health::Ready, &[false, false, true, false]), Health::Ready);
        assert_eq!(run(&check, Health::Ready, &[false, false, false]), Health::Unready);
    }

    #[test]
    fn waits_grow_to_the_interval() {
        let check = Check::default();
        let watch = Watch::new(Health::Unknown);
        assert_eq!(watch.wait(&check, Duration::ZERO), QUICKEST);
        assert_eq!(watch.wait(&check, Duration::from_secs(3)), Duration::from_millis(300));
        assert_eq!(watch.wait(&check, Duration::from_hours(1)), check.interval);
        assert_eq!(Watch::new(Health::Ready).wait(&check, Duration::ZERO), check.interval);
    }
}
