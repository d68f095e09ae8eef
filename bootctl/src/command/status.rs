//! `bootctl status [APP]`

use std::fmt::Write;

use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppView, StatusView};
use crate::cli::Status;
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

/// A name as part of a path, whatever it holds.
pub(super) fn segment(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
