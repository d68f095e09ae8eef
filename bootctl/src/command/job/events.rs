//! `bootctl events`: every change of a job, as it happens.

use std::process::ExitCode;

use clap::Args;
use init_wire::JobEvent;

use super::list::word;
use crate::cli::InitOf;
use crate::speech::{Reader, piece, say};

/// Show every change of a job as it happens, until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl events
  bootctl events --json | jq 'select(.job.status == \"failed\")'")]
pub(crate) struct Events {
    /// Begin with how all jobs stand
    #[arg(long)]
    all: bool,

    /// For programs: what init says, an object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    init: InitOf,
}

pub(in crate::command) fn run(events: &Events) -> ExitCode {
    super::run(&events.init, async |init| {
        loop {
            let mut stream = init.follow().await?;
            let mut shown = events.all;
            while let Some(event) = stream.next().await {
                let text = if events.json {
                    serde_json::to_string(&event).unwrap_or_default()
                } else {
                    line(&event)
                };
                let is_ready = matches!(event, JobEvent::Ready { .. });
                if shown
                    && (events.json || !is_ready)
                    && piece(format!("{text}\n").as_bytes())? == Reader::Gone
                {
                    return Ok(ExitCode::SUCCESS);
                }
                shown |= is_ready;
            }
            // init has become another one, or this reader was too slow: all that may have changed since.
            say("the stream broke off; some changes may be missing");
        }
    })
}

fn line(event: &JobEvent) -> String {
    match event {
        JobEvent::Job { job, .. } => {
            let when = job.ended_at.as_ref().filter(|_| !job.status.is_live());
            let when = when.or(job.started_at.as_ref()).map_or("-", String::as_str);
            let pid = job.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!("{when} {} {}{pid}: {}", job.id, word(job), job.why)
        }
        JobEvent::Gone { id, .. } => format!("- {id} cleared"),
        JobEvent::Ready { .. } => String::new(),
        JobEvent::Missed { .. } => "- some changes were missed".into(),
    }
}
