//! The commands, one verb a file.

mod attach;
mod check;
mod config;
mod init;
mod plan;
mod reload;
mod restart;
mod scale;
mod start;
mod status;
mod stop;

pub(crate) use attach::DetachKey;

use std::future::Future;
use std::process::ExitCode;

use crate::admin::client::ClientError;
use crate::boot;
use crate::cli::{Cli, Command};

/// The supervisor does not answer: distinct, for scripts that wait for it.
const UNREACHABLE: u8 = 3;

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Boot(boot) => boot::run(&boot),
        Command::Start(change) => ask(start::run(&change)),
        Command::Stop(change) => ask(stop::run(&change)),
        Command::Restart(restart) => ask(restart::run(&restart)),
        Command::Scale(scale) => ask(scale::run(&scale)),
        Command::Status(status) => ask(status::run(&status)),
        Command::Reload(reload) => ask(reload::run(&reload)),
        Command::Check(check) => check::run(&check),
        Command::Plan(plan) => ask(plan::run(&plan)),
        Command::Config(config) => config::run(&config),
        Command::Init(init) => init::run(&init),
        Command::Attach(attach) => attach::run(&attach),
    }
}

/// Runs a command that asks the supervisor.
fn ask(work: impl Future<Output = Result<String, ClientError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bootctl: cannot begin: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bootctl: {error}");
            match error {
                ClientError::Unreachable { .. } => ExitCode::from(UNREACHABLE),
                ClientError::Forbidden(_) | ClientError::Refused(_) | ClientError::Odd(_) => {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout(), "{text}"));
}
