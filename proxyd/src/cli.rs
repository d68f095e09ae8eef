//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::limits::HASH_COST;

/// The reverse proxy of jobinit: hosts to app instances.
///
/// Its listeners normally come from init: `LISTEN_FDS` with the names `http` and `https`
/// (TCP, one or more), `control` (a unix socket) and `monitor` (TCP, if any). Routes and targets are pushed over the control socket, or come from a
/// config file.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Listen on this address for requests, too. May be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) listen: Vec<SocketAddr>,

    /// The same for requests over TLS, with the certificates that the control socket or the config file
    /// tells of. May be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) listen_tls: Vec<SocketAddr>,

    /// Create the control socket here, instead of taking it from `LISTEN_FDS`
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// Let no client in before `PUT /door` on the control socket: whoever comes earlier waits in the queue
    /// of the listener. For a proxy that is told its routes after it has been started
    #[arg(long)]
    pub(crate) wait: bool,

    /// Serve by this file: its routes, services and targets. On HUP it is read anew; if it is wrong then,
    /// nothing changes
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Write what is wanted to this file after each change, and go on with it at the next start
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) state: Option<PathBuf>,

    /// Whoever opens the door holds a lock (flock) on this file for as long as he lives. While nobody does, and
    /// the file of --state says that clients were let in before, they are let in again after a second
    #[arg(long, value_name = "FILE", requires = "state", requires = "wait")]
    pub(crate) teller: Option<PathBuf>,

    /// Tell metrics and readiness on this address to anybody who asks: `/metrics`, `/status`, `/ready`,
    /// `/ready/SERVICE`. May be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) monitor: Vec<SocketAddr>,

    /// Threads that serve requests [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,

    /// Append a line a request to this file; `-` is standard output. On USR1 or HUP the file is opened
    /// anew: what rotates logs renames it before
    #[arg(long, value_name = "PATH", default_value = "-")]
    pub(crate) access_log: PathBuf,

    /// How its lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Combined)]
    pub(crate) access_log_format: LogFormat,

    /// On TERM, wait so long for requests in flight before they are cut
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) grace: u64,

    /// The same for streams: tunnels (`WebSocket`, say), streams of events, and answers that go on for
    /// longer than that. A `WebSocket` is then closed with 1001 [default: the grace]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) stream_grace: Option<u64>,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write a numeric address and a port, such as 0.0.0.0:80 or [::]:80")
}

/// What proxyd does instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell all that is wrong in a config file, with line and column
    Check {
        /// The file
        file: PathBuf,
    },
    /// Read a password from standard input or the terminal, and print the hash for a route's `basic_auth`
    HashPassword {
        /// Each step doubles the time that a guess takes
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(4..=i64::from(HASH_COST)))]
        cost: u32,
    },
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Client, user, time, request, status, bytes
    Common,
    /// The same, referer, user agent, milliseconds, target
    Combined,
    /// All of that as a JSON object
    Json,
}
