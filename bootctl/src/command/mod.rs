//! The commands, one verb a file.

mod attach;
mod check;
mod collect;
mod completions;
mod config;
mod context;
mod custom;
mod deploy;
mod ending;
mod gate;
mod generate;
mod init;
mod install;
mod job;
pub(crate) mod log;
mod plan;
mod progress;
mod releases;
mod reload;
mod renew;
mod restart;
mod rollback;
mod scale;
mod start;
mod status;
mod stop;
mod task;
mod telinit;
mod top;

use std::future::Future;
use std::process::ExitCode;

use clap::Subcommand;
use init_wire::Channel;

use self::attach::Attach;
use self::check::Check;
use self::collect::Collect;
use self::completions::Completions;
use self::config::Config;
use self::context::Context;
use self::custom::Custom;
use self::deploy::Deploy;
use self::ending::Ending;
use self::gate::Gate;
use self::generate::Generate;
use self::init::Init;
use self::install::{Install, Uninstall};
pub(crate) use self::job::JobError;
use self::job::adopt::{self, Adopt};
use self::job::detach::{self, Detach};
use self::job::events::{self, Events};
use self::job::exec::{self, Exec};
use self::job::kill::{self, Kill};
use self::job::list::{self, Jobs};
use self::job::output::{self, Stream};
use self::job::stats::{self, Stats};
use self::log::Log;
use self::plan::Plan;
use self::releases::Releases;
use self::reload::Reload;
use self::renew::Renew;
use self::restart::Restart;
use self::rollback::Rollback;
use self::scale::Scale;
use self::status::Status;
use self::telinit::Telinit;
use self::top::Top;
use crate::admin::client::ClientError;
use crate::admin::wire::Refusal;
use crate::boot::{self, Boot};
use crate::cli::{Change, Cli, Wait, Work};
use crate::client::Then;
use crate::gate::NO_SUPERVISOR;
use crate::speech::{self, say};
use crate::work::Task;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Boot(Boot),
    /// Start a stopped app; done when all its instances answer
    Start(Change),
    /// Stop an app, also across reboots; done when all its instances are gone
    Stop(Change),
    Restart(Restart),
    Scale(Scale),
    Deploy(Deploy),
    Rollback(Rollback),
    Releases(Releases),
    /// Run the `update` of an app's [deploy], such as git pull; nothing is restarted
    Update(Work),
    /// Run the `rebuild` of an app's [deploy]; nothing is restarted
    Rebuild(Work),
    /// Run `update` and then `rebuild`, if the first has gone well; nothing is restarted
    Upgrade(Work),
    /// Switch to what was built last; without releases, restart what is there
    Redeploy(Change),
    Status(Status),
    Top(Top),
    Reload(Reload),
    Check(Check),
    Plan(Plan),
    Config(Config),
    Init(Init),
    Jobs(Jobs),
    Stats(Stats),
    Events(Events),
    Kill(Kill),
    Exec(Exec),
    Attach(Attach),
    /// Show what init keeps of what a job has written
    Stdout(Stream),
    /// Show what init keeps of the errors that a job has written
    Stderr(Stream),
    Detach(Detach),
    Adopt(Adopt),
    Log(Log),
    Install(Install),
    Uninstall(Uninstall),
    Renew(Renew),
    Completions(Completions),
    /// Stop all apps in good order, then switch the machine off
    Poweroff(Ending),
    /// Stop all apps in good order, then boot the machine again
    Reboot(Ending),
    /// Stop all apps in good order, then have the machine stand still
    Halt(Ending),
    Telinit(Telinit),
    Custom(Custom),
    Generate(Generate),
    Context(Context),
    #[command(hide = true)]
    Collect(Collect),
    #[command(hide = true)]
    Gate(Gate),
}

/// The supervisor does not answer: distinct, for scripts that wait for it.
const UNREACHABLE: u8 = 3;
/// As a shell tells it of what SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Boot(boot) => boot::run(&boot),
        Command::Start(change) => change_done(&change.wait, start::run(&change)),
        Command::Stop(change) => change_done(&change.wait, stop::run(&change)),
        Command::Restart(restart) => change_done(&restart.wait, restart::run(&restart)),
        Command::Deploy(deploy) => change_done(&deploy.work.change.wait, deploy::run(&deploy)),
        Command::Rollback(rollback) => change_done(&rollback.change.wait, rollback::run(&rollback)),
        Command::Releases(releases) => ask(releases::run(&releases)),
        Command::Update(work) => work_done(&work, Task::Update),
        Command::Rebuild(work) => work_done(&work, Task::Rebuild),
        Command::Upgrade(work) => work_done(&work, Task::Upgrade),
        Command::Redeploy(change) => change_done(&change.wait, task::redeploy(&change)),
        Command::Scale(scale) => change_done(&scale.wait, scale::run(&scale)),
        Command::Status(status) => ask(status::run(&status)),
        Command::Top(top) => top::run(&top),
        Command::Reload(reload) => change_done(&reload.wait, reload::run(&reload)),
        Command::Check(check) => check::run(&check),
        Command::Plan(plan) => ask(plan::run(&plan)),
        Command::Config(config) => config::run(&config),
        Command::Init(init) => init::run(&init),
        Command::Jobs(jobs) => list::run(&jobs),
        Command::Stats(stats) => stats::run(&stats),
        Command::Events(events) => events::run(&events),
        Command::Kill(kill) => kill::run(&kill),
        Command::Exec(exec) => exec::run(&exec),
        Command::Stdout(stream) => output::run(&stream, Channel::Stdout),
        Command::Stderr(stream) => output::run(&stream, Channel::Stderr),
        Command::Detach(detach) => detach::run(&detach),
        Command::Adopt(adopt) => adopt::run(&adopt),
        Command::Attach(attach) => attach::run(&attach),
        Command::Log(log) => log::run(&log),
        Command::Install(install) => install::run(&install),
        Command::Uninstall(uninstall) => install::undo(&uninstall),
        Command::Renew(renew) => renew::run(&renew),
        Command::Completions(completions) => completions::run(&completions),
        Command::Poweroff(end) => ending::run(&end, Then::Poweroff),
        Command::Reboot(end) => ending::run(&end, Then::Reboot),
        Command::Halt(end) => ending::run(&end, Then::Halt),
        Command::Telinit(telinit) => change_done(telinit.wait(), telinit::run(&telinit)),
        Command::Custom(custom) => ask(custom::run(&custom)),
        Command::Generate(generate) => ask(generate::run(&generate)),
        Command::Context(context) => ask(context::run(&context)),
        Command::Collect(collect) => collect::run(collect),
        Command::Gate(gate) => gate::run(gate),
    }
}

/// Runs a command whose end the supervisor's own lines tell, with `--json`.
fn change_done(wait: &Wait, work: impl Future<Output = Result<String, ClientError>>) -> ExitCode {
    ask(async { work.await.map(|text| if wait.json { String::new() } else { text }) })
}

fn work_done(work: &Work, task: Task) -> ExitCode {
    change_done(&work.change.wait, task::run(work, task))
}

/// Runs a command that asks the supervisor.
fn ask(work: impl Future<Output = Result<String, ClientError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("cannot begin: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work) {
        Ok(text) => {
            if text.is_empty() {
                return ExitCode::SUCCESS;
            }
            print(&text)
        }
        Err(error) => {
            say(&error);
            match error {
                ClientError::Job(error) => error.code(),
                ClientError::Unreachable { .. } | ClientError::RemoteUnreachable(_) => {
                    ExitCode::from(UNREACHABLE)
                }
                ClientError::Refused(refusal) if refusal.error == NO_SUPERVISOR => {
                    ExitCode::from(UNREACHABLE)
                }
                // A command of the app's that has failed.
                ClientError::Refused(Refusal { exit: Some(code), .. }) => ExitCode::from(code),
                ClientError::Left(_) => ExitCode::from(INTERRUPTED),
                ClientError::Forbidden { .. }
                | ClientError::Refused(_)
                | ClientError::Remote(_)
                | ClientError::File { .. }
                | ClientError::TokenLost { .. }
                | ClientError::TokenLeft { .. }
                | ClientError::Source(_)
                | ClientError::Cut
                | ClientError::TooLong
                | ClientError::Unsaid(_)
                | ClientError::Odd(_)
                | ClientError::Versions { .. } => ExitCode::FAILURE,
            }
        }
    }
}

/// How a command ends that asks nobody.
fn tell(result: Result<String, String>) -> ExitCode {
    match result {
        Ok(text) => print(&text),
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Answers; how the command ends therefore.
fn print(text: &str) -> ExitCode {
    match speech::answer(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(error);
            ExitCode::FAILURE
        }
    }
}

/// How a command ends that answers once more when it has gone on.
fn both(first: ExitCode, then: ExitCode) -> ExitCode {
    if then == ExitCode::SUCCESS { first } else { then }
}
