//! The part of the admin API that is about commands of the administrator; see [`super`] for the rest.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `PUT /custom/{name}` | runs `[custom.NAME]`, with the body `{"args": […]}` added to its arguments | 200 with what it writes, an object a line, and its end; 404, 409, 422 |
//!
//! A command whose client leaves is ended.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Extension, Router};
use futures_util::stream;
use init_wire::{Channel, JobSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::oneshot;

use super::asked::{Named, Sent};
use super::audited::Outcome;
use super::route::{Gives, Route, Takes};
use super::steps::{JSON_LINES, written};
use super::{Door, Usage, refused, whole};
use crate::client::{Init, InitError, Output};
use crate::event::{Ask, Event, Reply, Verb};
use crate::exit::code;

/// All that may be asked here.
pub(super) const ROUTES: &[Route] = &[Route::look(
    "PUT /custom/{name}",
    "runs `[custom.NAME]`, with the body `{\"args\": […]}` added to its arguments",
    Gives::Custom,
)
.taking(Takes::Args)
.refusing(&[404, 409, 422])];

/// Pieces on their way to the client; when he does not read them, the command waits for its reader as ever.
const QUEUE: usize = 64;

/// Why a command is ended.
const LEFT: &str = "its client has left";

/// A line of the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum CustomLine {
    Out {
        text: String,
    },
    Err {
        text: String,
    },
    /// As a shell has it.
    Exit {
        code: u8,
    },
    /// It is not known how it has ended.
    Lost {
        message: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct CustomArgs {
    #[serde(default)]
    pub(crate) args: Vec<String>,
}

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/custom/{name}", put(run))
}

async fn run(
    State(door): State<Door>,
    Extension(usage): Extension<Usage>,
    Named(name): Named<String>,
    Sent(body): Sent,
) -> Response {
    let args =
        if body.is_empty() { Ok(CustomArgs::default()) } else { serde_json::from_slice(&body) };
    let CustomArgs { args } = match args {
        Ok(args) => args,
        Err(error) => {
            let message = format!("the body is no {{\"args\": [\"…\"]}}: {error}");
            return refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", &message);
        }
    };
    let (reply, answer) = oneshot::channel();
    let verb = Verb::Custom(name.clone(), args);
    drop(door.send(Event::Ask(Ask { verb, within: None, reply, steps: None })).await);
    let spec = match answer.await {
        Ok(Reply::Custom(spec)) => *spec,
        other => return whole(other),
    };
    let (init, id) = (usage.init().clone(), job(&name));
    if let Err(error) = init.start(&id, &spec).await {
        let message = format!("the command {name} cannot be started: {error}");
        return refused(StatusCode::CONFLICT, "failed", &message);
    }
    let (tell, lines) = mpsc::channel(QUEUE);
    let outcome = Outcome::default();
    tokio::spawn(attend(init, id, spec, tell, outcome.clone()));
    let body = stream::unfold(lines, |mut lines| async {
        let line = lines.recv().await?;
        Some((Ok::<_, Infallible>(line), lines))
    });
    let head = (Extension(outcome), [(header::CONTENT_TYPE, JSON_LINES)]);
    (head, Body::from_stream(body)).into_response()
}

/// Two at a time do not have one name, and neither do those of a bootctl before.
fn job(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("custom.{name}.{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Passes on what a command writes until it has ended, and clears it.
async fn attend(init: Init, id: String, spec: JobSpec, tell: Sender<Bytes>, outcome: Outcome) {
    let (out, err) =
        (listen(&init, &id, Channel::Stdout).await, listen(&init, &id, Channel::Stderr).await);
    let both = async {
        tokio::try_join!(
            pass(out, &tell, |text| CustomLine::Out { text }),
            pass(err, &tell, |text| CustomLine::Err { text }),
        )
    };
    let heard = tokio::select! {
        heard = both => heard,
        () = tell.closed() => Err(LEFT.to_owned()),
    };
    let line = match heard {
        Ok(((), ())) => match init.job(&id).await {
            Ok(job) => {
                outcome.exit(job.last_exit.as_ref());
                CustomLine::Exit { code: code(job.last_exit.as_ref()) }
            }
            Err(error) => CustomLine::Lost { message: error.to_string() },
        },
        Err(message) => CustomLine::Lost { message },
    };
    // Nobody can use it any more; the log says what was wrong.
    if let Err(error) = init.end(&id, &spec).await {
        tracing::warn!("{id} is left: {error}");
    }
    drop(tell.send(written(&line)).await);
}

async fn listen(init: &Init, id: &str, stream: Channel) -> Result<Output, InitError> {
    init.open_stream(id, stream, "follow&from=0").await
}

async fn pass(
    output: Result<Output, InitError>,
    tell: &Sender<Bytes>,
    line: impl Fn(String) -> CustomLine,
) -> Result<(), String> {
    let mut output = output.map_err(|error| error.to_string())?;
    // Letters that came in halves go on together.
    let mut rest = Vec::new();
    while let Some(bytes) = output.next().await {
        rest.extend_from_slice(&bytes.map_err(|error| error.to_string())?);
        let text = whole_letters(&mut rest);
        if !text.is_empty() && tell.send(written(&line(text))).await.is_err() {
            return Err(LEFT.into());
        }
    }
    if !rest.is_empty() {
        drop(tell.send(written(&line(String::from_utf8_lossy(&rest).into_owned()))).await);
    }
    Ok(())
}

/// Takes all but an unfinished letter at the end; what is no letter at all has U+FFFD in its place.
fn whole_letters(bytes: &mut Vec<u8>) -> String {
    let keep = (1..=3.min(bytes.len())).find(|count| {
        let tail = bytes.get(bytes.len().saturating_sub(*count)..).unwrap_or_default();
        std::str::from_utf8(tail)
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    });
    let rest = bytes.split_off(bytes.len().saturating_sub(keep.unwrap_or(0)));
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = rest;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_letters_are_not_torn() {
        let mut rest = Vec::new();
        let mut all = String::new();
        for byte in "aä€😀z".bytes() {
            rest.push(byte);
            all += &whole_letters(&mut rest);
        }
        assert_eq!((all.as_str(), rest.len()), ("aä€😀z", 0));
        let mut bad = b"a\xffb".to_vec();
        assert_eq!(whole_letters(&mut bad), "a\u{fffd}b");
    }
}
