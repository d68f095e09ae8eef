//! How the log of an app is kept: how large and how old a file gets, how many old ones stay, and
//! how they are compressed.

use init_wire::Log;
use serde::{Deserialize, Serialize};

/// What holds for one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keeping {
    /// Bytes after which a new file is begun.
    pub(crate) max_size: u64,
    /// A file whose first line is older is not written to any more.
    pub(crate) max_age_ms: u64,
    /// How many old files stay.
    pub(crate) keep: u32,
    pub(crate) compress: Compress,
}

/// What becomes of old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compress {
    Gzip,
    Zstd,
    None,
}

impl Default for Keeping {
    fn default() -> Self {
        let week = 7 * 24 * 3600 * 1000;
        // Whatever machine a log is copied to can read it; and it needs no C compiler.
        Self { max_size: 10 << 20, max_age_ms: week, keep: 5, compress: Compress::Gzip }
    }
}

/// What an app's file says of it; the rest is as for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) max_size: Option<u64>,
    pub(crate) max_age_ms: Option<u64>,
    pub(crate) keep: Option<u32>,
    pub(crate) compress: Option<Compress>,
}

impl Changes {
    pub(crate) fn to(&self, all: &Keeping) -> Keeping {
        Keeping {
            max_size: self.max_size.unwrap_or(all.max_size),
            max_age_ms: self.max_age_ms.unwrap_or(all.max_age_ms),
            keep: self.keep.unwrap_or(all.keep),
            compress: self.compress.unwrap_or(all.compress),
        }
    }
}

/// `[log]` of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppLog {
    /// How much init keeps of what it writes; nothing if it writes where init does.
    pub(crate) capture: Option<Log>,
    pub(crate) changes: Changes,
}

impl Default for AppLog {
    fn default() -> Self {
        Self { capture: Some(Log::default()), changes: Changes::default() }
    }
}

/// `[log]` of `bootctl.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllLogs {
    /// The folder, if it is not the usual one.
    pub(crate) dir: Option<String>,
    pub(crate) keeping: Keeping,
    /// Whether lines are repeated on init's own output; if it does not say, they are in a container.
    pub(crate) console: Option<bool>,
}
