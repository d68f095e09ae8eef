//! `bootctl gate`: what the supervisor starts to be reached from other machines.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing::error;

use crate::boot::init_address;
use crate::cli::InitAt;
use crate::gate::door::{self, Orders};

/// Let administrators of other machines in
///
/// Started by the supervisor, as a job of init.
#[derive(Debug, Args)]
pub(crate) struct Gate {
    /// Where the control socket is
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: PathBuf,

    /// Where tokens are
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: PathBuf,

    /// Where logs are
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: PathBuf,

    #[command(flatten)]
    pub(crate) init: InitAt,

    /// The certificate, if it is not our own
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
}

pub(super) fn run(gate: Gate) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    match try_to(gate) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn try_to(gate: Gate) -> Result<(), Box<dyn std::error::Error>> {
    let init = init_address(gate.init.address)?;
    let Gate { run_dir, state_dir, log_dir, certificate, key, .. } = gate;
    let orders = Orders { run_dir, state_dir, log_dir, init, certificate: certificate.zip(key) };
    let listener = door::listener()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(door::run(listener, orders))?;
    Ok(())
}
