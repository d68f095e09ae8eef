//! `bootctl restart proxyd`

use crate::admin::client::{Client, ClientError};
use crate::admin::wire::StatusView;
use crate::cli::Restart;

pub(super) async fn run(restart: &Restart) -> Result<String, ClientError> {
    let client = Client::at(&restart.at.socket());
    let status: StatusView = client.put("/proxy/restart", restart.wait.duration()).await?;
    let pid = status.proxy.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    Ok(format!("{} is restarted{pid}", restart.what))
}
