//! `bootctl telinit N`, also under the name `telinit`

use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::sleep;

use super::progress;
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::StatusView;
use crate::cli::{At, Wait};

/// How long after its last answer a supervisor that halts is waited for.
const GOING: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Change the runlevel; done when it is reached
///
/// 0: all apps are stopped, and bootctl with what its init is there for. 1: single user, the public port is free for
/// others. 2, 3, 4: the apps that name the level run, which without a word all do. A level that cannot be reached changes
/// nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl telinit 1
  telinit 3")]
pub(crate) struct Telinit {
    /// The runlevel: 0 to 4
    #[arg(allow_hyphen_values = true)]
    level: String,

    #[command(flatten)]
    wait: Wait,

    #[command(flatten)]
    at: At,
}

impl Telinit {
    pub(super) fn wait(&self) -> &Wait {
        &self.wait
    }
}

pub(super) async fn run(telinit: &Telinit) -> Result<String, ClientError> {
    let client = Client::at(&telinit.at.socket());
    let level = &telinit.level;
    let path = format!("/runlevel/{}", crate::http::segment(level));
    let changed = progress::change::<StatusView>(&client, &path, &telinit.wait).await;
    match changed {
        // Whoever halts may be gone before he has said so.
        Ok(_) | Err(ClientError::Cut) if level == "0" => {
            let by = Instant::now() + GOING;
            while client.get::<StatusView>("/status").await.is_ok() && Instant::now() < by {
                sleep(LOOK_AGAIN).await;
            }
            Ok("halted".into())
        }
        Ok(status) => {
            let trouble = status.runlevel.and_then(|view| view.trouble);
            let trouble = trouble.map(|why| format!("; {why}")).unwrap_or_default();
            Ok(format!("runlevel {level}{trouble}"))
        }
        Err(error) => Err(error),
    }
}
