//! `bootctl detach JOB`

use std::process::ExitCode;

use clap::Args;

use super::JobError;
use crate::app::identify;
use crate::cli::InitAt;
use crate::command::print;

/// Let go of a job: its processes go on, also when init ends, and nobody starts them again
///
/// `bootctl adopt` takes one back.
#[derive(Debug, Args)]
pub(crate) struct Detach {
    /// The job's name
    job: String,

    #[command(flatten)]
    init: InitAt,
}

pub(in crate::command) fn run(detach: &Detach) -> ExitCode {
    super::run(&detach.init, async |init| {
        let name = detach.job.as_str();
        for job in super::meant(&init, name).await? {
            if let Some((id, _)) = identify(&job.id, &job.spec) {
                return Err(JobError::Instance { job: job.id, app: id.app.to_string() });
            }
        }
        let job = init.detach(name).await?;
        let pid = job.pid.map(|pid| format!(" as pid {pid}")).unwrap_or_default();
        let back = job.pid.map_or_else(|| "PID".into(), |pid| pid.to_string());
        print(&format!("{name} goes on{pid}; `bootctl adopt {name} {back}` takes it back"));
        Ok(ExitCode::SUCCESS)
    })
}
