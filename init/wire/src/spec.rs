//! What a client asks init to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A job as a client describes it. Two specs are the same job exactly when they are equal.
///
/// The child's environment is `envs` and nothing more (with `fds`, the `LISTEN_*` variables).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The program: a path, or a name that is looked up in the `PATH` of `envs`.
    pub exec: String,
    /// The arguments after the program's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Working directory, absolute. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The whole environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub envs: BTreeMap<String, String>,
    /// User, by name or id. Default: init's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Account>,
    /// Group, by name or id. Default: the user's own group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Account>,
    /// Supplementary groups. Default: those `/etc/group` lists for the user; none without a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Account>>,
    /// Standard input. Default `null`.
    #[serde(default = "Stdio::null", skip_serializing_if = "Stdio::is_null")]
    pub stdin: Stdio,
    /// Standard output. Default `inherit`.
    #[serde(default = "Stdio::inherit", skip_serializing_if = "Stdio::is_inherit")]
    pub stdout: Stdio,
    /// Standard error. Default `inherit`.
    #[serde(default = "Stdio::inherit", skip_serializing_if = "Stdio::is_inherit")]
    pub stderr: Stdio,
    /// Sockets that init opens, keeps, and hands over from fd 3 on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fds: Vec<FdSpec>,
    /// When to start it again after it has ended.
    #[serde(default, skip_serializing_if = "Restart::is_never")]
    pub restart: Restart,
    /// How to end it.
    #[serde(default, skip_serializing_if = "Stop::is_default")]
    pub stop: Stop,
}

impl JobSpec {
    /// A spec of `exec` with every other field at its default.
    #[must_use]
    pub fn new(exec: impl Into<String>) -> Self {
        Self {
            exec: exec.into(),
            args: Vec::new(),
            cwd: None,
            envs: BTreeMap::new(),
            user: None,
            group: None,
            groups: None,
            stdin: Stdio::Null,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
            fds: Vec::new(),
            restart: Restart::default(),
            stop: Stop::default(),
        }
    }
}

/// A user or a group: `"www"`, `"33"` or `33`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Account {
    /// A numeric id.
    Id(u32),
    /// A name, or a numeric id in quotes.
    Name(String),
}

/// What one of the three standard streams is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdio {
    /// `/dev/null`.
    Null,
    /// init's own stream.
    Inherit,
    /// A file by absolute path: input is read from it, output is appended.
    File(String),
}

impl Stdio {
    fn null() -> Self {
        Self::Null
    }
    fn inherit() -> Self {
        Self::Inherit
    }
    fn is_null(&self) -> bool {
        *self == Self::Null
    }
    fn is_inherit(&self) -> bool {
        *self == Self::Inherit
    }
}

/// A listening socket that belongs to init and is lent to the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdSpec {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// `tcp:HOST:PORT` (a numeric address) or `unix:/PATH`.
    pub listen: String,
}

/// When a job that ended is started again, and how long to wait before.
///
/// The n-th restart in a row waits `delay_ms * factor^(n-1)`, at most `max_delay_ms`, varied by
/// `jitter`. A run of at least `reset_after_ms` starts the count anew. More than `limit` restarts
/// within `window_ms` and the job stays failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
    fn is_never(&self) -> bool {
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
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// The polite signal.
    pub signal: SignalName,
    /// Milliseconds until SIGKILL.
    pub timeout_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: SignalName::Name("TERM".into()), timeout_ms: 10_000 }
    }
}

impl Stop {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A signal: `"TERM"`, `"SIGTERM"`, `"15"` or `15`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignalName {
    /// By number.
    Number(u8),
    /// By name, with or without `SIG`.
    Name(String),
}
