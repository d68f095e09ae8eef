//! `bootctl poweroff`, `reboot`, `halt`: init ends everything in good order, and then the machine.
//!
//! Refuses where init is no machine's first process: there it would end an administrator's whole session, or a
//! container, for a word that was meant for another terminal.

use std::io;
use std::process::ExitCode;

use clap::Args;

use super::job::{self, JobError};
use crate::cli::InitOf;
use crate::client::{InitError, Then};
use crate::speech::say;

/// What each of them takes.
#[derive(Debug, Args)]
pub(crate) struct Ending {
    #[command(flatten)]
    pub(crate) at: InitOf,
}

/// Why the machine goes on.
#[derive(Debug, thiserror::Error)]
enum EndingError {
    #[error(transparent)]
    Reach(#[from] Box<JobError>),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(
        "init is not the first process of a machine, so nothing was done; stop the container, \
         or the process of init"
    )]
    NoMachine,
    #[error("the event loop cannot be set up: {0}")]
    Runtime(io::Error),
}

pub(super) fn run(ending: &Ending, then: Then) -> ExitCode {
    match tell(ending, then) {
        Ok(()) => {
            let what = match then {
                Then::Poweroff => "powered off",
                Then::Reboot => "booted again",
                Then::Halt | Then::Exit => "halted",
            };
            super::print(&format!("all apps are being stopped, then the machine is {what}"))
        }
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Done when init has begun to end all.
fn tell(ending: &Ending, then: Then) -> Result<(), EndingError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(EndingError::Runtime)?.block_on(async {
        let init = job::reach(&ending.at.init, &ending.at.host).await.map_err(Box::new)?;
        if !init.is_machine().await? {
            return Err(EndingError::NoMachine);
        }
        Ok(init.end_machine(then).await?)
    })
}
