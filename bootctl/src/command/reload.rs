//! `bootctl reload`

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::StatusView;
use crate::cli::Reload;
use crate::table;

pub(super) async fn run(reload: &Reload) -> Result<String, ClientError> {
    let client = Client::at(&reload.at.socket());
    let status: StatusView = progress::change(&client, "/reload", &reload.wait).await?;
    Ok(format!("all is as the config says\n\n{}", table::status(&status)))
}
