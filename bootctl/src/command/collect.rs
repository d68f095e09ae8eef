//! `bootctl collect`: what the supervisor starts to have logs written.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing::error;

use crate::boot::init_address;
use crate::cli::InitAt;
use crate::client::Init;
use crate::collecting;
use crate::logs::collector;
use crate::token::Token;

/// Write what all jobs write to files
///
/// Started by the supervisor, as a job of init.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// The folder of the logs
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: PathBuf,

    #[command(flatten)]
    pub(crate) init: InitAt,

    /// How logs are kept
    #[arg(long, value_name = "JSON")]
    pub(crate) all: String,

    /// How the log of an app is kept
    #[arg(long, value_name = "APP=JSON")]
    pub(crate) app: Vec<String>,

    /// Whether lines are repeated on standard output [default: in a container]
    #[arg(long, value_name = "BOOL")]
    pub(crate) console: Option<bool>,
}

pub(super) fn run(collect: Collect) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    match try_to(collect) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn try_to(collect: Collect) -> Result<(), Box<dyn std::error::Error>> {
    let init = Init::at(init_address(collect.init.address)?, Token::of_init()?.as_ref());
    let Collect { log_dir, all, app, console, .. } = collect;
    let orders = collecting::orders(log_dir, &all, &app, console)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(collector::run(init, orders))?;
    Ok(())
}
