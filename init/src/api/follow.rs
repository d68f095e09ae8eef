//! `GET /jobs?follow`: the jobs there are, then every change as it happens.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use init_wire::JobEvent;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::answer::{Answer, Payload, typed};
use crate::door::Following;
use crate::spec::Shown;

/// One JSON object a line, until the client or init goes away.
pub(super) fn answer(
    following: Following,
    ends: impl Future<Output = ()> + Send + 'static,
) -> Answer {
    let seq = following.seq;
    let jobs = following.jobs.into_iter();
    let start = jobs
        .map(|job| JobEvent::Job { seq, job: Box::new(job) })
        .chain([JobEvent::Ready { seq }])
        .filter_map(|event| line(&event))
        .collect();
    let follower = Follower { start, events: following.events };
    let lines = stream::unfold(follower, async |mut follower| {
        let line = follower.next().await?;
        Some((line, follower))
    });
    typed(StatusCode::OK, "application/x-ndjson", Payload::stream(lines, ends))
}

struct Follower {
    start: VecDeque<Bytes>,
    events: broadcast::Receiver<Arc<str>>,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(line) = self.start.pop_front() {
            return Some(line);
        }
        match self.events.recv().await {
            Ok(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            Err(RecvError::Lagged(count)) => line(&JobEvent::Missed { count }),
            Err(RecvError::Closed) => None,
        }
    }
}

fn line(event: &JobEvent<Shown>) -> Option<Bytes> {
    let mut text = serde_json::to_vec(event).ok()?;
    text.push(b'\n');
    Some(text.into())
}
