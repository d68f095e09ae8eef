//! `bootctl status [APP]`

use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppView, StatusView};
use crate::cli::Status;
use crate::http::segment;
use crate::table;

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
