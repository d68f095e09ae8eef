//! Whether an instance is ready to be sent requests. Pure: results of probes in, verdicts out.
//!
//! ```text
//!             passes in a row            fails in a row
//! Unknown ──────────────────────▶ Ready ────────────────▶ Failing
//!    │ one fail                     ▲ ▲  passes in a row     │ ▲
//!    └────────▶ Unready ────────────┘ └──────────────────────┘ │
//!                  │  fails in a row, when its start_period is over
//!                  └───────────────────────────────────────────┘
//! ```
//!
//! A new process is a new story: its predecessor's readiness says nothing about it. Failures in
//! the start period do not count; without one, a process that was never ready has all the time that
//! it wants.

use std::path::PathBuf;
use std::time::Duration;

use init_wire::{JobSpec, Ready};

use crate::place::Place;

const HTTP: &str = "http ";
const EXEC: &str = "exec ";
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
    /// How long after its start a process may fail.
    pub(crate) start_period: Option<Duration>,
    /// Whether one that fails is restarted.
    pub(crate) restart: bool,
    /// How often one that says itself that it is ready has to say `WATCHDOG=1`. init sees to that.
    pub(crate) watchdog: Option<Duration>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Its place accepts a connection.
    Tcp,
    /// `GET` of this path answers with 2xx or 3xx.
    Http(String),
    /// This command ends with 0.
    Exec(Vec<String>),
    /// It has said so itself, to init.
    Notify,
    /// Nothing: it runs.
    Alive,
}

/// What an instance is to be asked, as its environment says it. So one that an earlier app file has
/// started is asked what it understands, and what is asked now is asked of its successors first.
pub(crate) const ENV_PROBE: &str = "BOOTCTL_PROBE";

impl Probe {
    /// Writes it to a job. Whether it says itself that it is ready, that it is only connected to,
    /// and that there is nothing to connect to, need no words.
    fn note(&self, spec: &mut JobSpec) {
        let text = match self {
            Self::Tcp | Self::Alive => return,
            Self::Notify => {
                spec.ready = Ready::Notify;
                return;
            }
            Self::Http(path) => format!("{HTTP}{path}"),
            // Strings can always be written.
            Self::Exec(words) => {
                format!("{EXEC}{}", serde_json::to_string(words).unwrap_or_default())
            }
        };
        spec.envs.insert(ENV_PROBE.into(), text);
    }

    /// What a job says.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        if spec.ready == Ready::Notify {
            return Self::Notify;
        }
        let text = spec.envs.get(ENV_PROBE).map_or("", String::as_str);
        if let Some(path) = text.strip_prefix(HTTP) {
            return Self::Http(path.to_owned());
        }
        let words = text.strip_prefix(EXEC).and_then(|text| serde_json::from_str(text).ok());
        match (words, Place::of(spec)) {
            (Some(words), _) => Self::Exec(words),
            (None, Some(Place::Nowhere)) => Self::Alive,
            (None, _) => Self::Tcp,
        }
    }
}

impl Check {
    /// Writes to a job what concerns it.
    pub(crate) fn note(&self, spec: &mut JobSpec) {
        self.probe.note(spec);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        spec.watchdog_ms = self.watchdog.map(millis);
    }
}

impl Default for Check {
    fn default() -> Self {
        Self {
            probe: Probe::Tcp,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            passes: 1,
            fails: 3,
            start_period: None,
            restart: true,
            watchdog: None,
        }
    }
}

/// Why a probe has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("connection refused")]
    Refused,
    #[error("there is no socket at {}", .0.display())]
    NoSocket(PathBuf),
    #[error("timed out after {0:?}")]
    TooSlow(Duration),
    #[error("GET {path} answered {status}")]
    Status { path: String, status: u16 },
    #[error("GET {path} was not answered: {why}")]
    NoAnswer { path: String, why: String },
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{program} ended with {exit}")]
    Exit { program: String, exit: String },
    #[error("the check cannot be run: {0}")]
    NotRun(String),
}

/// What is known about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Nothing yet.
    Unknown,
    /// It answers.
    Ready,
    /// It does not yet.
    Unready,
    /// It does not any more, or has had its time.
    Failing,
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

    /// Takes the result of a probe of a process of that age; answers what is known now.
    pub(crate) fn step(&mut self, check: &Check, age: Duration, passed: bool) -> Health {
        let early = check.start_period.is_some_and(|period| age < period);
        if passed {
            self.passes = self.passes.saturating_add(1);
            self.fails = 0;
        } else {
            self.passes = 0;
            self.fails = if early { 0 } else { self.fails.saturating_add(1) };
        }
        let (well, ill) = (self.passes >= check.passes, self.fails >= check.fails);
        let is_timed = check.start_period.is_some();
        self.health = match self.health {
            Health::Unknown | Health::Unready | Health::Failing if well => Health::Ready,
            Health::Ready if ill => Health::Failing,
            Health::Unready if ill && is_timed => Health::Failing,
            Health::Unknown if !passed => Health::Unready,
            same @ (Health::Unknown | Health::Ready | Health::Unready | Health::Failing) => same,
        };
        self.health
    }

    /// How long to wait before the next probe, `age` after the watch began: at `interval` once it
    /// is ready; before that, a tenth of its age, so that a slow start is noticed soon after it
    /// is over without being asked all the time.
    pub(crate) fn wait(&self, check: &Check, age: Duration) -> Duration {
        match self.health {
            Health::Ready => check.interval,
            Health::Unknown | Health::Unready | Health::Failing => {
                (age / 10).clamp(QUICKEST, check.interval.max(QUICKEST))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(check: &Check, from: Health, results: &[bool]) -> Health {
        run_at(check, Duration::from_secs(10), from, results)
    }

    fn run_at(check: &Check, age: Duration, from: Health, results: &[bool]) -> Health {
        let mut watch = Watch::new(from);
        results.iter().fold(from, |_, passed| watch.step(check, age, *passed))
    }

    #[test]
    fn passes_and_fails_count_in_a_row() {
        let check = Check { passes: 2, fails: 3, ..Check::default() };
        assert_eq!(run(&check, Health::Unknown, &[true]), Health::Unknown);
        assert_eq!(run(&check, Health::Unknown, &[true, true]), Health::Ready);
        assert_eq!(run(&check, Health::Unknown, &[false]), Health::Unready);
        assert_eq!(run(&check, Health::Unready, &[true, false, true]), Health::Unready);
        assert_eq!(run(&check, Health::Ready, &[false, false, true, false]), Health::Ready);
        assert_eq!(run(&check, Health::Ready, &[false, false, false]), Health::Failing);
        assert_eq!(run(&check, Health::Failing, &[true, false, true]), Health::Failing);
        assert_eq!(run(&check, Health::Failing, &[true, true]), Health::Ready);
    }

    #[test]
    fn one_that_was_never_ready_fails_only_when_its_time_is_set() {
        let many = [false; 50];
        assert_eq!(run(&Check::default(), Health::Unknown, &many), Health::Unready);
        let period = Some(Duration::from_secs(5));
        let timed = Check { start_period: period, ..Check::default() };
        assert_eq!(run(&timed, Health::Unknown, &many), Health::Failing);
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        let period = Some(Duration::from_mins(1));
        let check = Check { start_period: period, ..Check::default() };
        let early = Duration::from_secs(59);
        let many = [false; 50];
        assert_eq!(run_at(&check, early, Health::Unknown, &many), Health::Unready);
        assert_eq!(run_at(&check, early, Health::Ready, &many), Health::Ready);
        let mut watch = Watch::new(Health::Ready);
        for (age, health) in
            [(59, Health::Ready), (60, Health::Ready), (61, Health::Ready), (62, Health::Failing)]
        {
            assert_eq!(watch.step(&check, Duration::from_secs(age), false), health, "{age}");
        }
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

    #[test]
    fn a_job_tells_what_it_is_asked() {
        let words = ["sh".to_owned(), "-c".into(), "a \"b\"".into()];
        for probe in
            [Probe::Tcp, Probe::Notify, Probe::Http("/x y".into()), Probe::Exec(words.into())]
        {
            let mut spec = JobSpec::new("server");
            probe.note(&mut spec);
            assert_eq!(Probe::of(&spec), probe);
        }
    }

    #[test]
    fn faults_are_sentences() {
        let status = Fault::Status { path: "/healthz".into(), status: 500 };
        assert_eq!(status.to_string(), "GET /healthz answered 500");
        assert_eq!(Fault::TooSlow(Duration::from_secs(5)).to_string(), "timed out after 5s");
    }
}
