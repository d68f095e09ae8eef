//! `[deploy]` of an app: what is done to get a new release, how much it may hold, and how long it has to prove
//! itself.

use std::time::Duration;

use init_wire::{Account, JobSpec};
use serde::{Deserialize, Serialize};

use super::Bounds;
use super::housing::Home;

/// What an app's file says of its releases.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// How long after a roll a release is taken back if it fails; 0 is never.
    pub(crate) watch: Duration,
    /// How long a new instance has to have been ready before an old one goes.
    pub(crate) settle: Duration,
    /// How many releases stay.
    pub(crate) keep: usize,
    pub(crate) bounds: Bounds,
    /// Whose the files are, if not the app's user's.
    pub(crate) owner: Option<Account>,
    pub(crate) update: Option<String>,
    pub(crate) rebuild: Option<String>,
    /// How long each of the commands may take.
    pub(crate) command_timeout: Duration,
    pub(crate) home: Home,
}

/// A command of `[deploy]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Update,
    Rebuild,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            watch: Duration::from_secs(30),
            settle: Duration::ZERO,
            keep: 5,
            bounds: Bounds::default(),
            owner: None,
            update: None,
            rebuild: None,
            command_timeout: Duration::from_mins(10),
            home: Home::default(),
        }
    }
}

impl Rules {
    /// The command of a step, if it is written.
    pub(crate) fn command(&self, step: Step) -> Option<&str> {
        match step {
            Step::Update => self.update.as_deref(),
            Step::Rebuild => self.rebuild.as_deref(),
        }
    }
}

impl Step {
    /// The key, and the end of the job's name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Rebuild => "rebuild",
        }
    }
}

/// A job's program and arguments are those of a shell that runs a command. Both streams are one, so that what
/// belongs together stays together.
pub(crate) fn in_shell(spec: &mut JobSpec, command: &str) {
    spec.exec = "/bin/sh".into();
    spec.args = vec!["-c".into(), format!("exec 2>&1\n{command}")];
}
