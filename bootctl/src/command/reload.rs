//! `bootctl reload`

use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::sleep;

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::StatusView;
use crate::cli::{At, Wait};
use crate::http::HttpError;
use crate::table;

/// How long one that is replaced may be away.
const COMING_BACK: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
    let status = ask(&client, &reload.wait).await?;
    let warnings = status.warnings.iter().map(|warning| format!("\nwarning: {warning}"));
    let warnings: String = warnings.collect();
    Ok(format!("all is as the config says{warnings}\n\n{}", table::status(&status)))
}

/// Asks for it, and once more if who is asked is replaced on the way: the gate, if what is said of it has changed.
pub(super) async fn ask(client: &Client, wait: &Wait) -> Result<StatusView, ClientError> {
    let first = progress::change(client, "/reload", wait).await;
    let Err(ClientError::Cut | ClientError::RemoteUnreachable(HttpError::Broken(_))) = first else {
        return first;
    };
    let by = Instant::now() + COMING_BACK;
    loop {
        sleep(LOOK_AGAIN).await;
        match progress::change(client, "/reload", wait).await {
            Err(ClientError::Cut | ClientError::RemoteUnreachable(_)) if Instant::now() < by => {}
            other => return other,
        }
    }
}
