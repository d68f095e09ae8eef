//! `bootctl stdout JOB`, `bootctl stderr JOB`: the bytes that init keeps.

use std::process::ExitCode;

use clap::Args;
use init_wire::Channel;

use super::JobError;
use crate::cli::InitOf;
use crate::speech::{Reader, piece};

// What init keeps of a stream.
#[derive(Debug, Args)]
#[command(after_help = "\
Only the newest bytes are kept, 64 KiB if the job's spec does not say otherwise; `bootctl log` has \
all that apps have written.

Examples:
  bootctl stdout shop.example.1 -n 20
  bootctl stderr shop.example.1 -f")]
pub(crate) struct Stream {
    /// The job's name
    job: String,

    /// The last N lines of it
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,

    /// And whatever comes, until the job has ended
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    init: InitOf,
}

pub(in crate::command) fn run(stream: &Stream, channel: Channel) -> ExitCode {
    super::run(&stream.init, async |init| {
        let tail = stream.lines.map(|lines| format!("tail={lines}"));
        let query = |from: Option<String>| {
            let follow = stream.follow.then(|| "follow".to_owned());
            from.into_iter().chain(follow).collect::<Vec<_>>().join("&")
        };
        let mut output = init.open_stream(&stream.job, channel, &query(tail)).await?;
        loop {
            match output.next().await {
                Some(Ok(bytes)) => {
                    if piece(&bytes)? == Reader::Gone {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                None => return Ok(ExitCode::SUCCESS),
                // If init has not become another one, but ended, this says so.
                Some(Err(_)) if stream.follow => {
                    let from = query(Some(format!("from={}", output.at())));
                    output = init.open_stream(&stream.job, channel, &from).await?;
                }
                Some(Err(error)) => return Err(JobError::Broken(stream.job.clone(), error)),
            }
        }
    })
}
