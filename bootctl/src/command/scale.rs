//! `bootctl scale APP N`

use clap::Args;

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::{AppState, AppView};
use crate::cli::{At, Wait};
use crate::http::segment;

/// Change how many instances an app has; done when there are so many
///
/// The number is written into the app's file, in which nothing else changes. 0 parks the app: it keeps
/// its hosts and runs nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl scale shop.example 4
  bootctl scale shop.example 0")]
pub(crate) struct Scale {
    /// The app's name
    pub(crate) app: String,

    /// How many: 0 to 1000
    #[arg(allow_hyphen_values = true)]
    pub(crate) instances: String,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

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
