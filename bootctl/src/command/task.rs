//! `bootctl update APP`, `rebuild`, `upgrade`, `redeploy`, and `deploy` without `--from`

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::AppView;
use crate::cli::{Change, Work};
use crate::http::segment;
use crate::speech;
use crate::work::Task;

/// Runs commands of an app's file.
pub(super) async fn run(work: &Work, task: Task) -> Result<String, ClientError> {
    let change = &work.change;
    if work.cancel {
        return cancel(change).await;
    }
    let (verb, name) = (task.word(), &change.app);
    let left = format!(
        "the {verb} of {name} goes on without this command: `bootctl status {name}` shows how far it is, \
         `bootctl {verb} {name} --cancel` stops it"
    );
    let client = Client::at(&change.at.socket());
    let path = format!("/apps/{}/{verb}", segment(name));
    let app: AppView = progress::change_or(&client, &path, &change.wait, &left).await?;
    let name = &app.app;
    Ok(match (task, app.staged) {
        (Task::Deploy, _) => serves(&app),
        (Task::Update | Task::Rebuild | Task::Upgrade, Some(release)) => {
            format!("release {release} is built; `bootctl redeploy {name}` switches to it")
        }
        (Task::Update | Task::Rebuild | Task::Upgrade, None) => {
            format!(
                "the {verb} of {name} is done; `bootctl redeploy {name}` starts what has come of it"
            )
        }
    })
}

/// Rolls what was built.
pub(super) async fn redeploy(change: &Change) -> Result<String, ClientError> {
    let client = Client::at(&change.at.socket());
    let path = format!("/apps/{}/redeploy", segment(&change.app));
    Ok(serves(&progress::change(&client, &path, &change.wait).await?))
}

/// Stops a command.
async fn cancel(change: &Change) -> Result<String, ClientError> {
    let client = Client::at(&change.at.socket());
    let app: AppView = client.delete(&format!("/apps/{}/work", segment(&change.app))).await?;
    if change.wait.json {
        speech::answer(&serde_json::to_string(&app).unwrap_or_default())?;
    }
    Ok(format!("what was under way for {} is stopped", app.app))
}

fn serves(app: &AppView) -> String {
    let from = app.release.map(|release| format!(" from release {release}")).unwrap_or_default();
    format!("{} runs{from}: {}", app.app, app.places())
}
