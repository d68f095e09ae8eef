//! `bootctl adopt JOB PID`

use std::process::ExitCode;

use clap::Args;
use init_wire::{JobSpec, Policy, Restart, Stdio};

use crate::cli::InitAt;
use crate::command::print;

/// Take a running process over as a job, without stopping it
///
/// It is watched from then on, and may be stopped, signalled and started again like any other job. How it is started
/// is read from the process: program, arguments, environment, folder, user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl adopt mailer 4711
  bootctl adopt mailer 4711 --restart always")]
pub(crate) struct Adopt {
    /// The name that the job gets
    job: String,

    /// The process
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,

    /// When it is started again after it has ended
    #[arg(long, value_name = "POLICY", default_value = "never", value_parser = policy)]
    restart: Policy,

    #[command(flatten)]
    init: InitAt,
}

pub(in crate::command) fn run(adopt: &Adopt) -> ExitCode {
    super::run(&adopt.init, async |init| {
        let mut spec = JobSpec::new("");
        spec.adopt = Some(adopt.pid);
        spec.restart = Restart { policy: adopt.restart, ..Restart::default() };
        // From its next start on; until then it writes where it always has.
        (spec.stdout, spec.stderr) = (Stdio::Log, Stdio::Log);
        let job = init.put(&adopt.job, &spec).await?;
        print(&format!("{} is a job now: {}", job.id, line(&job.spec)));
        Ok(ExitCode::SUCCESS)
    })
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
