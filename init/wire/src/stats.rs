//! What a job uses.

use serde::{Deserialize, Serialize};

/// `GET /job/:id/stats`: what a job uses. What cannot be known is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStats {
    /// The job's name.
    pub id: String,
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Bytes from and to disks.
    pub io: IoStats,
    /// Its processes, dead ones that nobody has reaped not counted.
    pub processes: Option<u64>,
    /// Their threads.
    pub threads: Option<u64>,
    /// Descriptors that they have open.
    pub fds: Option<u64>,
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The kernel counts it for the job's control group: also what ended processes have used.
    Cgroup,
    /// The sum over the job's processes, and where `/proc` has that, over those of their children
    /// that they have waited for.
    Processes,
}

/// Processor time since the job's start, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStats {
    /// Where it comes from; `processes` is exact to a tick of the kernel's, mostly 10 ms.
    pub source: Source,
    /// In programs.
    #[serde(rename = "userUs")]
    pub user_us: Option<u64>,
    /// In the kernel.
    #[serde(rename = "systemUs")]
    pub system_us: Option<u64>,
}

/// Memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// Where `currentBytes` and `peakBytes` come from.
    pub source: Source,
    /// Now. Of a group also what the kernel holds for it, cached files above all; of processes what
    /// is resident, so that pages that several share count several times.
    #[serde(rename = "currentBytes")]
    pub current_bytes: Option<u64>,
    /// The most there has been; only a group knows.
    #[serde(rename = "peakBytes")]
    pub peak_bytes: Option<u64>,
    /// Resident in its processes, where each page counts as much as it is theirs. Only on request.
    #[serde(rename = "pssBytes")]
    pub pss_bytes: Option<u64>,
}

/// Bytes that disks have moved, or will when what is written goes there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoStats {
    /// Where it comes from.
    pub source: Source,
    /// Read.
    #[serde(rename = "readBytes")]
    pub read_bytes: Option<u64>,
    /// Written.
    #[serde(rename = "writtenBytes")]
    pub written_bytes: Option<u64>,
}
