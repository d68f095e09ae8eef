//! `bootctl generate NAME`: tokens for administrators of other machines.

use std::path::PathBuf;

use clap::Args;

use crate::access::Grant;
use crate::admin::client::{Client, ClientError};
use crate::admin::tokens::{TokenView, TokensView};
use crate::cli::At;
use crate::durable::{self, OWN};
use crate::http::segment;
use crate::speech;
use crate::table::columns;

const HEAD: [&str; 3] = ["TOKEN", "GRANT", "MADE"];

/// Make a token for an administrator of another machine; it is shown once
///
/// It has 256 random bits, and only a hash of it is kept. Whoever has it may look, or with --grant control do all that
/// root may do with bootctl here. `[admin] listen` in bootctl.toml says where bootctl is reached.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl generate laptop --grant control --output laptop.token
  bootctl generate monitor
  bootctl generate --list
  bootctl generate --revoke laptop")]
pub(crate) struct Generate {
    /// What the token is to be called, in the audit log say
    #[arg(required_unless_present_any = ["list", "revoke"])]
    name: Option<String>,

    /// What it is good for: read or control
    #[arg(long, value_name = "GRANT", default_value = "read", conflicts_with_all = ["list", "revoke"])]
    grant: Grant,

    /// Write it into a new file, which nobody else may read, instead of showing it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "revoke"])]
    output: Option<PathBuf>,

    /// Show which there are, not what they are
    #[arg(long, conflicts_with_all = ["name", "revoke"])]
    list: bool,

    /// Revoke one, from its next request on
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    revoke: Option<String>,

    /// For programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: At,
}

pub(super) async fn run(generate: &Generate) -> Result<String, ClientError> {
    let client = Client::at(&generate.at.socket());
    if let Some(name) = &generate.revoke {
        let view: TokenView = client.delete(&path(name)).await?;
        let text = format!("the token {} is revoked", view.name);
        return Ok(if generate.json { json(&view) } else { text });
    }
    let Some(name) = &generate.name else {
        let view: TokensView = client.get("/tokens").await?;
        return Ok(if generate.json { json(&view) } else { table(&view) });
    };
    if let Some(file) = &generate.output
        && file.exists()
    {
        return Err(ClientError::File { path: file.clone(), why: "it is there already".into() });
    }
    let asked = format!("{}?grant={}", path(name), generate.grant.word());
    let view: TokenView = client.put(&asked).await?;
    match hand_over(generate, &view) {
        Ok(text) => Ok(text),
        Err(why) => Err(take_back(&client, name, why).await),
    }
}

/// Shows the token, or writes it into its file: nobody else has it.
fn hand_over(generate: &Generate, view: &TokenView) -> Result<String, String> {
    let token = view.token.clone().unwrap_or_default();
    let Some(file) = &generate.output else {
        let text = if generate.json { json(view) } else { token };
        speech::only_answer(&text).map_err(|error| error.to_string())?;
        return Ok(String::new());
    };
    durable::replace(file, format!("{token}\n").as_bytes(), OWN)
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    Ok(format!("the token {} ({}) is in {}", view.name, view.grant.word(), file.display()))
}

/// Revokes a token that nobody has.
async fn take_back(client: &Client, name: &str, why: String) -> ClientError {
    let name = name.to_owned();
    match client.delete::<TokenView>(&path(&name)).await {
        Ok(_) => ClientError::TokenLost { name, why },
        Err(source) => ClientError::TokenLeft { name, why, source: Box::new(source) },
    }
}

fn json(view: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(view).unwrap_or_default()
}

fn path(name: &str) -> String {
    format!("/tokens/{}", segment(name))
}

fn table(view: &TokensView) -> String {
    if view.tokens.is_empty() {
        return "there are no tokens: `bootctl generate NAME` makes one".into();
    }
    let row = |token: &TokenView| {
        let made = token.made.split('.').next().unwrap_or_default().replace('T', " ");
        vec![token.name.clone(), token.grant.word().to_owned(), made]
    };
    let head = HEAD.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(view.tokens.iter().map(row)).collect();
    columns(&rows)
}
