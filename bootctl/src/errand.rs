//! What an administrator has init start beside the apps: a command that runs as an app does, and a process that runs
//! already. Here that is done by his command, from afar by the gate: so nobody sends a spec, and none can say more
//! than these do.

use init_wire::{JobInfo, JobSpec, Log, Policy, Ready, Restart, Stdio, WhenFull};
use serde::{Deserialize, Serialize};

use crate::app::{ENV_APP, ENV_INSTANCE};

/// How much of what it writes waits for its reader; then it waits.
const HELD: u32 = 1 << 20;
/// How the names of commands begin.
const PREFIX: &str = "exec-";

/// A command that is to run as an app does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Errand {
    /// The job whose user, environment, folder and limits it has.
    pub(crate) like: String,
    /// The program and its arguments.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(crate) command: Vec<String>,
    /// What kind of terminal it gets, if it gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) term: Option<String>,
}

/// A process that is to be a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Adoption {
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(crate) pid: u32,
    /// When it is started again after it has ended.
    #[cfg_attr(test, schemars(with = "Option<AnyPolicy>"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restart: Option<Policy>,
}

/// As [`Policy`] is written.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(rename = "Policy", rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is of interest")]
enum AnyPolicy {
    Never,
    OnFailure,
    Always,
}

impl Errand {
    /// A name for it that no other one has.
    pub(crate) fn name(app: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.subsec_nanos());
        format!("{PREFIX}{}-{now:x}.{app}", std::process::id())
    }

    /// Whether a job of this name is one.
    pub(crate) fn is_one(id: &str) -> bool {
        id.starts_with(PREFIX)
    }

    /// The job that it is beside the one that it is like.
    pub(crate) fn spec(&self, like: &JobInfo) -> JobSpec {
        let mut spec = like.spec.clone();
        let mut words = self.command.iter().cloned();
        spec.exec = words.next().unwrap_or_default();
        spec.args = words.collect();
        (spec.arg0, spec.adopt, spec.watchdog_ms) = (None, None, None);
        (spec.fds, spec.fd_store_max) = (Vec::new(), 0);
        (spec.ready, spec.restart) = (Ready::Exec, Restart::default());
        // It is no instance, and nothing of what it says belongs into the app's log.
        for name in [ENV_APP, ENV_INSTANCE] {
            spec.envs.remove(name);
        }
        spec.tty = self.term.is_some();
        if let Some(kind) = self.term.clone().filter(|kind| !kind.is_empty()) {
            spec.envs.insert("TERM".into(), kind);
        }
        spec.log = Log { bytes: HELD, when_full: WhenFull::Wait };
        // A terminal is all three.
        (spec.stdin, spec.stdout, spec.stderr) = if spec.tty {
            (Stdio::Null, Stdio::Inherit, Stdio::Inherit)
        } else {
            (Stdio::Pipe, Stdio::Log, Stdio::Log)
        };
        spec
    }
}

impl Adoption {
    pub(crate) fn spec(self) -> JobSpec {
        let mut spec = JobSpec::new("");
        spec.adopt = Some(self.pid);
        spec.restart =
            Restart { policy: self.restart.unwrap_or(Policy::Never), ..Restart::default() };
        // From its next start on; until then it writes where it always has.
        (spec.stdout, spec.stderr) = (Stdio::Log, Stdio::Log);
        spec
    }
}
