//! Releases: what an app runs from, kept by number in `STATE_DIR/releases/APP/N`.
//!
//! A release is there whole or not at all: it is put together beside its place, flushed, and renamed. Nothing
//! in it is changed after that by bootctl. Which one an app runs from is in its record, not in a link:
//! `releases/APP/current` is for people.

mod archive;
mod compression;
mod copy;
mod history;
mod housing;
mod number;
mod owner;
pub(crate) mod pack;
mod rules;
mod shelf;
mod watch;

pub(crate) use archive::{ArchiveError, unpack};
pub(crate) use copy::{copy, keep, measure};
pub(crate) use history::{About, History};
pub(crate) use housing::{Cwd, Home, Housing, release_of};
pub(crate) use number::{Base, Number};
pub(crate) use owner::Owner;
pub(crate) use rules::{Rules, Step, in_shell};
pub(crate) use shelf::{Shelf, ShelfError, clear};
pub(crate) use watch::{Sight, Verdict, watch};

/// How much a release may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes of all its files, and of the archive.
    pub(crate) bytes: u64,
    /// Files, folders and links.
    pub(crate) entries: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 2 << 30, entries: 200_000 }
    }
}

/// What it does hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// The bound that something is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    #[error("more than {0} bytes; `[deploy] max_size` says how many it may have")]
    Bytes(u64),
    #[error("more than {0} files; `[deploy] max_files` says how many it may have")]
    Entries(u64),
}

impl Contents {
    /// Counts one thing more, of so many bytes, if there is room for it.
    pub(crate) fn add(&mut self, bytes: u64, bounds: Bounds) -> Result<(), Excess> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries = self.entries.saturating_add(1);
        if self.bytes > bounds.bytes {
            return Err(Excess::Bytes(bounds.bytes));
        }
        if self.entries > bounds.entries {
            return Err(Excess::Entries(bounds.entries));
        }
        Ok(())
    }
}
