//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;

/// The reverse proxy of jobinit: hosts to app instances.
///
/// Its listeners normally come from init: `LISTEN_FDS` with the names `http` (TCP, one or more) and
/// `control` (a unix socket). Routes and targets are pushed over the control socket.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Listen on this address for requests, too. May be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,

    /// Create the control socket here, instead of taking it from `LISTEN_FDS`
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// Threads that serve requests [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,

    /// Append a line a request to this file; `-` is standard output
    #[arg(long, value_name = "PATH", default_value = "-")]
    pub(crate) access_log: PathBuf,

    /// On TERM, wait so long for requests in flight before they are cut
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) grace: u64,
}
