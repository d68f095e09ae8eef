//! `bootctl adopt JOB PID`, `bootctl adopt APP`

use std::process::ExitCode;

use clap::Args;
use init_wire::{JobSpec, Policy};

use crate::admin::client::{Client, ClientError};
use crate::admin::wire::AppView;
use crate::cli::{At, InitAt, Wait};
use crate::command::{change_done, print, progress};
use crate::errand::Adoption;
use crate::http::segment;

/// Take a running process over as a job, or take back an app that `bootctl detach` has let go of
///
/// It is watched from then on, and may be stopped, signalled and started again like any other. How a process is
/// started is read from it: program, arguments, environment, folder, user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl adopt mailer 4711
  bootctl adopt mailer 4711 --restart always
  bootctl adopt shop.example")]
pub(crate) struct Adopt {
    /// The name that the job gets, or the app that was let go of
    job: String,

    /// The process; none to take back an app
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// When it is started again after it has ended [default: never; of an app its file says it]
    #[arg(long, value_name = "POLICY", value_parser = policy, requires = "pid")]
    restart: Option<Policy>,

    #[command(flatten)]
    wait: Wait,

    #[command(flatten)]
    init: InitAt,

    #[command(flatten)]
    at: At,
}

pub(in crate::command) fn run(adopt: &Adopt) -> ExitCode {
    match adopt.pid {
        Some(pid) => super::run_on(&adopt.init, &adopt.at.host_of(), async |init| {
            let adoption = Adoption { pid, restart: adopt.restart };
            let job = init.adopt(&adopt.job, adoption).await?;
            Ok(print(&format!("{} is a job now: {}", job.id, line(&job.spec))))
        }),
        None => change_done(&adopt.wait, take_back(adopt)),
    }
}

async fn take_back(adopt: &Adopt) -> Result<String, ClientError> {
    let client = Client::at(&adopt.at.socket());
    let path = format!("/apps/{}/adopt", segment(&adopt.job));
    let view: AppView = progress::change(&client, &path, &adopt.wait).await?;
    Ok(format!("{} runs: {}", view.app, view.places()))
}

fn line(spec: &JobSpec) -> String {
    let words = std::iter::once(&spec.exec).chain(&spec.args);
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn policy(text: &str) -> Result<Policy, &'static str> {
    match text {
        "never" => Ok(Policy::Never),
        "on-failure" => Ok(Policy::OnFailure),
        "always" => Ok(Policy::Always),
        _ => Err("it is never, on-failure or always"),
    }
}
