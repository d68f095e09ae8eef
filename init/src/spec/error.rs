//! What can be wrong with a spec.

use std::borrow::Cow;

use crate::account::AccountError;

/// A field of a spec, as a path: `stop.signal`.
pub type Field = Cow<'static, str>;

/// What is wrong with a spec: the field and the reason.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A text that must not be empty.
    #[error("it must not be empty")]
    Empty {
        /// The field.
        field: Field,
    },
    /// A NUL byte cannot be handed to a program.
    #[error("it holds a NUL byte, which no program can be given")]
    Nul {
        /// The field.
        field: Field,
    },
    /// A path that depends on where init happens to be.
    #[error("`{path}` is not absolute; begin it with /")]
    Relative {
        /// The field.
        field: Field,
        /// The path.
        path: String,
    },
    /// A name that cannot be a variable's.
    #[error("`{name}` cannot be a variable's name: it is empty or has an `=`")]
    BadVariable {
        /// The name.
        name: String,
    },
    /// No such signal.
    #[error("there is no such signal; use a name such as TERM or a number from 1 to 64")]
    UnknownSignal,
    /// A value out of its range.
    #[error("it must be {range}")]
    Range {
        /// The field.
        field: Field,
        /// The range in words.
        range: &'static str,
    },
    /// No such capability.
    #[error("there is no capability `{name}`; capabilities(7) lists them")]
    UnknownCapability {
        /// The name.
        name: String,
    },
    /// A socket address that cannot be read.
    #[error(
        "`{listen}` is not an address; use tcp:HOST:PORT or udp:HOST:PORT with a numeric host, \
         unix:/PATH or unix:@NAME, or unix-dgram: with these"
    )]
    BadAddress {
        /// The text.
        listen: String,
    },
    /// An option of a socket that sockets of its kind do not have.
    #[error("only a socket at {only} can have it")]
    Misplaced {
        /// The field.
        field: Field,
        /// Where it can be.
        only: &'static str,
    },
    /// One address twice, with different options.
    #[error("`{listen}` is there twice with other options; it is one socket, so give the same")]
    TwoWays {
        /// The address.
        listen: String,
    },
    /// A socket's name with a character that `LISTEN_FDNAMES` cannot hold.
    #[error("`{name}` cannot be a socket's name: 1 to 255 printable characters without `:`")]
    BadFdName {
        /// The name.
        name: String,
    },
    /// A descriptor that is taken or cannot be handed over.
    #[error("descriptor {fd} cannot be used: take one from {least} to {most}")]
    BadReadyFd {
        /// The descriptor.
        fd: u32,
        /// The least that is free.
        least: u32,
        /// The most there may be.
        most: u32,
    },
    /// An account that does not exist.
    #[error("{source}")]
    Account {
        /// The field.
        field: Field,
        /// The reason.
        source: AccountError,
    },
    /// A spec that cannot be kept as text.
    #[error("it cannot be kept: {0}")]
    Text(#[from] serde_json::Error),
}

impl SpecError {
    /// A value out of its range.
    pub(super) fn range(field: impl Into<Field>, range: &'static str) -> Self {
        Self::Range { field: field.into(), range }
    }

    /// An account that does not exist.
    #[must_use]
    pub fn account(source: AccountError) -> Self {
        let field = match &source {
            AccountError::UnknownGroup(_) => "group",
            AccountError::UnknownUser(_)
            | AccountError::NoPrimaryGroup(_)
            | AccountError::BadId(_)
            | AccountError::Unreadable { .. } => "user",
        };
        Self::Account { field: field.into(), source }
    }

    /// The same of a field within another one.
    #[must_use]
    pub(super) fn within(self, outer: &'static str) -> Self {
        match self {
            Self::Account { field, source } => {
                Self::Account { field: format!("{outer}.{field}").into(), source }
            }
            other => other,
        }
    }

    /// The field at fault.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Empty { field }
            | Self::Nul { field }
            | Self::Relative { field, .. }
            | Self::Range { field, .. }
            | Self::Misplaced { field, .. }
            | Self::Account { field, .. } => field,
            Self::BadVariable { .. } => "envs",
            Self::UnknownSignal => "stop.signal",
            Self::UnknownCapability { .. } => "capabilities",
            Self::BadAddress { .. } => "fds.listen",
            Self::TwoWays { .. } => "fds",
            Self::BadFdName { .. } => "fds.name",
            Self::BadReadyFd { .. } => "ready.fd",
            Self::Text(_) => ".",
        }
    }
}
