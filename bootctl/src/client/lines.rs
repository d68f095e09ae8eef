//! What one job writes, line by line and as it comes, for somebody who watches.

use bytes::{Buf, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use init_wire::LogLine;

use super::{Init, InitError, LONGEST_LINE, shown};
use crate::http::segment;

/// One of a job's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The lines of one, from the first that is kept on until the job has ended.
pub(crate) struct Lines {
    body: Incoming,
    partial: BytesMut,
}

impl Init {
    pub(crate) async fn lines(&self, id: &str, stream: Stream) -> Result<Lines, InitError> {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let path = format!("/job/{}/{stream}?follow&format=json", segment(id));
        let response = self.server.open(&path).await.map_err(|e| self.unreachable(e))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        Ok(Lines { body: response.into_body(), partial: BytesMut::new() })
    }
}

impl Lines {
    /// The next one, as it may be shown; `None` when there is none any more, or nobody to tell.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line = self.partial.split_to(end);
                self.partial.advance(1);
                return Some(match serde_json::from_slice(&line).ok()? {
                    LogLine::Line { text, .. } => shown(&text),
                    LogLine::Missed { missed, .. } => format!("[{missed} bytes were not kept]"),
                });
            }
            if self.partial.len() > LONGEST_LINE {
                return None;
            }
            if let Ok(data) = self.body.frame().await?.ok()?.into_data() {
                self.partial.extend_from_slice(&data);
            }
        }
    }
}
