//! The commands, one verb a file.

mod attach;
mod check;
mod collect;
mod config;
mod deploy;
mod log;
mod progress;
mod releases;
mod reload;
mod restart;
mod rollback;
mod scale;
mod start;
mod status;
mod stop;
mod task;

pub(crate) use attach::DetachKey;

use std::future::Future;
use std::process::ExitCode;

use crate::admin::client::ClientError;
use crate::admin::wire::Refusal;
use crate::boot;
use crate::cli::{Cli, Command, Wait};
use crate::work::Task;

/// The supervisor does not answer: distinct, for scripts that wait for it.
const UNREACHABLE: u8 = 3;

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Boot(boot) => boot::run(&boot),
        Command::Start(change) => change_done(&change.wait, start::run(&change)),
        Command::Stop(change) => change_done(&change.wait, stop::run(&change)),
        Command::Restart(restart) => change_done(&restart.wait, restart::run(&restart)),
        Command::Deploy(deploy) => ask(deploy::run(&deploy)),
        Command::Rollback(rollback) => ask(rollback::run(&rollback)),
        Command::Releases(releases) => ask(releases::run(&releases)),
        Command::Update(work) => ask(task::run(&work, Task::Update)),
        Command::Rebuild(work) => ask(task::run(&work, Task::Rebuild)),
        Command::Upgrade(work) => ask(task::run(&work, Task::Upgrade)),
        Command::Redeploy(change) => ask(task::redeploy(&change)),
        Command::Scale(scale) => change_done(&scale.wait, scale::run(&scale)),
        Command::Status(status) => ask(status::run(&status)),
        Command::Reload(reload) => change_done(&reload.wait, reload::run(&reload)),
        Command::Check(check) => check::run(&check),
        Command::Config(config) => config::run(&config),
        Command::Attach(attach) => attach::run(&attach),
        Command::Log(log) => log::run(&log),
        Command::Collect(collect) => collect::run(collect),
    }
}

/// Runs a command whose end the supervisor's own lines tell, with `--json`.
fn change_done(wait: &Wait, work: impl Future<Output = Result<String, ClientError>>) -> ExitCode {
    ask(async { work.await.map(|text| if wait.json { String::new() } else { text }) })
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
            if !text.is_empty() {
                print(&text);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bootctl: {error}");
            match error {
                ClientError::Unreachable { .. } => ExitCode::from(UNREACHABLE),
                // A command of the app's that has failed.
                ClientError::Refused(Refusal { exit: Some(code), .. }) => ExitCode::from(code),
                ClientError::Forbidden(_)
                | ClientError::Refused(_)
                | ClientError::Source(_)
                | ClientError::Cut
                | ClientError::Odd(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout(), "{text}"));
}
