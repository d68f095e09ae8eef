//! `bootctl status [APP]`

use clap::Args;

use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppView, StatusView};
use crate::cli::At;
use crate::http::segment;
use crate::table;

/// Show all apps, or one
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The app's name
    pub(crate) app: Option<String>,

    /// For programs
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) at: At,
}

pub(super) async fn run(status: &Status) -> Result<String, ClientError> {
    let client = Client::at(&status.at.socket());
    if let Some(app) = &status.app {
        let view: AppView = client.get(&format!("/apps/{}", segment(app))).await?;
        return Ok(if status.json { json(&view) } else { table::app(&view) });
    }
    let view: StatusView = client.get("/status").await?;
    Ok(if status.json { json(&view) } else { table::status(&view) })
}

fn json(view: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(view).unwrap_or_default()
}
