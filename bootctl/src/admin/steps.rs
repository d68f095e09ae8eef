//! A change whose progress is told: `Accept: application/jsonl`, one JSON object a line, steps and at last
//! the end. What is refused before its first step is refused as without progress.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::audited::Outcome;
use super::ending;
use super::wire::Refusal;
use crate::event::Reply;

/// What the stream is.
pub(crate) const JSON_LINES: &str = "application/jsonl";

/// How many steps may wait for a client to read them; more are dropped.
pub(super) const QUEUE: usize = 256;

/// How long what a command has written last may be on its way when its end is known.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "camelCase")]
pub(crate) enum Line {
    /// Something is being done.
    Step(StepView),
    /// All is done; what would be answered without progress.
    Done { answer: Value },
    /// It has failed; what would be answered without progress.
    Failed { status: u16, refusal: Refusal },
}

/// A line as a client reads it; none if it is of a kind that only a newer supervisor knows.
pub(super) fn read(line: &[u8]) -> serde_json::Result<Option<Line>> {
    #[derive(Deserialize)]
    struct Kind {
        event: String,
    }
    let Kind { event } = serde_json::from_slice(line)?;
    match event.as_str() {
        "done" | "failed" => serde_json::from_slice(line).map(Some),
        // Steps are for people to see.
        _ => Ok(serde_json::from_slice(line).ok()),
    }
}

/// A step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum StepKind {
    Starting,
    Waiting,
    Ready,
    Retiring,
    Gone,
    /// A line that a command of the app has written.
    Output,
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
    let outcome = Outcome::default();
    if let Err(Ok(reply)) = &first {
        outcome.note(reply);
    }
    let (first, end) = match first {
        Ok(step) => (Line::Step(step), End::Coming(end)),
        Err(Ok(Reply::Refused(status, refusal))) => {
            return (Extension(outcome), (status, Json(refusal))).into_response();
        }
        Err(Ok(reply)) => (last(reply), End::Over),
        Err(Err(_)) => return ending(),
    };
    let told = outcome.clone();
    let rest = stream::unfold((steps, end), move |(mut steps, end)| {
        let outcome = outcome.clone();
        async move {
            let (line, end) = end.next(&mut steps, &outcome).await?;
            Some((line, (steps, end)))
        }
    });
    let lines = stream::once(std::future::ready(first)).chain(rest);
    let body = lines.map(|line| Ok::<_, Infallible>(written(&line)));
    let head = (Extension(told), [(header::CONTENT_TYPE, JSON_LINES)]);
    (head, Body::from_stream(body)).into_response()
}

/// How near the end is.
enum End {
    Coming(oneshot::Receiver<Reply>),
    /// It is known, and comes after what is still on its way.
    Come(Box<Line>, Instant),
    Over,
}

impl End {
    /// The next line, and how near the end is then. When bootctl ends, the stream breaks off without one.
    async fn next(
        mut self,
        steps: &mut mpsc::Receiver<StepView>,
        outcome: &Outcome,
    ) -> Option<(Line, Self)> {
        loop {
            self = match self {
                Self::Over => return None,
                Self::Coming(mut reply) => tokio::select! {
                    biased;
                    Some(step) = steps.recv() => {
                        return Some((Line::Step(step), Self::Coming(reply)));
                    }
                    reply = &mut reply => {
                        let reply = reply.ok()?;
                        outcome.note(&reply);
                        Self::Come(Box::new(last(reply)), Instant::now() + LAST_WORDS)
                    }
                },
                Self::Come(line, until) => match timeout_at(until, steps.recv()).await {
                    Ok(Some(step)) => return Some((Line::Step(step), Self::Come(line, until))),
                    Ok(None) | Err(_) => return Some((*line, Self::Over)),
                },
            };
        }
    }
}

fn last(reply: Reply) -> Line {
    let done =
        |answer: serde_json::Result<Value>| Line::Done { answer: answer.unwrap_or_default() };
    match reply {
        Reply::Status(view) => done(serde_json::to_value(view)),
        Reply::App(view) => done(serde_json::to_value(view)),
        Reply::Plan(view) => done(serde_json::to_value(view)),
        Reply::Releases(view) => done(serde_json::to_value(view)),
        // No change is answered so.
        Reply::Custom(spec) => done(serde_json::to_value(spec)),
        Reply::Refused(status, refusal) => Line::Failed { status: status.as_u16(), refusal },
    }
}

/// A line as it is sent.
pub(super) fn written(line: &impl Serialize) -> Bytes {
    // Strings, numbers and what was JSON before can always be written.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_supervisor_tells_is_left_out() {
        let read = |line: &str| read(line.as_bytes());
        let step = r#"{"event":"step","step":"ready","job":"a.1","text":"t","ms":1,"more":[]}"#;
        assert!(matches!(read(step), Ok(Some(Line::Step(step))) if step.step == StepKind::Ready));
        for unknown in [step.replace("ready", "dancing"), step.replace("step\",", "song\",")] {
            assert!(matches!(read(&unknown), Ok(None)), "{unknown}");
        }
        assert!(matches!(read(r#"{"event":"done","answer":{}}"#), Ok(Some(Line::Done { .. }))));
        for wrong in ["", "{}", "[]", r#"{"event":"failed"}"#, r#"{"event":1}"#] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

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
