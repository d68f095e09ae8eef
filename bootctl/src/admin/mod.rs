//! The admin API: JSON over HTTP on a unix socket, for root and bootctl's own user.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /status` | shows everything | 200 `StatusView` |
//! | `GET /apps/{app}` | shows one app | 200 `AppView`, 404 |
//! | `PUT /apps/{app}/start` | wants it to run; answers when all instances are ready | 200 `AppView`, 404, 409 failed, 504 |
//! | `PUT /apps/{app}/stop` | wants it stopped; answers when all instances are gone | 200 `AppView`, 404, 504 |
//! | `PUT /apps/{app}/restart` | replaces its instances one by one; answers when all of the new ones serve | 200 `AppView`, 404, 409 failed, 504 |
//! | `PUT /apps/{app}/instances/{count}` | writes into its file how many there are to be, 0 to 1000; answers when there are | 200 `AppView`, 404, 409 broken, changed or failed, 422, 504 |
//! | `PUT /proxy/restart` | a new generation of the proxy takes over; answers when it serves | 200 `StatusView`, 409 failed, 504 |
//! | `GET /plan` | shows what a reload would change | 200 `PlanView`, 422 problems |
//! | `PUT /take-over` | ends at once, and leaves all to the bootctl that asks | 200 `StatusView`, 403 not allowed |
//! | `PUT /runlevel/{level}` | changes the runlevel; answers when it is reached, and its apps are | 200 `StatusView`, 409 busy or not reached, 422, 504 |
//! | `PUT /reload` | reads the config anew; answers when all is as it says | 200 `StatusView`, 409, 422 problems, 504 |
//!
//! Those about releases are in [`releases`], those about tokens in [`tokens`], those about
//! commands in [`custom`], those for monitors in [`metrics`]. Each change has a line in the audit
//! log, see [`crate::audit`].
//!
//! `?timeout_ms=N` bounds the wait of the PUTs; what was asked for goes on after it. With
//! `Accept: application/jsonl` they tell their progress, see [`steps`]. Errors are `Refusal`. Nothing has changed when the status is 4xx other than 409.

mod audited;
pub(crate) mod client;
pub(crate) mod custom;
mod metrics;
mod peer;
pub(crate) mod releases;
pub(crate) mod socket;
pub(crate) mod steps;
pub(crate) mod tokens;
mod usage;
pub(crate) mod wire;

use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Json, Router, middleware};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use crate::audit::Audit;
use crate::event::{Ask, Event, Reply, Verb};
use audited::Outcome;
use steps::Progress;
pub(crate) use usage::Usage;
use wire::Refusal;

/// The longest wait a client may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// All that may be asked here.
const PATHS: &[&str] = &[
    "GET /status",
    "GET /apps/{app}",
    "PUT /apps/{app}/start",
    "PUT /apps/{app}/stop",
    "PUT /apps/{app}/restart",
    "PUT /apps/{app}/instances/{count}",
    "PUT /proxy/restart",
    "GET /plan",
    "PUT /take-over",
    "PUT /runlevel/{level}",
    "PUT /reload",
];

type Door = mpsc::Sender<Event>;

/// Serves the API for as long as bootctl lives.
pub(crate) async fn serve(
    listener: UnixListener,
    door: Door,
    usage: Usage,
    state_dir: &FilePath,
) -> io::Result<()> {
    let router = router(door, usage, state_dir);
    axum::serve(listener, router.into_make_service_with_connect_info::<peer::Peer>()).await
}

fn router(door: Door, usage: Usage, state_dir: &FilePath) -> Router {
    let audit = Arc::new(Audit::kept(state_dir));
    Router::new()
        .route("/status", get(status))
        .route("/apps/{app}", get(show))
        .route("/apps/{app}/start", put(start))
        .route("/apps/{app}/stop", put(stop))
        .route("/apps/{app}/restart", put(restart))
        .route("/apps/{app}/instances/{count}", put(scale))
        .route("/proxy/restart", put(restart_proxy))
        .route("/plan", get(plan))
        .route("/reload", put(reload))
        .route("/runlevel/{level}", put(telinit))
        .merge(releases::routes())
        .merge(tokens::routes())
        .merge(custom::routes())
        .merge(metrics::routes())
        .route("/take-over", put(take_over))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(tokens::Kept(state_dir.to_owned())))
        .layer(middleware::from_fn_with_state(audit, audited::note))
        .layer(middleware::from_fn(peer::check))
        .layer(Extension(usage))
        .with_state(door)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    timeout_ms: Option<u64>,
}

impl Wait {
    fn duration(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis).map(|wait| wait.min(LONGEST_WAIT))
    }
}

async fn status(State(door): State<Door>, Extension(usage): Extension<Usage>) -> Response {
    let mut answer = put_to(&door, Verb::Status).await;
    if let Ok(Reply::Status(view)) = &mut answer {
        usage.fill(&mut view.apps).await;
    }
    whole(answer)
}

async fn show(
    State(door): State<Door>,
    Path(app): Path<String>,
    Extension(usage): Extension<Usage>,
) -> Response {
    let mut answer = put_to(&door, Verb::Show(app)).await;
    if let Ok(Reply::App(view)) = &mut answer {
        usage.fill(std::slice::from_mut(view)).await;
    }
    whole(answer)
}

async fn start(
    State(door): State<Door>,
    Path(app): Path<String>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Start(app), &wait, progress).await
}

async fn stop(
    State(door): State<Door>,
    Path(app): Path<String>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Stop(app), &wait, progress).await
}

async fn restart(
    State(door): State<Door>,
    Path(app): Path<String>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Restart(app), &wait, progress).await
}

async fn scale(
    State(door): State<Door>,
    Path((app, count)): Path<(String, String)>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Scale(app, count), &wait, progress).await
}

async fn plan(State(door): State<Door>) -> Response {
    ask(&door, Verb::Plan).await
}

async fn reload(
    State(door): State<Door>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Reload, &wait, progress).await
}

async fn telinit(
    State(door): State<Door>,
    Path(level): Path<String>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Telinit(level), &wait, progress).await
}

async fn take_over(State(door): State<Door>) -> Response {
    ask(&door, Verb::TakeOver).await
}

async fn restart_proxy(
    State(door): State<Door>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::RestartProxy, &wait, progress).await
}

async fn ask(door: &Door, verb: Verb) -> Response {
    whole(put_to(door, verb).await)
}

/// Puts a question to the supervisor.
async fn put_to(door: &Door, verb: Verb) -> Result<Reply, RecvError> {
    let (reply, answer) = oneshot::channel();
    let ask = Ask { verb, within: None, reply, steps: None };
    // If it is not sent, the way back is gone as well.
    drop(door.send(Event::Ask(ask)).await);
    answer.await
}

async fn change(door: &Door, verb: Verb, wait: &Wait, Progress(progress): Progress) -> Response {
    let (reply, answer) = oneshot::channel();
    let (way, steps) = mpsc::channel(steps::QUEUE);
    let ask = Ask { verb, within: wait.duration(), reply, steps: progress.then_some(way) };
    drop(door.send(Event::Ask(ask)).await);
    if progress { steps::answer(steps, answer).await } else { whole(answer.await) }
}

fn whole(reply: Result<Reply, RecvError>) -> Response {
    let outcome = Outcome::default();
    if let Ok(reply) = &reply {
        outcome.note(reply);
    }
    let mut response = match reply {
        Ok(Reply::Status(view)) => Json(view).into_response(),
        Ok(Reply::App(view)) => Json(view).into_response(),
        Ok(Reply::Plan(view)) => Json(view).into_response(),
        Ok(Reply::Releases(view)) => Json(view).into_response(),
        Ok(Reply::Custom(spec)) => Json(spec).into_response(),
        Ok(Reply::Refused(status, refusal)) => (status, Json(refusal)).into_response(),
        Err(_) => return ending(),
    };
    response.extensions_mut().insert(outcome);
    response
}

fn ending() -> Response {
    let message = "bootctl is ending; ask again when it has been started again";
    refused(StatusCode::SERVICE_UNAVAILABLE, "ending", message)
}

async fn unknown() -> Response {
    let all =
        [PATHS, releases::PATHS, tokens::PATHS, custom::PATHS, metrics::PATHS].concat().join(", ");
    let message = format!("there is no such path; there are {all}");
    refused(StatusCode::NOT_FOUND, "unknown_path", &message)
}

async fn wrong_method() -> Response {
    let message = "this path is there, but not with this method; see the Allow header";
    refused(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

pub(crate) fn refused(status: StatusCode, error: &str, message: &str) -> Response {
    let refusal = Refusal {
        error: error.into(),
        message: message.into(),
        problems: Vec::new(),
        log: Vec::new(),
        exit: None,
    };
    (status, Json(refusal)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of the table that a module's own words begin with.
    fn told(source: &str) -> Vec<String> {
        let rows = source.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let paths = rows.filter_map(|row| row.split_once('`')).map(|(path, _)| path.to_owned());
        paths.collect()
    }

    #[test]
    fn the_paths_that_are_told_are_those_of_the_tables() {
        assert_eq!(told(include_str!("mod.rs")), PATHS);
        assert_eq!(told(include_str!("releases.rs")), releases::PATHS);
        assert_eq!(told(include_str!("tokens.rs")), tokens::PATHS);
        assert_eq!(told(include_str!("custom.rs")), custom::PATHS);
        assert_eq!(told(include_str!("metrics.rs")), metrics::PATHS);
    }
}
