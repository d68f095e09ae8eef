//! Which machine a verb is about, as the command line says it.

use std::path::PathBuf;

use clap::Args;

use super::contexts::Contexts;
use crate::fingerprint::Fingerprint;

/// What this machine is called.
pub(crate) const LOCAL: &str = "local";

/// Which machine.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Another machine")]
pub(crate) struct Host {
    /// A context (see `bootctl context`), or an address; `local` is this machine
    #[arg(long = "host", value_name = "NAME|ADDR:PORT", env = "BOOTCTL_HOST")]
    pub(crate) machine: Option<String>,

    /// The file that holds the token, one line that `bootctl generate` has shown there
    #[arg(long, value_name = "FILE", env = "BOOTCTL_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// What its certificate is known by; `bootctl status` shows it there
    #[arg(long, value_name = "SHA256", env = "BOOTCTL_FINGERPRINT")]
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// The way to a supervisor.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// By this socket.
    Socket(PathBuf),
    /// By this socket, unless another machine is in use.
    Usual(PathBuf),
    /// On another machine.
    Remote(Host),
}

impl Host {
    /// The way there, `told` being the socket that was named, `usual` the one that is there without a word.
    pub(crate) fn way(&self, told: Option<PathBuf>, usual: PathBuf) -> Way {
        match (&self.machine, told) {
            (Some(host), told) if host == LOCAL => Way::Socket(told.unwrap_or(usual)),
            (Some(_), _) => Way::Remote(self.clone()),
            (None, Some(told)) => Way::Socket(told),
            (None, None) => Way::Usual(usual),
        }
    }
}

impl Way {
    /// Whether it leads to another machine.
    pub(crate) fn is_remote(&self) -> bool {
        match self {
            Self::Socket(_) => false,
            Self::Usual(_) => Contexts::own().is_ok_and(|contexts| contexts.current().is_some()),
            Self::Remote(_) => true,
        }
    }

    /// Whether a supervisor of this machine can be expected.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Socket(path) | Self::Usual(path) => path.exists(),
            Self::Remote(_) => false,
        }
    }
}
