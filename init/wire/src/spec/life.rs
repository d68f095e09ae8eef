//! How a job lives: when it counts as ready, when it is started again, how it is ended.

use serde::{Deserialize, Serialize};

/// When a job that has been started is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// At once: its program runs.
    #[default]
    Exec,
    /// When it says `READY=1` on the socket that `NOTIFY_SOCKET` names, as `sd_notify(3)` does.
    Notify,
    /// When it writes a line to this descriptor.
    Fd(u32),
}

impl Ready {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::Exec
    }
}

/// When a job that ended is started again, and how long to wait before.
///
/// The n-th restart in a row waits `delay_ms * factor^(n-1)`, at most `max_delay_ms`, varied by
/// `jitter`. A run of at least `reset_after_ms` starts the count anew. More than `limit` restarts
/// within `window_ms` and the job stays failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object such as {\"policy\": \"always\"}")]
pub struct Restart {
    /// After which endings.
    pub policy: Policy,
    /// Milliseconds before the first restart.
    pub delay_ms: u64,
    /// What the delay grows by from one restart to the next, at least 1.
    pub factor: f64,
    /// Milliseconds that the delay never exceeds.
    pub max_delay_ms: u64,
    /// How much of the delay is random, 0 to 1: 0.1 means up to 10 % more or less.
    pub jitter: f64,
    /// Milliseconds of life after which the job counts as healthy again.
    pub reset_after_ms: u64,
    /// Most restarts within the window; 0 is no limit.
    pub limit: u32,
    /// The window of `limit` in milliseconds.
    pub window_ms: u64,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: Policy::Never,
            delay_ms: 100,
            factor: 2.0,
            max_delay_ms: 30_000,
            jitter: 0.0,
            reset_after_ms: 10_000,
            limit: 0,
            window_ms: 60_000,
        }
    }
}

impl Restart {
    pub(super) fn is_never(&self) -> bool {
        *self == Self::default()
    }
}

/// After which endings a job is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// After none.
    Never,
    /// After a non-zero exit code or a signal.
    OnFailure,
    /// After any.
    Always,
}

/// How a job is ended: `signal` to its processes, SIGKILL to what is left after `timeout_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object such as {\"timeout_ms\": 5000}")]
pub struct Stop {
    /// The polite signal.
    pub signal: SignalName,
    /// Milliseconds until SIGKILL.
    pub timeout_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: SignalName::Name(Self::SIGNAL.into()), timeout_ms: Self::TIMEOUT_MS }
    }
}

impl Stop {
    const SIGNAL: &str = "TERM";
    const TIMEOUT_MS: u64 = 10_000;

    pub(super) fn is_default(&self) -> bool {
        let is_term = matches!(&self.signal, SignalName::Name(name) if name == Self::SIGNAL);
        is_term && self.timeout_ms == Self::TIMEOUT_MS
    }
}

/// A signal: `"TERM"`, `"SIGTERM"`, `"15"` or `15`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a signal such as \"TERM\" or 15")]
pub enum SignalName {
    /// By number.
    Number(u8),
    /// By name, with or without `SIG`.
    Name(String),
}
