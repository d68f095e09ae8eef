//! What a process is started with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A user or a group: `"www"`, `"33"` or `33`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a name, or an id from 0 to 4294967294")]
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
    /// Output is kept by init, and read by `GET /job/{id}/stdout`.
    Log,
    /// Input comes by `PUT /job/{id}/stdin`.
    Pipe,
    /// A file by absolute path: input is read from it, output is appended.
    File(String),
}

impl Stdio {
    pub(super) fn null() -> Self {
        Self::Null
    }
    pub(super) fn inherit() -> Self {
        Self::Inherit
    }
    pub(super) fn is_null(&self) -> bool {
        *self == Self::Null
    }
    pub(super) fn is_inherit(&self) -> bool {
        *self == Self::Inherit
    }
}

/// How a job's `log` streams are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object such as {\"bytes\": 65536}")]
pub struct Log {
    /// Bytes kept of each stream, the newest.
    pub bytes: u32,
    /// What happens when there are more.
    pub when_full: WhenFull,
}

impl Default for Log {
    fn default() -> Self {
        Self { bytes: 65536, when_full: WhenFull::Drop }
    }
}

impl Log {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens when a job writes more than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The oldest bytes go.
    Drop,
    /// The job waits until somebody who follows has read them.
    Wait,
}

/// A stream that a job writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Standard output; of a job with a terminal, all that it writes there.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bounds of the kernel on one process: what `setrlimit` knows, by its names in lower case.
pub type Rlimits = BTreeMap<RlimitName, Rlimit>;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum RlimitName {
    /// Bytes of address space.
    As,
    /// Bytes of a core file.
    Core,
    /// Seconds of processor time.
    Cpu,
    /// Bytes of data segment.
    Data,
    /// Bytes of a file that is written.
    Fsize,
    /// File locks.
    Locks,
    /// Bytes of locked memory.
    Memlock,
    /// Bytes in message queues.
    Msgqueue,
    /// How far `nice` may be lowered: 20 minus this.
    Nice,
    /// Open files.
    Nofile,
    /// Processes of the user.
    Nproc,
    /// Bytes of resident memory; Linux heeds it no more.
    Rss,
    /// Real-time priority.
    Rtprio,
    /// Microseconds of real-time work without a pause.
    Rttime,
    /// Signals that wait.
    Sigpending,
    /// Bytes of stack.
    Stack,
}

impl RlimitName {
    const ALL: [Self; 16] = [
        Self::As,
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Locks,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nice,
        Self::Nofile,
        Self::Nproc,
        Self::Rss,
        Self::Rtprio,
        Self::Rttime,
        Self::Sigpending,
        Self::Stack,
    ];

    /// The name in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::Data => "data",
            Self::Fsize => "fsize",
            Self::Locks => "locks",
            Self::Memlock => "memlock",
            Self::Msgqueue => "msgqueue",
            Self::Nice => "nice",
            Self::Nofile => "nofile",
            Self::Nproc => "nproc",
            Self::Rss => "rss",
            Self::Rtprio => "rtprio",
            Self::Rttime => "rttime",
            Self::Sigpending => "sigpending",
            Self::Stack => "stack",
        }
    }
}

// As a text first, so that an error can name the one that it is about.
impl TryFrom<String> for RlimitName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("there is no limit `{name}`; there are {all}")
        })
    }
}

/// A bound: one number or `"unlimited"` for both halves, or each half by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number from 0, \"unlimited\", or {\"soft\": …, \"hard\": …}"
)]
pub enum Rlimit {
    /// Soft and hard alike.
    Both(Bound),
    /// Each by itself.
    Each(RlimitHalves),
}

/// The two halves of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlimitHalves {
    /// What holds.
    pub soft: Bound,
    /// What the process may raise it to.
    pub hard: Bound,
}

/// A number, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number from 0, or \"unlimited\"")]
pub enum Bound {
    /// At most this.
    At(u64),
    /// No bound.
    None(Unlimited),
}

/// The word for no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlimited {
    /// `"unlimited"`.
    Unlimited,
}
