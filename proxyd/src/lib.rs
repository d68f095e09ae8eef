//! The reverse proxy: hosts to app instances.
//!
//! It knows routes, targets and connections. It does not know processes, or where a target came
//! from; it needs no root, and no writable directory unless it obtains certificates.
//!
//! ```text
//!   listener ─▶ connection ─▶ exchange ─▶ attempt ─▶ upstream (pool) ─▶ target
//!                                 │          ▲
//!   control ─▶ registry(state) ─▶ route,claim┘     all but `registry` is one worker's own
//! ```
#![forbid(unsafe_code)]
// Whoever serves must not wait for a reader, or panic for want of one: see `say`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod access_log;
mod acme;
mod attempt;
mod balance;
mod bounds;
mod budget;
mod buffer;
mod canary;
mod cli;
mod clock;
mod compression;
mod config;
mod connection;
mod control;
mod cookie;
mod crowd;
mod dates;
mod door;
mod exchange;
mod executor;
mod files;
mod flow;
mod forwarded;
mod frames;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gauges;
mod h1;
mod h2;
mod headers;
mod health;
mod host;
mod inherited;
mod ledger;
mod limits;
mod listener;
mod maintenance;
mod meter;
mod name;
mod network;
mod origin;
mod pace;
mod passage;
mod password;
mod path;
mod pipe;
mod pool;
mod presence;
mod proxy_header;
mod queue;
mod reactor;
mod readiness;
mod refusal;
mod registry;
mod relay;
mod rendezvous;
mod request_id;
mod rounds;
mod route;
mod rules;
mod say;
mod server;
mod service;
mod settings;
mod snapshot;
mod socket;
mod source;
mod state;
mod stream;
mod table;
mod target;
mod teller;
mod timer;
mod tls;
mod tunnel;
mod upload;
mod upstream;
mod wire;
mod worker;

use std::io::{self, Write};

pub use cli::Cli;
pub use password::CannotHash;
pub use server::CannotServe;
use thiserror::Error;

/// Why proxyd ends otherwise than well.
#[derive(Debug, Error)]
pub enum Failed {
    /// It does not serve.
    #[error("{0}")]
    Serve(#[from] CannotServe),
    /// `proxyd hash-password`
    #[error("{0}")]
    Hash(#[from] CannotHash),
    /// `proxyd check`: what is wrong with the file.
    #[error("{0}")]
    Config(String),
}

impl Failed {
    /// 2 for what the caller can put right, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failed::Serve(error) => error.exit_code(),
            Failed::Hash(CannotHash::System { .. }) => 1,
            Failed::Hash(_) | Failed::Config(_) => 2,
        }
    }
}

/// Serves, or does what a subcommand says.
///
/// # Errors
/// When it cannot; once it serves, it ends well.
pub fn run(mut cli: Cli) -> Result<(), Failed> {
    match cli.command.take() {
        None => server::run(cli)?,
        Some(cli::Command::Check { file }) => {
            let good = config::check(&file).map_err(|error| Failed::Config(error.to_string()))?;
            // Who does not want to read it has the exit code.
            let _ = writeln!(io::stdout(), "{good}");
        }
        Some(cli::Command::HashPassword { cost }) => password::run(cost)?,
    }
    Ok(())
}
