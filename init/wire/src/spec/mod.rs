//! What a client asks init to run.

mod cgroup;
mod fd;
mod life;
mod process;

use std::collections::BTreeMap;

pub use cgroup::{Cgroup, Setting};
pub use fd::FdSpec;
pub use life::{Policy, Ready, Restart, SignalName, Stop};
pub use process::{
    Account, Bound, Channel, Log, Rlimit, RlimitHalves, RlimitName, Rlimits, Stdio, Unlimited,
    WhenFull,
};
use serde::{Deserialize, Serialize};

/// A job as a client describes it. Two specs are the same job exactly when they are equal.
///
/// The child's environment is `envs` and nothing more (with `fds`, the `LISTEN_*` variables).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a job spec")]
pub struct JobSpec {
    /// The program: a path, or a name that is looked up in the `PATH` of `envs`. Only with `adopt`
    /// it may be left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exec: String,
    /// What the program is told as its own name. Default: `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg0: Option<String>,
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
    /// Which permissions new files do not get, in octal: `"027"`. Default `"022"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<String>,
    /// From -20, served first, to 19. Default: init's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i8>,
    /// Whom the kernel ends when memory is out: from -1000, never, to 1000, first. Default: what
    /// init itself was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i16>,
    /// Bounds of each of its processes. Default: what init itself was started with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rlimits: Rlimits,
    /// Whether no program it runs can gain privileges, by a set-user-id bit or otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privs: bool,
    /// The capabilities that it has and can ever get: `["NET_BIND_SERVICE"]`. Default: those its
    /// user has by nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Standard input. Default `null`.
    #[serde(default = "Stdio::null", skip_serializing_if = "Stdio::is_null")]
    pub stdin: Stdio,
    /// Standard output. Default `inherit`.
    #[serde(default = "Stdio::inherit", skip_serializing_if = "Stdio::is_inherit")]
    pub stdout: Stdio,
    /// Standard error. Default `inherit`.
    #[serde(default = "Stdio::inherit", skip_serializing_if = "Stdio::is_inherit")]
    pub stderr: Stdio,
    /// How what is written to `log` is kept.
    #[serde(default, skip_serializing_if = "Log::is_default")]
    pub log: Log,
    /// Whether it has a terminal of its own instead of the three streams.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Sockets that init opens, keeps, and hands over from fd 3 on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fds: Vec<FdSpec>,
    /// How many descriptors it may give init to keep for its next run, with `FDSTORE=1`. Default 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fd_store_max: u32,
    /// When it counts as ready. Default `exec`.
    #[serde(default, skip_serializing_if = "Ready::is_default")]
    pub ready: Ready,
    /// Milliseconds within which it must say `WATCHDOG=1` again; else it is killed. Default: no
    /// such duty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog_ms: Option<u64>,
    /// When to start it again after it has ended.
    #[serde(default, skip_serializing_if = "Restart::is_never")]
    pub restart: Restart,
    /// How to end it.
    #[serde(default, skip_serializing_if = "Stop::is_default")]
    pub stop: Stop,
    /// Settings of its control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// A running process to take over instead of starting one. What the spec does not say of how
    /// to start it again is read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl JobSpec {
    /// A spec of `exec` with every other field at its default.
    #[must_use]
    pub fn new(exec: impl Into<String>) -> Self {
        Self {
            exec: exec.into(),
            arg0: None,
            args: Vec::new(),
            cwd: None,
            envs: BTreeMap::new(),
            user: None,
            group: None,
            groups: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            rlimits: Rlimits::new(),
            no_new_privs: false,
            capabilities: None,
            stdin: Stdio::Null,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
            log: Log::default(),
            tty: false,
            fds: Vec::new(),
            fd_store_max: 0,
            ready: Ready::Exec,
            watchdog_ms: None,
            restart: Restart::default(),
            stop: Stop::default(),
            cgroup: None,
            adopt: None,
        }
    }
}
