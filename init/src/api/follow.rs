//! `GET /jobs?follow`: the jobs there are, or what has changed since the client was here last, then
//! every change as it happens.

use std::vec;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use init_wire::JobEvent;

use super::answer::{Answer, Payload, typed};
use crate::chronicle::{Life, Next, Reader, Since};
use crate::door::Following;
use crate::job::View;
use crate::spec::Shown;

/// One JSON object a line, until the client or init goes away.
pub(super) fn answer(
    following: Following,
    ends: impl Future<Output = ()> + Send + 'static,
) -> Answer {
    let missed = match following.since {
        Some(Since::Missed(count)) => Some(JobEvent::Missed { count }),
        Some(Since::Kept) | None => None,
    };
    let follower = Follower {
        missed,
        jobs: following.jobs.into_iter(),
        seq: following.seq,
        ready: Some(following.life),
        events: following.events,
    };
    let lines = stream::unfold(follower, async |mut follower| {
        let line = follower.next().await?;
        Some((line, follower))
    });
    typed(StatusCode::OK, "application/x-ndjson", Payload::stream(lines.take_until(ends)))
}

/// A client, and what it is to be told, which is written only when it takes it.
struct Follower {
    missed: Option<JobEvent<Shown>>,
    jobs: vec::IntoIter<View>,
    /// The last change when it came.
    seq: u64,
    /// Until it has been told that it knows all up to that one.
    ready: Option<Life>,
    events: Reader,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(missed) = self.missed.take() {
            return line(&missed);
        }
        if let Some(job) = self.jobs.next() {
            return line(&JobEvent::Job { seq: self.seq, job: Box::new(job) });
        }
        let seq = self.events.seq();
        if let Some(life) = self.ready.take_if(|_| seq >= self.seq) {
            return line(&JobEvent::Ready { seq, life: life.to_string() });
        }
        match self.events.next().await? {
            Next::Line(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            Next::Missed(count) => line(&JobEvent::Missed { count: Some(count) }),
        }
    }
}

fn line(event: &JobEvent<Shown>) -> Option<Bytes> {
    let mut text = serde_json::to_vec(event).ok()?;
    text.push(b'\n');
    Some(text.into())
}
