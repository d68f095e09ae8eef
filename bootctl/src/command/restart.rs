//! `bootctl restart APP`, `bootctl restart proxyd`

use clap::Args;

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppView, StatusView};
use crate::cli::{At, Wait};
use crate::generation;
use crate::http::segment;

/// Have new processes of an app take over from the old ones; done when all of them serve
///
/// One by one: a new instance is started beside the old ones, and when it serves, an old one finishes what
/// it has begun and ends. If the new one never gets ready, the old ones stay. The same with the proxy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl restart shop.example
  bootctl restart proxyd")]
pub(crate) struct Restart {
    /// The app's name, or proxyd
    #[arg(value_name = "APP")]
    pub(crate) what: String,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

pub(super) async fn run(restart: &Restart) -> Result<String, ClientError> {
    let client = Client::at(&restart.at.socket());
    if restart.what == generation::JOB {
        let status: StatusView = progress::change(&client, "/proxy/restart", &restart.wait).await?;
        let pid = status.proxy.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        return Ok(format!("{} is restarted{pid}", restart.what));
    }
    let path = format!("/apps/{}/restart", segment(&restart.what));
    let app: AppView = progress::change(&client, &path, &restart.wait).await?;
    let places: Vec<_> =
        app.instances.iter().map(|i| format!("{} on {}", i.job, i.place())).collect();
    Ok(format!("{} is restarted: {}", app.app, places.join(", ")))
}
