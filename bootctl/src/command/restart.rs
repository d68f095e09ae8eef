//! `bootctl restart APP`, `bootctl restart proxyd`

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppView, StatusView};
use crate::cli::Restart;
use crate::generation;
use crate::http::segment;

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
