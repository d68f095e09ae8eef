//! The output of all jobs in one answer, and who they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use init_wire::{InitInfo, JobInfo, OutputEvent};

use super::{Init, InitError, LONGEST_LINE, QUICK, judge};
use crate::http::HttpError;

/// The bytes of a piece, in whichever form they came.
pub(crate) fn bytes(text: Option<String>, base64: Option<&str>) -> Vec<u8> {
    let decoded = || base64.and_then(|base64| STANDARD.decode(base64).ok());
    text.map(String::into_bytes).or_else(decoded).unwrap_or_default()
}

/// What all jobs write, as it comes.
pub(crate) struct Collected {
    body: Incoming,
    partial: BytesMut,
    /// So much of it has no end of a line.
    searched: usize,
}

impl Init {
    /// What all jobs have written since a place in a life of init, and whatever comes if `follow`. Without a
    /// place, all that is kept.
    pub(crate) async fn collect(
        &self,
        from: Option<(&str, u64)>,
        follow: bool,
    ) -> Result<Collected, InitError> {
        let from = from.map(|(life, position)| format!("from={life}:{position}"));
        let follow = follow.then(|| "follow".to_owned());
        let query: Vec<String> = from.into_iter().chain(follow).collect();
        let path = format!("/jobs/output?{}", query.join("&"));
        let response = self.server.open(&path).await.map_err(|e| self.unreachable(e))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        let (partial, searched) = (BytesMut::new(), 0);
        Ok(Collected { body: response.into_body(), partial, searched })
    }

    /// All jobs there are.
    pub(crate) async fn jobs(&self) -> Result<Vec<JobInfo>, InitError> {
        let answer = self.ask(Method::GET, "/jobs", None::<&()>, QUICK).await?;
        judge(&answer)?;
        answer.json().map_err(|error| self.unreachable(error))
    }

    /// What init is.
    pub(crate) async fn about(&self) -> Result<InitInfo, InitError> {
        let answer = self.ask(Method::GET, "/job/init", None::<&()>, QUICK).await?;
        judge(&answer)?;
        answer.json().map_err(|error| self.unreachable(error))
    }

    /// Has it become the program that is on the disk; answers what it is then.
    pub(crate) async fn renew(&self) -> Result<InitInfo, InitError> {
        let answer = self.ask(Method::PUT, "/job/init/restart", None::<&()>, QUICK).await?;
        judge(&answer)?;
        answer.json().map_err(|error| self.unreachable(error))
    }
}

impl Collected {
    /// What comes next; `None` when it is over, or makes no sense any more. Nothing is lost if it is not
    /// waited for to the end.
    pub(crate) async fn next(&mut self) -> Option<Result<OutputEvent, HttpError>> {
        loop {
            let rest = self.partial.get(self.searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.partial.split_to(self.searched + end);
                self.partial.advance(1);
                self.searched = 0;
                return Some(serde_json::from_slice(&line).map_err(HttpError::Json));
            }
            self.searched = self.partial.len();
            if self.searched > LONGEST_LINE {
                return None;
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.partial.extend_from_slice(&data);
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
