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
//! | `PUT /reload` | reads the config anew; answers when all is as it says | 200 `StatusView`, 409, 422 problems, 504 |
//!
//! `?timeout_ms=N` bounds the wait of the PUTs; what was asked for goes on after it. With
//! `Accept: application/jsonl` they tell their progress, see [`steps`]. Errors are `Refusal`. Nothing has changed when the status is 4xx other than 409.

pub(crate) mod client;
mod peer;
pub(crate) mod releases;
pub(crate) mod socket;
pub(crate) mod steps;
pub(crate) mod wire;

use std::io;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::event::{Ask, Event, Reply, Verb};
use steps::Progress;
use wire::Refusal;

/// The longest wait a client may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

type Door = mpsc::Sender<Event>;

/// Serves the API for as long as bootctl lives.
pub(crate) async fn serve(listener: UnixListener, door: Door) -> io::Result<()> {
    let service = router(door).into_make_service_with_connect_info::<peer::Peer>();
    axum::serve(listener, service).await
}

fn router(door: Door) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/apps/{app}", get(show))
        .route("/apps/{app}/start", put(start))
        .route("/apps/{app}/stop", put(stop))
        .route("/apps/{app}/restart", put(restart))
        .route("/apps/{app}/instances/{count}", put(scale))
        .route("/proxy/restart", put(restart_proxy))
        .route("/reload", put(reload))
        .merge(releases::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(peer::check))
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

async fn status(State(door): State<Door>) -> Response {
    ask(&door, Verb::Status).await
}

async fn show(State(door): State<Door>, Path(app): Path<String>) -> Response {
    ask(&door, Verb::Show(app)).await
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

async fn reload(
    State(door): State<Door>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Reload, &wait, progress).await
}

async fn restart_proxy(
    State(door): State<Door>,
    Query(wait): Query<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::RestartProxy, &wait, progress).await
}

async fn ask(door: &Door, verb: Verb) -> Response {
    let (reply, answer) = oneshot::channel();
    let ask = Ask { verb, within: None, reply, steps: None };
    // If it is not sent, the way back is gone as well.
    drop(door.send(Event::Ask(ask)).await);
    whole(answer).await
}

async fn change(door: &Door, verb: Verb, wait: &Wait, Progress(progress): Progress) -> Response {
    let (reply, answer) = oneshot::channel();
    let (way, steps) = mpsc::channel(steps::QUEUE);
    let ask = Ask { verb, within: wait.duration(), reply, steps: progress.then_some(way) };
    drop(door.send(Event::Ask(ask)).await);
    if progress { steps::answer(steps, answer).await } else { whole(answer).await }
}

async fn whole(answer: oneshot::Receiver<Reply>) -> Response {
    match answer.await {
        Ok(Reply::Status(view)) => Json(view).into_response(),
        Ok(Reply::App(view)) => Json(view).into_response(),
        Ok(Reply::Releases(view)) => Json(view).into_response(),
        Ok(Reply::Refused(status, refusal)) => (status, Json(refusal)).into_response(),
        Err(_) => ending(),
    }
}

fn ending() -> Response {
    let message = "bootctl is ending; ask again when it has been started again";
    refused(StatusCode::SERVICE_UNAVAILABLE, "ending", message)
}

async fn unknown() -> Response {
    let message = "there is no such path; there are GET /status, GET /apps/APP, \
                   PUT /apps/APP/start, PUT /apps/APP/stop, PUT /apps/APP/restart, \
                   PUT /apps/APP/instances/N, \
                   PUT /proxy/restart, PUT /reload";
    refused(StatusCode::NOT_FOUND, "unknown_path", message)
}

async fn wrong_method() -> Response {
    let message = "this path is there, but not with this method; see the Allow header";
    refused(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

fn refused(status: StatusCode, error: &str, message: &str) -> Response {
    let refusal = Refusal {
        error: error.into(),
        message: message.into(),
        problems: Vec::new(),
        log: Vec::new(),
        exit: None,
    };
    (status, Json(refusal)).into_response()
}
