//! Every change of a job, as init tells it; and whoever follows them for as long as bootctl lives.

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use init_wire::JobEvent;
use tokio::sync::mpsc::Sender;

use super::{Init, InitError, LONGEST_LINE};
use crate::event::Event;

impl Init {
    /// All jobs there are, and then every change.
    pub(crate) async fn follow(&self) -> Result<Events, InitError> {
        let response = self.server.open("/jobs?follow").await.map_err(|e| self.unreachable(e))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        Ok(Events { body: response.into_body(), partial: Vec::new(), ready: VecDeque::new() })
    }
}

/// The first line without its end, and what comes after it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line, rest.get(1..).unwrap_or_default()))
}

/// The event stream.
pub(crate) struct Events {
    body: Incoming,
    partial: Vec<u8>,
    ready: VecDeque<JobEvent>,
}

impl Events {
    /// The next event; `None` when the stream is over or no longer makes sense.
    pub(crate) async fn next(&mut self) -> Option<JobEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            let Ok(data) = frame.into_data() else { continue };
            let mut rest: &[u8] = &data;
            while let Some((line, more)) = split_line(rest) {
                if self.partial.is_empty() {
                    self.ready.push_back(serde_json::from_slice(line).ok()?);
                } else {
                    self.partial.extend_from_slice(line);
                    self.ready.push_back(serde_json::from_slice(&self.partial).ok()?);
                    self.partial.clear();
                }
                rest = more;
            }
            self.partial.extend_from_slice(rest);
            if self.partial.len() > LONGEST_LINE {
                return None;
            }
        }
    }
}

/// What has become known about jobs.
#[derive(Debug)]
pub(crate) enum News {
    /// The first of a new series: all that was known is void.
    Anew,
    Event(JobEvent),
    /// init does not answer.
    Lost(InitError),
}

/// Follows init's jobs for as long as bootctl lives; reads them anew whenever the thread is lost.
pub(crate) async fn follow(init: Init, tell: Sender<Event>) {
    const FIRST_PAUSE: Duration = Duration::from_millis(50);
    const LONGEST_PAUSE: Duration = Duration::from_secs(2);
    let mut pause = FIRST_PAUSE;
    loop {
        match init.follow().await {
            Ok(mut events) => {
                pause = FIRST_PAUSE;
                if tell.send(Event::Jobs(News::Anew)).await.is_err() {
                    return;
                }
                while let Some(event) = events.next().await {
                    if matches!(event, JobEvent::Missed { .. }) {
                        break;
                    }
                    if tell.send(Event::Jobs(News::Event(event))).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                if tell.send(Event::Jobs(News::Lost(error))).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
