//! One bootctl in the place of another that runs: `bootctl boot --take-over`, where `take_over = true` in the config
//! of the one that runs lets it.
//!
//! The one that runs answers and ends at once, as if it were killed: nothing that it supervises is touched, and the
//! next one adopts it. Who asks waits until its socket is free.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::sleep;
use tracing::info;

use crate::admin::client::{Client, ClientError};
use crate::admin::socket;
use crate::event::Reply;
use crate::remote::host::Way;
use crate::requests::refused;
use crate::supervise::Supervisor;

/// How long the other one may take to be gone.
const GOING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why there is no taking over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeOverError {
    #[error("the bootctl that runs does not give way: {0}")]
    Refused(ClientError),
    #[error("the bootctl at {} has agreed, and has not ended within {GOING:?}", .0.display())]
    Stays(PathBuf),
}

/// Asks whoever listens in `run_dir` to give way; fine if nobody does.
pub(crate) async fn ask(run_dir: &Path) -> Result<(), TakeOverError> {
    let path = run_dir.join(socket::NAME);
    let is_there = async || UnixStream::connect(&path).await.is_ok();
    if !is_there().await {
        return Ok(());
    }
    info!("asking the bootctl that runs to give way");
    match Client::at(&Way::Socket(path.clone())).put::<Value>("/take-over").await {
        // It may be gone before its answer is out.
        Ok(_) | Err(ClientError::Unreachable { .. } | ClientError::Cut | ClientError::Odd(_)) => {}
        Err(ClientError::Versions { error, .. }) if matches!(*error, ClientError::Odd(_)) => {}
        Err(error) => return Err(TakeOverError::Refused(error)),
    }
    let by = Instant::now() + GOING;
    while is_there().await {
        if Instant::now() > by {
            return Err(TakeOverError::Stays(path));
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

impl Supervisor {
    /// Gives way to another one, if the config lets it.
    pub(crate) fn give_way(&mut self) -> Box<Reply> {
        if !self.settings.take_over {
            let message = "`take_over = true` in bootctl.toml, and `bootctl reload`, would let another \
                           bootctl take over; nothing was changed";
            return refused(StatusCode::FORBIDDEN, "no_take_over", message.into());
        }
        info!("giving way to another bootctl; what runs goes on");
        self.is_giving_way = true;
        Box::new(Reply::Status(Box::new(self.status())))
    }
}
