//! What init tells about jobs and about itself.

use serde::{Deserialize, Serialize};

use crate::JobSpec;

/// One job, as `GET /job/:id` shows it. Times are RFC 3339 in UTC with milliseconds.
///
/// `S` is what holds the spec: init keeps it as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInfo<S = JobSpec> {
    /// Its name.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// The main process, while there is one.
    pub pid: Option<u32>,
    /// How the last run ended.
    #[serde(rename = "lastExit")]
    pub last_exit: Option<LastExit>,
    /// How many times init has started it again by itself.
    pub respawn: u32,
    /// One sentence on why it is in this status.
    pub why: String,
    /// What it says of itself, by `STATUS=` of `sd_notify(3)`.
    #[serde(rename = "statusText", skip_serializing_if = "Option::is_none", default)]
    pub status_text: Option<String>,
    /// When its last run began.
    #[serde(rename = "startedAt")]
    pub started_at: Option<String>,
    /// When its last run ended.
    #[serde(rename = "endedAt")]
    pub ended_at: Option<String>,
    /// When it is started next, in `backoff`.
    #[serde(rename = "nextStart", skip_serializing_if = "Option::is_none", default)]
    pub next_start: Option<String>,
    /// What it was asked to run.
    pub spec: S,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its process is being started, or runs and is not ready yet.
    Starting,
    /// Its process runs and is ready.
    Running,
    /// It was told to end and has not yet.
    Stopping,
    /// It has ended and is started again after a delay.
    Backoff,
    /// It has ended with exit code 0, or because it was told to.
    Success,
    /// It has ended otherwise.
    Failed,
}

impl Status {
    /// Whether a process of it exists or will exist without anybody asking.
    #[must_use]
    pub fn is_live(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping | Self::Backoff => true,
            Self::Success | Self::Failed => false,
        }
    }
}

/// An exit code (`3`) or the name of the signal that ended the process (`"SIGKILL"`); `"OOM"` is
/// the SIGKILL of a kernel that ran out of the memory that the job's control group allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LastExit {
    /// 0 to 255.
    Code(u8),
    /// With `SIG`, or `OOM`.
    Signal(String),
}

/// A line of `GET /jobs?follow`.
///
/// The stream begins with one `job` event for each job there is and a `ready` event; after
/// that, an event for each change, in order. One that goes on from an earlier place begins with the
/// changes since then instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum JobEvent<S = JobSpec> {
    /// A job exists or has changed.
    Job {
        /// The number of the change; grows by one for each.
        seq: u64,
        /// The job after the change.
        job: Box<JobInfo<S>>,
    },
    /// A job was cleared.
    Gone {
        /// The number of the change.
        seq: u64,
        /// The job's name.
        id: String,
    },
    /// All jobs that exist, or all changes so far, have been told.
    Ready {
        /// The number of the last change told.
        seq: u64,
        /// What tells this life of init, which numbers its changes from 1, from others.
        #[serde(default)]
        life: String,
    },
    /// The reader was too slow or too long away, and has missed this many events. At the start of a
    /// stream all jobs follow; later it must read `GET /jobs` anew.
    Missed {
        /// How many, if that can be known: not from another life of init.
        count: Option<u64>,
    },
}

/// `GET /job/init`: init itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitInfo {
    /// init's version.
    pub version: String,
    /// init's process id.
    pub pid: u32,
    /// Whether it is the first process of a machine, which ends with it.
    pub machine: bool,
    /// Milliseconds since init started.
    #[serde(rename = "uptimeMs")]
    pub uptime_ms: u64,
    /// How often its own code has failed since then; it has gone on each time.
    #[serde(default)]
    pub crashes: u32,
    /// How many jobs there are, ended ones included.
    pub jobs: usize,
    /// The most jobs there may be.
    #[serde(rename = "maxJobs")]
    pub max_jobs: usize,
    /// The most connections served at once.
    #[serde(rename = "maxConnections")]
    pub max_connections: usize,
    /// The largest request body in bytes.
    #[serde(rename = "maxBody")]
    pub max_body: usize,
}
