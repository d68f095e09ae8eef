//! `bootctl jobs`

use std::process::ExitCode;

use clap::Args;
use init_wire::{JobInfo, LastExit};

use crate::cli::InitOf;

const HEAD: [&str; 6] = ["JOB", "STATUS", "PID", "RESTARTS", "LAST EXIT", "WHY"];

/// Show all jobs of init: apps' instances, the proxy, and whatever else was started
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// For programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    init: InitOf,
}

pub(in crate::command) fn run(jobs: &Jobs) -> ExitCode {
    super::run(&jobs.init, async |init| {
        let all = init.jobs().await?;
        Ok(super::show(&all, jobs.json, HEAD, row))
    })
}

fn row(job: &JobInfo) -> [String; HEAD.len()] {
    let dash = || "-".to_owned();
    [
        job.id.clone(),
        word(job),
        job.pid.map_or_else(dash, |pid| pid.to_string()),
        job.respawn.to_string(),
        job.last_exit.as_ref().map_or_else(dash, exit),
        job.why.clone(),
    ]
}

/// Its status in a word.
pub(super) fn word(job: &JobInfo) -> String {
    serde_json::to_value(job.status)
        .ok()
        .and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn exit(exit: &LastExit) -> String {
    match exit {
        LastExit::Code(code) => code.to_string(),
        LastExit::Signal(name) => name.clone(),
    }
}
