//! `bootctl scale APP N`

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppState, AppView};
use crate::cli::Scale;
use crate::http::segment;

pub(super) async fn run(scale: &Scale) -> Result<String, ClientError> {
    let (app, count) = (segment(&scale.app), segment(&scale.instances));
    let path = format!("/apps/{app}/instances/{count}");
    let client = Client::at(&scale.at.socket());
    let app: AppView = progress::change(&client, &path, &scale.wait).await?;
    let name = &app.app;
    Ok(match app.state {
        AppState::Stopped => format!(
            "{name} is stopped; {} instances are started with `bootctl start {name}`",
            scale.instances
        ),
        AppState::Parked => format!("{name} is parked: it keeps its hosts and runs nothing"),
        AppState::Running
        | AppState::Changing
        | AppState::Waiting
        | AppState::Failed
        | AppState::Held => {
            let jobs: Vec<_> =
                app.instances.iter().map(|i| format!("{} on {}", i.job, i.place())).collect();
            format!("{name} runs: {}", jobs.join(", "))
        }
    })
}
