//! `bootctl plan`

use std::fmt::Write;

use clap::Args;

use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppPlan, KeyChangeView, PlanView};
use crate::cli::At;

/// Show what `reload` would change, and why, without doing it
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) at: At,
}

pub(super) async fn run(plan: &Plan) -> Result<String, ClientError> {
    let view: PlanView = Client::at(&plan.at.socket()).get("/plan").await?;
    if plan.json {
        return Ok(serde_json::to_string_pretty(&view).unwrap_or_default());
    }
    let warnings = view.warnings.iter().map(|warning| format!("\n\nwarning: {warning}"));
    Ok(words(&view) + &warnings.collect::<String>())
}

fn words(view: &PlanView) -> String {
    if view.nothing {
        return "nothing to do: all is as the config says".into();
    }
    let mut text = String::from("`bootctl reload` would do this:\n");
    for app in &view.apps {
        let _ = writeln!(text, "\n{} {}{}", app.app, verb(app), effects(app));
        keys(&mut text, &app.keys);
    }
    if !view.settings.is_empty() {
        text += "\nbootctl.toml changes\n";
        keys(&mut text, &view.settings);
    }
    if view.proxy_takes_over {
        text += "\na new generation of the proxy takes over\n";
    }
    if !view.proxy_is_told.is_empty() {
        let _ = writeln!(text, "\nthe proxy is told {}", view.proxy_is_told.join(", "));
    }
    text.truncate(text.trim_end().len());
    text
}

fn verb(app: &AppPlan) -> &'static str {
    match app.change.as_str() {
        "added" => "is added",
        "removed" => "is removed",
        "changed" => "changes",
        _ => "is as it was",
    }
}

fn effects(app: &AppPlan) -> String {
    let mut parts = Vec::new();
    if !app.replaces.is_empty() {
        parts.push(format!("replaces {}", app.replaces.join(", ")));
    }
    if app.starts > 0 {
        parts.push(format!("starts {}", app.starts));
    }
    if !app.retires.is_empty() {
        parts.push(format!("retires {}", app.retires.join(", ")));
    }
    if parts.is_empty() {
        ", and no process is touched".into()
    } else {
        ": ".to_owned() + &parts.join(", ")
    }
}

fn keys(text: &mut String, keys: &[KeyChangeView]) {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    for KeyChangeView { key, from, to } in keys {
        let _ = writeln!(text, "  {key}: {} → {}", shown(from), shown(to));
    }
}
