//! `bootctl rollback APP [--to N]`

use crate::admin::client::{Client, ClientError};
use crate::admin::wire::AppView;
use crate::cli::Rollback;
use crate::http::segment;

pub(super) async fn run(rollback: &Rollback) -> Result<String, ClientError> {
    let client = Client::at(&rollback.change.at.socket());
    let to = rollback.to.as_ref().map(|to| format!("&to={}", segment(to))).unwrap_or_default();
    let within = rollback.change.wait.duration();
    let path = format!("/apps/{}/rollback", segment(&rollback.change.app));
    let app: AppView = client.put_with(&path, &to, within).await?;
    let base = match app.release {
        Some(release) => format!("release {release}"),
        None => "what its file names".into(),
    };
    Ok(format!("{} is back to {base}: {}", app.app, app.places()))
}
