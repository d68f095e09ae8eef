//! What the commands of an app write, told to whoever waits for their end.
//!
//! It goes straight from init to the client: a command that writes much keeps the supervisor from nothing, and a client that
//! reads slowly keeps the command from nothing either, but misses lines, and is told that it does.

use std::time::Instant;

use tokio::sync::mpsc::Sender;

use crate::admin::steps::{StepKind, StepView};
use crate::client::{Init, Stream};

/// Tells what a job writes until it has ended, or the client is gone.
pub(crate) async fn echo(init: Init, job: String, begun: Instant, way: Sender<StepView>) {
    let one = |stream| tell(&init, &job, stream, begun, &way);
    tokio::join!(one(Stream::Stdout), one(Stream::Stderr));
}

async fn tell(init: &Init, job: &str, stream: Stream, begun: Instant, way: &Sender<StepView>) {
    // What cannot be followed is told when it has failed, as for clients that do not watch.
    let Ok(mut lines) = init.lines(job, stream).await else { return };
    while let Some(text) = lines.next().await {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (step, job) = (StepKind::Output, job.to_owned());
        if way.send(StepView { step, job, text, in_flight: None, ms }).await.is_err() {
            return;
        }
    }
}
