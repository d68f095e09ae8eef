//! `bootctl update APP`, `rebuild`, `upgrade`, `redeploy`, and `deploy` without `--from`

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::AppView;
use crate::cli::{Change, Work};
use crate::http::segment;
use crate::work::Task;

/// Runs commands of an app's file.
pub(super) async fn run(work: &Work, task: Task) -> Result<String, ClientError> {
    let change = &work.change;
    if work.cancel {
        return cancel(change).await;
    }
    let app = ask(change, task.word()).await?;
    let name = &app.app;
    Ok(match (task, app.staged) {
        (Task::Deploy, _) => serves(&app),
        (Task::Update | Task::Rebuild | Task::Upgrade, Some(release)) => {
            format!("release {release} is built; `bootctl redeploy {name}` switches to it")
        }
        (Task::Update | Task::Rebuild | Task::Upgrade, None) => format!(
            "the {} of {name} is done; `bootctl redeploy {name}` starts what has come of it",
            task.word()
        ),
    })
}

/// Rolls what was built.
pub(super) async fn redeploy(change: &Change) -> Result<String, ClientError> {
    Ok(serves(&ask(change, "redeploy").await?))
}

/// Stops a command.
async fn cancel(change: &Change) -> Result<String, ClientError> {
    let client = Client::at(&change.at.socket());
    let app: AppView = client.delete(&format!("/apps/{}/work", segment(&change.app))).await?;
    Ok(format!("what was under way for {} is stopped", app.app))
}

async fn ask(change: &Change, word: &str) -> Result<AppView, ClientError> {
    let client = Client::at(&change.at.socket());
    let path = format!("/apps/{}/{word}", segment(&change.app));
    progress::change(&client, &path, &change.wait).await
}

fn serves(app: &AppView) -> String {
    let from = app.release.map(|release| format!(" from release {release}")).unwrap_or_default();
    format!("{} runs{from}: {}", app.app, app.places())
}
