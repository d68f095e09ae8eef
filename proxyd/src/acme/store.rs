//! Where accounts, keys and certificates are kept: a narrow door, behind which there is a folder now.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::name::Name;

/// Something that is kept, by what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Our account with an authority, by a name of that one, of letters, digits, dots and hyphens.
    Account(String),
    /// A certificate and its key.
    Certificate(Name),
    /// An order that is under way.
    Order(Name),
    /// Tries that have failed.
    Past(Name),
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Record::Account(name) => write!(f, "the account {name}"),
            Record::Certificate(name) => write!(f, "the certificate {}", name.as_str()),
            Record::Order(name) => write!(f, "the order {}", name.as_str()),
            Record::Past(name) => write!(f, "the tries of {}", name.as_str()),
        }
    }
}

/// Why something is not kept, or cannot be had.
#[derive(Debug, Error)]
pub(crate) enum CannotStore {
    #[error("{} cannot be {what}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} belongs to another user: it must be of the user that proxyd runs as", path.display())]
    Owner { path: PathBuf },
    #[error("{} can be read by others: its mode must be 0700", path.display())]
    Open { path: PathBuf },
}

/// Held as long as somebody is the one who obtains.
pub(crate) trait Lock: std::fmt::Debug + Send {}

/// What is kept outlives the process, and is whole or not there.
pub(crate) trait Store: std::fmt::Debug + Send + Sync {
    /// `None`: another one has it.
    fn lock(&self) -> Result<Option<Box<dyn Lock>>, CannotStore>;

    /// `None`: there is no such record.
    fn read(&self, record: &Record) -> Result<Option<Vec<u8>>, CannotStore>;

    /// It is on the disk when this returns.
    fn write(&self, record: &Record, bytes: &[u8]) -> Result<(), CannotStore>;

    fn remove(&self, record: &Record) -> Result<(), CannotStore>;

    /// Keeps one that is of no use, where it is in nobody's way; returns where.
    fn set_aside(&self, record: &Record) -> Result<PathBuf, CannotStore>;
}
