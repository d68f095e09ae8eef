//! `bootctl detach JOB|APP`

use std::process::ExitCode;

use clap::Args;

use super::{JobError, app_of, reach};
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::AppView;
use crate::cli::{At, InitAt, Wait};
use crate::command::{change_done, progress};
use crate::http::segment;

/// Let go of a job, or of an app's instances: their processes go on, also when init ends, and nobody starts them again
///
/// An app counts as stopped then, and the proxy sends its processes nobody. `bootctl adopt` takes back what was let go
/// of.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl detach shop.example
  bootctl detach mailer")]
pub(crate) struct Detach {
    /// The job's name, or an app's
    job: String,

    #[command(flatten)]
    wait: Wait,

    #[command(flatten)]
    init: InitAt,

    #[command(flatten)]
    at: At,
}

pub(in crate::command) fn run(detach: &Detach) -> ExitCode {
    change_done(&detach.wait, let_go(detach))
}

async fn let_go(detach: &Detach) -> Result<String, ClientError> {
    let client = Client::at(&detach.at.socket());
    let app = format!("/apps/{}", segment(&detach.job));
    match client.get::<AppView>(&app).await {
        Ok(_) => {
            let path = format!("{app}/detach");
            let view: AppView = progress::change(&client, &path, &detach.wait).await?;
            let notice = view.notice.unwrap_or_default();
            Ok(format!("{} is nobody's app now: {notice}", view.app))
        }
        // Then it is a job of init's, which needs no supervisor.
        Err(ClientError::Unreachable { .. }) => Ok(of_init(detach).await?),
        Err(ClientError::Refused(refusal)) if refusal.error == "unknown_app" => {
            Ok(of_init(detach).await?)
        }
        Err(error) => Err(error),
    }
}

/// Lets go of a job of init's alone.
async fn of_init(detach: &Detach) -> Result<String, Box<JobError>> {
    Ok(job_of_init(detach).await?)
}

async fn job_of_init(detach: &Detach) -> Result<String, JobError> {
    let name = detach.job.as_str();
    let init = reach(&detach.init, &detach.at.host_of()).await?;
    for job in super::meant(&init, name).await? {
        if let Some(app) = app_of(&job) {
            return Err(JobError::Instance { job: job.id, app });
        }
    }
    let job = init.detach(name).await?;
    let pid = job.pid.map(|pid| format!(" as pid {pid}")).unwrap_or_default();
    let back = job.pid.map_or_else(|| "PID".into(), |pid| pid.to_string());
    Ok(format!("{name} goes on{pid}; `bootctl adopt {name} {back}` takes it back"))
}
