//! The admin API: JSON over HTTP on a unix socket, for root and bootctl's own user.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /status` | shows everything | 200 `StatusView` |
//! | `GET /apps/{app}` | shows one app | 200 `AppView`, 404 |
//! | `PUT /apps/{app}/start` | wants it to run; answers when all instances are ready | 200 `AppView`, 404, 409 failed, 504 |
//! | `PUT /apps/{app}/stop` | wants it stopped; answers when all instances are gone | 200 `AppView`, 404, 409 broken file, 504 |
//! | `PUT /apps/{app}/restart` | replaces its instances one by one; answers when all of the new ones serve | 200 `AppView`, 404, 409 failed, 504 |
//! | `PUT /apps/{app}/detach` | lets go of its instances alive; answers when nobody supervises them | 200 `AppView`, 404, 409 none runs, 504 |
//! | `PUT /apps/{app}/adopt` | takes back what was let go of; answers when all instances are ready | 200 `AppView`, 404, 409 nothing was, or failed, 504 |
//! | `PUT /apps/{app}/instances/{count}` | writes into its file how many there are to be, 0 to 1000; answers when there are | 200 `AppView`, 404, 409 broken, changed or failed, 422, 504 |
//! | `PUT /proxy/restart` | a new generation of the proxy takes over; answers when it serves | 200 `StatusView`, 409 failed, 504 |
//! | `GET /plan` | shows what a reload would change | 200 `PlanView`, 422 problems |
//! | `PUT /take-over` | ends at once, and leaves all to the bootctl that asks | 200 `StatusView`, 403 not allowed |
//! | `PUT /runlevel/{level}` | changes the runlevel; answers when it is reached, and its apps are | 200 `StatusView`, 409 busy or not reached, 422, 504 |
//! | `PUT /reload` | reads the config anew; answers when all is as it says | 200 `StatusView`, 409 failed, 422 problems, 504 |
//! | `GET /openapi.json` | shows all of this API, for programs | 200 |
//!
//! Those about releases are in [`releases`], those about tokens in [`tokens`], those about
//! commands in [`custom`], those about the config's files in [`settings`], those for monitors in [`metrics`]; what is
//! only answered from afar is in [`crate::gate`]. Each change has a line in the audit log, see [`crate::audit`].
//!
//! `?timeout_ms=N` bounds the wait of the PUTs; what was asked for goes on after it. With
//! `Accept: application/jsonl` they tell their progress, see [`steps`]. Errors are `Refusal`. Nothing has changed when the status is 4xx other than 409.

mod asked;
mod audited;
pub(crate) mod client;
pub(crate) mod custom;
mod metrics;
#[cfg(test)]
mod openapi;
mod peer;
pub(crate) mod releases;
pub(crate) mod route;
pub(crate) mod settings;
pub(crate) mod socket;
pub(crate) mod steps;
pub(crate) mod tokens;
mod usage;
pub(crate) mod version;
pub(crate) mod wire;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Json, Router, middleware};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use crate::audit::Audit;
use crate::event::{Ask, Event, Reply, Verb};
use crate::unread::Unread;
use asked::{Asked, Named};
use audited::Outcome;
use route::{Gives, Key, Kind, Route, calls};
use steps::Progress;
pub(crate) use usage::Usage;
use wire::Refusal;

/// The longest wait a client may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// All that may be asked here.
const ROUTES: &[Route] = &[
    Route::look("GET /status", "shows everything", Gives::Status).asking(&[REQUESTS]),
    Route::look("GET /apps/{app}", "shows one app", Gives::App).refusing(&[404]),
    Route::change(
        "PUT /apps/{app}/start",
        "wants it to run; answers when all instances are ready",
        Gives::App,
        &[404, 409, 504],
    ),
    Route::change(
        "PUT /apps/{app}/stop",
        "wants it stopped; answers when all instances are gone",
        Gives::App,
        &[404, 409, 504],
    ),
    Route::change(
        "PUT /apps/{app}/restart",
        "replaces its instances one by one; answers when all of the new ones serve",
        Gives::App,
        &[404, 409, 504],
    ),
    Route::change(
        "PUT /apps/{app}/detach",
        "lets go of its instances alive; answers when nobody supervises them",
        Gives::App,
        &[404, 409, 504],
    ),
    Route::change(
        "PUT /apps/{app}/adopt",
        "takes back what was let go of; answers when all instances are ready",
        Gives::App,
        &[404, 409, 504],
    ),
    Route::change(
        "PUT /apps/{app}/instances/{count}",
        "writes into its file how many there are to be, 0 to 1000; answers when there are",
        Gives::App,
        &[404, 409, 422, 504],
    ),
    Route::change(
        "PUT /proxy/restart",
        "a new generation of the proxy takes over; answers when it serves",
        Gives::Status,
        &[409, 504],
    ),
    Route::look("GET /plan", "shows what a reload would change", Gives::Plan).refusing(&[422]),
    Route::look(
        "PUT /take-over",
        "ends at once, and leaves all to the bootctl that asks",
        Gives::Status,
    )
    .refusing(&[403]),
    Route::change(
        "PUT /runlevel/{level}",
        "changes the runlevel; answers when it is reached, and its apps are",
        Gives::Status,
        &[409, 422, 504],
    ),
    Route::change(
        "PUT /reload",
        "reads the config anew; answers when all is as it says",
        Gives::Status,
        &[409, 422, 504],
    ),
    Route::look("GET /openapi.json", "shows all of this API, for programs", Gives::Document),
];

const REQUESTS: Key =
    Key { name: "requests", means: "also how many requests apps have had", kind: Kind::Flag };

/// The whole table.
pub(crate) const TABLES: [&[Route]; 6] =
    [ROUTES, releases::ROUTES, tokens::ROUTES, custom::ROUTES, settings::ROUTES, metrics::ROUTES];

/// The table for programs. A test writes it, and fails when it is another one.
const DOCUMENT: &str = include_str!("../../openapi.json");

type Door = mpsc::Sender<Event>;

/// Where what is kept is, and what is declared.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    pub(crate) state: PathBuf,
    pub(crate) config: PathBuf,
}

/// Serves the API for as long as bootctl lives.
pub(crate) async fn serve(
    listener: UnixListener,
    door: Door,
    usage: Usage,
    folders: Folders,
) -> io::Result<()> {
    let router = router(door, usage, folders);
    axum::serve(listener, router.into_make_service_with_connect_info::<peer::Peer>()).await
}

fn router(door: Door, usage: Usage, Folders { state, config }: Folders) -> Router {
    let audit = Arc::new(Audit::kept(&state));
    Router::new()
        .route("/status", get(status))
        .route("/apps/{app}", get(show))
        .route("/apps/{app}/start", put(start))
        .route("/apps/{app}/stop", put(stop))
        .route("/apps/{app}/restart", put(restart))
        .route("/apps/{app}/detach", put(let_go))
        .route("/apps/{app}/adopt", put(take_back))
        .route("/apps/{app}/instances/{count}", put(scale))
        .route("/proxy/restart", put(restart_proxy))
        .route("/plan", get(plan))
        .route("/reload", put(reload))
        .route("/runlevel/{level}", put(telinit))
        .route("/openapi.json", get(document))
        .merge(releases::routes())
        .merge(tokens::routes())
        .merge(custom::routes())
        .merge(settings::routes())
        .merge(metrics::routes())
        .route("/take-over", put(take_over))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(tokens::Kept(state)))
        .layer(Extension(settings::Declared(config)))
        .layer(middleware::from_fn_with_state(Arc::clone(&audit), audited::note))
        .layer(middleware::from_fn_with_state(audit, peer::check))
        .layer(Extension(usage))
        .layer(middleware::map_response(sign))
        .layer(middleware::map_request(unread))
        .with_state(door)
}

async fn unread(request: Request) -> Request {
    request.map(|body| axum::body::Body::new(Unread::new(body)))
}

async fn sign(response: Response) -> Response {
    version::signed(response)
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

#[derive(Deserialize)]
struct Detail {
    requests: Option<Flag>,
}

/// What a query says by having it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Flag;

impl TryFrom<String> for Flag {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        if value.is_empty() { Ok(Self) } else { Err("it stands without a value") }
    }
}

async fn status(
    State(door): State<Door>,
    Extension(usage): Extension<Usage>,
    Asked(detail): Asked<Detail>,
) -> Response {
    let mut answer = put_to(&door, Verb::Status).await;
    if let Ok(Reply::Status(view)) = &mut answer {
        usage.fill(&mut view.apps).await;
        if detail.requests.is_some() {
            usage.count_requests(view).await;
        }
    }
    whole(answer)
}

async fn show(
    State(door): State<Door>,
    Named(app): Named<String>,
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
    Named(app): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Start(app), &wait, progress).await
}

async fn stop(
    State(door): State<Door>,
    Named(app): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Stop(app), &wait, progress).await
}

async fn restart(
    State(door): State<Door>,
    Named(app): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Restart(app), &wait, progress).await
}

async fn let_go(
    State(door): State<Door>,
    Named(app): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::LetGo(app), &wait, progress).await
}

async fn take_back(
    State(door): State<Door>,
    Named(app): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::TakeBack(app), &wait, progress).await
}

async fn scale(
    State(door): State<Door>,
    Named((app, count)): Named<(String, String)>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Scale(app, count), &wait, progress).await
}

async fn plan(State(door): State<Door>) -> Response {
    ask(&door, Verb::Plan).await
}

async fn reload(
    State(door): State<Door>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Reload, &wait, progress).await
}

async fn telinit(
    State(door): State<Door>,
    Named(level): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Telinit(level), &wait, progress).await
}

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

async fn take_over(State(door): State<Door>) -> Response {
    ask(&door, Verb::TakeOver).await
}

async fn restart_proxy(
    State(door): State<Door>,
    Asked(wait): Asked<Wait>,
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
    let all = calls(TABLES);
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

    /// The rows of the table that a module's own words begin with: what is asked, what that does, and the statuses.
    pub(super) fn told(source: &str) -> Vec<(String, String, Vec<u16>)> {
        let rows = source.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let mut all: Vec<(String, String, Vec<u16>)> = Vec::new();
        for row in rows {
            let (call, rest) = row.split_once('`').expect("a call");
            let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
            let [_, does, answers, ..] = cells.as_slice() else { panic!("{row}: three cells") };
            let statuses = answers.split(|c: char| !c.is_ascii_digit()).filter(|n| n.len() == 3);
            let mut statuses: Vec<u16> = statuses.map(|n| n.parse().expect("digits")).collect();
            if *answers == "the same" {
                statuses = all.last().expect("a row before").2.clone();
            }
            all.push((call.to_owned(), (*does).to_owned(), statuses));
        }
        all
    }

    /// The same of a table.
    pub(super) fn rows(table: &[Route]) -> Vec<(String, String, Vec<u16>)> {
        let row = |route: &Route| {
            let first = match route.gives {
                Gives::NewToken => 201,
                Gives::Nothing => 204,
                _ => 200,
            };
            let statuses = std::iter::once(first).chain(route.refuses.iter().copied()).collect();
            (route.call.to_owned(), route.does.to_owned(), statuses)
        };
        table.iter().map(row).collect()
    }

    #[test]
    fn the_tables_are_told_as_they_are() {
        assert_eq!(told(include_str!("mod.rs")), rows(ROUTES));
        assert_eq!(told(include_str!("releases.rs")), rows(releases::ROUTES));
        assert_eq!(told(include_str!("tokens.rs")), rows(tokens::ROUTES));
        assert_eq!(told(include_str!("custom.rs")), rows(custom::ROUTES));
        assert_eq!(told(include_str!("settings.rs")), rows(settings::ROUTES));
        assert_eq!(told(include_str!("metrics.rs")), rows(metrics::ROUTES));
        assert_eq!(told(include_str!("../gate/row.rs")), rows(&crate::gate::routes()));
    }
}
