//! `bootctl renew`: init, the supervisor and the proxy become the programs that are on the disk now.
//!
//! init goes first, in place. The supervisor is killed then, which costs nothing: init starts it again, it adopts
//! what runs, and sees by itself whether the proxy's program is another one. No app is touched. What would keep
//! the next supervisor from starting, a config that is wrong, is looked for before. From afar, the gate may be
//! replaced on the way as well: whoever is cut off by that asks again.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use init_wire::{JobInfo, Policy};
use tokio::time::sleep;

use super::{job, progress};
use crate::admin::client::{Client, ClientError};
use crate::admin::wire::StatusView;
use crate::cli::{At, InitAt, Wait};
use crate::client::{Init, InitError};
use crate::speech::say;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Have init, bootctl and the proxy become the programs that are on the disk now
///
/// After an upgrade: process 1 stays process 1, no app is touched, no request is lost. If the new init cannot go on
/// where the old one is, or the config is wrong, nothing happens.
#[derive(Debug, Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    init: InitAt,

    #[command(flatten)]
    wait: Wait,

    #[command(flatten)]
    at: At,
}

/// Why not all, or nothing, is new.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("{0}; nothing was renewed")]
    Reach(job::JobError),
    #[error("the event loop cannot be set up: {0}")]
    Runtime(io::Error),
    #[error("{0}; nothing was renewed")]
    Config(ClientError),
    #[error("{0}; nothing was renewed")]
    Init(#[from] InitError),
    #[error(
        "init is renewed; the supervisor (pid {0}) is no job of it, so it goes on as it was: start it again by hand"
    )]
    Stranger(u32),
    #[error(
        "init is renewed; the supervisor goes on as it was, because init would not start the job {0} again \
         (`--boot-exit respawn`)"
    )]
    Ends(String),
    #[error("init is renewed; the supervisor goes on as it was: {0}")]
    Kept(InitError),
    #[error("init is renewed; the next supervisor has not answered within {} s", .0.as_secs())]
    Late(Duration),
    #[error("init and the supervisor are renewed; {0}")]
    Rest(ClientError),
}

pub(super) fn run(renew: &Renew) -> ExitCode {
    match try_to(renew) {
        Ok(_) if renew.wait.json => ExitCode::SUCCESS,
        Ok(text) => super::print(&text),
        Err(error) => {
            say(&error);
            match error {
                RenewError::Init(InitError::Unreachable(..)) => ExitCode::from(super::UNREACHABLE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn try_to(renew: &Renew) -> Result<String, RenewError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(RenewError::Runtime)?.block_on(async {
        let init = job::reach(&renew.init, &renew.at.host_of()).await.map_err(RenewError::Reach)?;
        all(renew, &init).await
    })
}

async fn all(renew: &Renew, init: &Init) -> Result<String, RenewError> {
    let jobs = init.jobs().await?;
    let way = renew.at.socket_beside(&renew.init);
    if !way.is_remote() && !way.exists() {
        let about = init.renew().await?;
        return Ok(format!("init is {} now; there is no supervisor", about.version));
    }
    let client = Client::at(&way);
    let before: StatusView = ready(&client, &renew.wait).await.map_err(RenewError::Config)?;
    let about = init.renew().await?;
    let now = next_supervisor(init, &client, before.supervisor.pid, jobs, &renew.wait).await?;
    ready_again(&client, &renew.wait).await.map_err(RenewError::Rest)?;
    Ok(format!(
        "init is {} and bootctl {} now, and so is the proxy; no app was touched",
        about.version, now.supervisor.version
    ))
}

/// All is as the config says; an error if it says nothing that can be done.
async fn ready(client: &Client, wait: &Wait) -> Result<StatusView, ClientError> {
    progress::change(client, "/reload", wait).await
}

/// The same of one that has just begun, and may have the gate replaced.
async fn ready_again(client: &Client, wait: &Wait) -> Result<StatusView, ClientError> {
    let by = Instant::now() + wait.duration();
    loop {
        match ready(client, wait).await {
            Err(ClientError::Cut | ClientError::RemoteUnreachable(_)) if Instant::now() < by => {
                sleep(LOOK_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// Has init start the supervisor again, and waits until it answers.
async fn next_supervisor(
    init: &Init,
    client: &Client,
    before: u32,
    jobs: Vec<JobInfo>,
    wait: &Wait,
) -> Result<StatusView, RenewError> {
    let mine = jobs.into_iter().find(|job| job.pid == Some(before));
    let mine = mine.ok_or(RenewError::Stranger(before))?;
    if mine.spec.restart.policy == Policy::Never {
        return Err(RenewError::Ends(mine.id));
    }
    init.signal(&mine.id, "KILL").await.map_err(RenewError::Kept)?;
    let by = Instant::now() + wait.duration();
    loop {
        // While nobody listens there is nobody to ask.
        match client.get::<StatusView>("/status").await {
            Ok(status) if status.supervisor.pid != before => return Ok(status),
            Ok(_) | Err(_) if Instant::now() > by => return Err(RenewError::Late(wait.duration())),
            Ok(_) | Err(_) => sleep(LOOK_AGAIN).await,
        }
    }
}
