//! `bootctl start APP`

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::AppView;
use crate::cli::Change;

pub(super) async fn run(change: &Change) -> Result<String, ClientError> {
    let path = format!("/apps/{}/start", crate::http::segment(&change.app));
    let client = Client::at(&change.at.socket());
    let app: AppView = progress::change(&client, &path, &change.wait).await?;
    Ok(format!("{} runs: {}", app.app, app.places()))
}
