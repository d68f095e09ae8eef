//! `bootctl kill JOB|APP`

use std::process::ExitCode;

use clap::Args;

use crate::cli::InitOf;
use crate::command::print;

/// Send a signal to a job, or to all instances of an app
///
/// What becomes of it then is up to its restart policy: an app's instance that ends is started again. `kill boot`
/// ends the supervisor alone; apps and proxy go on, and init starts it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl kill shop.example.1
  bootctl kill shop.example --signal HUP
  bootctl kill boot --signal KILL")]
pub(crate) struct Kill {
    /// The job's name, or an app's
    job: String,

    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM")]
    signal: String,

    #[command(flatten)]
    init: InitOf,
}

pub(in crate::command) fn run(kill: &Kill) -> ExitCode {
    super::run(&kill.init, async |init| {
        let mut sent = Vec::new();
        for job in super::meant(&init, &kill.job).await? {
            // Of several, those that have no process just now are none to be told.
            let Some(pid) = job.pid else { continue };
            init.signal(&job.id, &kill.signal).await?;
            sent.push(format!("{} (pid {pid})", job.id));
        }
        if sent.is_empty() {
            // init says best why not.
            init.signal(&kill.job, &kill.signal).await?;
        }
        Ok(print(&format!("{} sent to {}", kill.signal, sent.join(", "))))
    })
}
