//! What init is asked in words of the gate's own: to adopt a process, to run a command as an app runs, to end the
//! machine. Whoever is far away says what, and not how.

use axum::Json;
use axum::response::{IntoResponse, Response};
use form_urlencoded::parse;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use super::pass::Passage;
use super::row::Whom;
use crate::admin::refused;
use crate::app::identify;
use crate::client::{Init, InitError, Then};
use crate::errand::{Adoption, Errand};
use crate::unread::Unread;

/// The largest body.
const LARGEST: usize = 256 << 10;

pub(super) async fn answer(passage: &Passage, whom: Whom, request: Request<Unread>) -> Response {
    let init = passage.init();
    let done = match whom {
        Whom::Adopts => adopt(&init, request).await,
        Whom::Runs => run(&init, request).await,
        Whom::EndsMachine => end_machine(&init, request.uri().query().unwrap_or_default()).await,
        // They are asked elsewhere.
        Whom::Supervisor | Whom::Logs | Whom::Init => Ok(StatusCode::NOT_FOUND.into_response()),
    };
    done.unwrap_or_else(Stop::answer)
}

type Done = Result<Response, Stop>;

/// Why it was not done.
enum Stop {
    No(StatusCode, &'static str, String),
    /// What init has said to it.
    Said(Box<InitError>),
}

impl From<InitError> for Stop {
    fn from(error: InitError) -> Self {
        Self::Said(Box::new(error))
    }
}

async fn adopt(init: &Init, request: Request<Unread>) -> Done {
    let id = job(&request);
    let adoption: Adoption = body(request).await?;
    let job = init.adopt(&id, adoption).await?;
    Ok(Json(job).into_response())
}

async fn run(init: &Init, request: Request<Unread>) -> Done {
    let id = job(&request);
    if !Errand::is_one(&id) {
        let message = "the name of a command's job begins with `exec-`";
        return Err(stop(StatusCode::UNPROCESSABLE_ENTITY, "bad_name", message));
    }
    let errand: Errand = body(request).await?;
    if errand.command.is_empty() {
        let message = "`command` is empty: name a program";
        return Err(stop(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", message));
    }
    let like = init.job(&errand.like).await?;
    // Whoever may change apps may run what they can run: not what init, the supervisor or the proxy can.
    if identify(&like.id, &like.spec).is_none() {
        let message = format!("{} is no instance of an app", errand.like);
        return Err(stop(StatusCode::CONFLICT, "no_instance", &message));
    }
    let job = init.errand(&id, &errand, &like).await?;
    Ok(Json(job).into_response())
}

async fn end_machine(init: &Init, query: &str) -> Done {
    let then = parse(query.as_bytes()).find(|(name, _)| name == "then");
    let then = match then.as_ref().map(|(_, then)| &**then) {
        Some("poweroff") => Then::Poweroff,
        Some("reboot") => Then::Reboot,
        Some("halt") => Then::Halt,
        Some(_) | None => {
            let message = "say what becomes of the machine: `?then=poweroff`, `reboot` or `halt`";
            return Err(stop(StatusCode::UNPROCESSABLE_ENTITY, "bad_query", message));
        }
    };
    if !init.is_machine().await? {
        let message = "init is not the first process of a machine, so nothing was done";
        return Err(stop(StatusCode::CONFLICT, "no_machine", message));
    }
    init.end_machine(then).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The name in `/init/job/{id}/…`, which the table has let pass.
fn job(request: &Request<Unread>) -> String {
    request.uri().path().split('/').nth(3).unwrap_or_default().to_owned()
}

async fn body<T: DeserializeOwned>(request: Request<Unread>) -> Result<T, Stop> {
    let unread = |error: String| {
        let message = format!("the body makes no sense: {error}");
        stop(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", &message)
    };
    let body = Limited::new(request.into_body(), LARGEST).collect().await;
    let bytes = body.map_err(|error| unread(error.to_string()))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| unread(error.to_string()))
}

fn stop(status: StatusCode, word: &'static str, message: &str) -> Stop {
    Stop::No(status, word, message.to_owned())
}

impl Stop {
    fn answer(self) -> Response {
        let error = match self {
            Self::No(status, word, message) => return refused(status, word, &message),
            Self::Said(error) => *error,
        };
        match error {
            InitError::Refused(body) => {
                let status = match body.error.as_str() {
                    "unknown_job" => StatusCode::NOT_FOUND,
                    _ => StatusCode::CONFLICT,
                };
                (status, Json(body)).into_response()
            }
            InitError::Conflict(message) => refused(StatusCode::CONFLICT, "conflict", &message),
            error
            @ (InitError::Unreachable(..) | InitError::Trouble(..) | InitError::Socket(_)) => {
                refused(StatusCode::SERVICE_UNAVAILABLE, "no_init", &error.to_string())
            }
        }
    }
}
