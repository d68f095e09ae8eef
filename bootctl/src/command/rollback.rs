//! `bootctl rollback APP [--to N]`

use clap::Args;

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::AppView;
use crate::cli::Change;
use crate::http::segment;

/// Go back to the release that an app ran from before; done when all of it serves
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl rollback shop.example
  bootctl rollback shop.example --to 7")]
pub(crate) struct Rollback {
    /// The release to go to, whichever it is
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<String>,

    #[command(flatten)]
    pub(crate) change: Change,
}

pub(super) async fn run(rollback: &Rollback) -> Result<String, ClientError> {
    let client = Client::at(&rollback.change.at.socket());
    let to = rollback.to.as_ref().map(|to| format!("?to={}", segment(to))).unwrap_or_default();
    let path = format!("/apps/{}/rollback{to}", segment(&rollback.change.app));
    let app: AppView = progress::change(&client, &path, &rollback.change.wait).await?;
    let base = match app.release {
        Some(release) => format!("release {release}"),
        None => "what its file names".into(),
    };
    Ok(format!("{} is back to {base}: {}", app.app, app.places()))
}
