//! `bootctl exec APP -- COMMAND…`: a command that runs as an app does, and speaks here.
//!
//! It is a job of its own beside the app's instances, cleared when it has ended.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use init_wire::Channel;
use tokio::signal::unix::{SignalKind, signal};

use super::JobError;
use crate::cli::InitOf;
use crate::client::{Init, Output};
use crate::command::attach::{self, DetachKey};
use crate::errand::Errand;

/// Run a command as an app runs: its user, environment, folder, limits
///
/// With this terminal, if it is one; else with its input, output and errors apart. On another machine it is an app's
/// instance that it runs like, and no other job.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: that of the command; 128 and the signal's number if one has ended it.

Examples:
  bootctl exec shop.example -- bash
  bootctl exec shop.example -- node scripts/migrate.js < answers.txt
  bootctl exec shop.example.2 -- env")]
pub(crate) struct Exec {
    /// The app's name, or one of its instances'
    app: String,

    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,

    #[command(flatten)]
    init: InitOf,
}

pub(in crate::command) fn run(exec: &Exec) -> ExitCode {
    super::run(&exec.init, async |init| {
        let like = super::meant(&init, &exec.app).await?.swap_remove(0);
        let screen = io::stdin().is_terminal() && io::stdout().is_terminal();
        let id = Errand::name(&exec.app);
        let term = screen.then(|| std::env::var("TERM").unwrap_or_default());
        let errand = Errand { like: like.id.clone(), command: exec.command.clone(), term };
        init.errand(&id, &errand, &like).await?;
        let end =
            if screen { on_screen(&init, &id).await } else { Box::pin(apart(&init, &id)).await };
        let job = init.job(&id).await?;
        if !job.status.is_live() {
            init.forget(&id).await?;
        }
        end?;
        Ok(ExitCode::from(attach::code(job.last_exit.as_ref())))
    })
}

/// This terminal is the command's.
async fn on_screen(init: &Init, id: &str) -> Result<(), JobError> {
    attach::until_its_end(init, id, DetachKey::USUAL).await
}

/// Its streams are those of this command, one by one.
async fn apart(init: &Init, id: &str) -> Result<(), JobError> {
    let out = init.open_stream(id, Channel::Stdout, "follow&from=0").await?;
    let err = init.open_stream(id, Channel::Stderr, "follow&from=0").await?;
    let mut keys = attach::typed();
    let input = async {
        while let Some(bytes) = keys.recv().await {
            // What has ended reads nothing any more.
            if init.write_input(id, bytes).await.is_err() {
                break;
            }
        }
        drop(init.end_input(id).await);
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::try_join!(
            copy(init, id, Channel::Stdout, out, io::stdout()),
            copy(init, id, Channel::Stderr, err, io::stderr()),
        )
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let interrupted = async {
        while interrupt.recv().await.is_some() {
            drop(init.signal(id, "INT").await);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = both => done.map(drop),
        () = input => Ok(()),
        () = interrupted => Ok(()),
    }
}

async fn copy(
    init: &Init,
    id: &str,
    channel: Channel,
    mut output: Output,
    mut to: impl Write,
) -> Result<(), JobError> {
    loop {
        match output.next().await {
            Some(Ok(bytes)) => {
                // It goes on, as it would in a pipe that it does not write to.
                drop(to.write_all(&bytes).and_then(|()| to.flush()));
            }
            None => return Ok(()),
            Some(Err(_)) => {
                let from = format!("follow&from={}", output.at());
                output = init.open_stream(id, channel, &from).await?;
            }
        }
    }
}
