//! `bootctl collect`: what the supervisor starts to have logs written.

use std::process::ExitCode;

use tracing::error;

use crate::boot::init_address;
use crate::cli::Collect;
use crate::client::Init;
use crate::collecting;
use crate::logs::collector;
use crate::token::Token;

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
    let init = Init::at(init_address(collect.init)?, Token::of_init()?.as_ref());
    let Collect { log_dir, all, app, console, .. } = collect;
    let orders = collecting::orders(log_dir, &all, &app, console)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(collector::run(init, orders))?;
    Ok(())
}
