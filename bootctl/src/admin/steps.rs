//! A change whose progress is told: `Accept: application/jsonl`, one JSON object a line, steps and at last
//! the end. What is refused before its first step is refused as without progress.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::ending;
use super::wire::Refusal;
use crate::event::Reply;

/// What the stream is.
pub(crate) const JSON_LINES: &str = "application/jsonl";

/// How many steps may wait for a client to read them; more are dropped.
pub(super) const QUEUE: usize = 256;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub(crate) enum Line {
    /// Something is being done.
    Step(StepView),
    /// All is done; what would be answered without progress.
    Done { answer: Value },
    /// It has failed; what would be answered without progress.
    Failed { status: u16, refusal: Refusal },
}

/// A step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepView {
    pub(crate) step: StepKind,
    /// The job, or the app, that it is about.
    pub(crate) job: String,
    /// A sentence for people.
    pub(crate) text: String,
    /// Requests and streams that it has to finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<u64>,
    /// How long after the client has asked.
    pub(crate) ms: u64,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StepKind {
    Starting,
    Waiting,
    Ready,
    Retiring,
    Gone,
}

/// Whether a client wants to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress(pub(super) bool);

impl<S: Sync> FromRequestParts<S> for Progress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(accepts(&parts.headers)))
    }
}

fn accepts(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    types.any(|one| one.split(';').next().is_some_and(|name| name.trim() == JSON_LINES))
}

/// Answers with steps as they come, and then with the end.
pub(super) async fn answer(
    mut steps: mpsc::Receiver<StepView>,
    mut end: oneshot::Receiver<Reply>,
) -> Response {
    let first = tokio::select! {
        biased;
        Some(step) = steps.recv() => Ok(step),
        end = &mut end => Err(end),
    };
    let (first, end) = match first {
        Ok(step) => (Line::Step(step), Some(end)),
        Err(Ok(Reply::Refused(status, refusal))) => return (status, Json(refusal)).into_response(),
        Err(Ok(reply)) => (last(reply), None),
        Err(Err(_)) => return ending(),
    };
    let body = stream::unfold((Some(first), steps, end), |(line, mut steps, mut end)| async move {
        let line = match (line, &mut end) {
            (Some(line), _) => line,
            (None, None) => return None,
            (None, Some(ended)) => {
                let ended = tokio::select! {
                    biased;
                    Some(step) = steps.recv() => Err(step),
                    reply = ended => Ok(reply),
                };
                match ended {
                    Err(step) => Line::Step(step),
                    // bootctl ends: the stream breaks off without an end.
                    Ok(Err(_)) => return None,
                    Ok(Ok(reply)) => {
                        end = None;
                        last(reply)
                    }
                }
            }
        };
        Some((Ok::<_, Infallible>(written(&line)), (None, steps, end)))
    });
    ([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(body)).into_response()
}

fn last(reply: Reply) -> Line {
    let done =
        |answer: serde_json::Result<Value>| Line::Done { answer: answer.unwrap_or_default() };
    match reply {
        Reply::Status(view) => done(serde_json::to_value(view)),
        Reply::App(view) => done(serde_json::to_value(view)),
        Reply::Releases(view) => done(serde_json::to_value(view)),
        Reply::Refused(status, refusal) => Line::Failed { status: status.as_u16(), refusal },
    }
}

fn written(line: &Line) -> Bytes {
    // Strings, numbers and what was JSON before can always be written.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_to_those_who_ask_for_it() {
        for (accept, wants) in [
            ("application/jsonl", true),
            ("application/json, application/jsonl;q=0.5", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("sound"))]);
            assert_eq!(accepts(&headers), wants, "{accept}");
        }
        assert!(!accepts(&HeaderMap::new()));
    }
}
