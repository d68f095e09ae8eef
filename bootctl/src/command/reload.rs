//! `bootctl reload`

use clap::Args;

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::StatusView;
use crate::cli::{At, Wait};
use crate::table;

/// Take over the config as it is now; done when all is as it says
///
/// What has not changed is not touched; what has is replaced instance by instance. With a problem
/// anywhere, nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

pub(super) async fn run(reload: &Reload) -> Result<String, ClientError> {
    let client = Client::at(&reload.at.socket());
    let status: StatusView = progress::change(&client, "/reload", &reload.wait).await?;
    let warnings = status.warnings.iter().map(|warning| format!("\nwarning: {warning}"));
    let warnings: String = warnings.collect();
    Ok(format!("all is as the config says{warnings}\n\n{}", table::status(&status)))
}
