//! The part of the admin API that is about releases; see [`super`] for the rest.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /apps/{app}/releases` | shows an app's releases | 200 `ReleasesView`, 404 |
//! | `PUT /apps/{app}/release` | makes the body, an archive, a release and rolls it; answers when it serves | 200 `AppView`, 404, 409 busy or failed, 422 no release, 504 |
//! | `PUT /apps/{app}/rollback` | rolls the release before, or the one that `?to=N` names | 200 `AppView`, 404, 409 none, busy or failed, 504 |
//! | `PUT /apps/{app}/update` | runs the command of that name; answers when it has ended | 200 `AppView`, 404, 409 off, busy or failed, 504 |
//! | `PUT /apps/{app}/rebuild` | the same with `rebuild` | the same |
//! | `PUT /apps/{app}/upgrade` | runs both | the same |
//! | `PUT /apps/{app}/deploy` | runs both and rolls what has come of it | the same |
//! | `PUT /apps/{app}/redeploy` | rolls what was built last | the same |
//! | `DELETE /apps/{app}/work` | stops the command that runs | 200 `AppView`, 404, 409 none |

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, put};
use serde::{Deserialize, Serialize};

use super::asked::{Asked, Named};
use super::route::{Gives, Key, Kind, Route, TIMEOUT, Takes};
use super::steps::Progress;
use super::{Door, Wait, ask, change};
use crate::arrival;
use crate::event::Verb;
use crate::work::Task;

/// All that may be asked about releases.
pub(super) const ROUTES: &[Route] = &[
    Route::look("GET /apps/{app}/releases", "shows an app's releases", Gives::Releases)
        .refusing(&[404]),
    Route::change(
        "PUT /apps/{app}/release",
        "makes the body, an archive, a release and rolls it; answers when it serves",
        Gives::App,
        &[404, 409, 422, 504],
    )
    .taking(Takes::Bytes),
    Route::change(
        "PUT /apps/{app}/rollback",
        "rolls the release before, or the one that `?to=N` names",
        Gives::App,
        &[404, 409, 504],
    )
    .asking(&[TIMEOUT, TO]),
    Route::change(
        "PUT /apps/{app}/update",
        "runs the command of that name; answers when it has ended",
        Gives::App,
        WORK,
    ),
    Route::change("PUT /apps/{app}/rebuild", "the same with `rebuild`", Gives::App, WORK),
    Route::change("PUT /apps/{app}/upgrade", "runs both", Gives::App, WORK),
    Route::change(
        "PUT /apps/{app}/deploy",
        "runs both and rolls what has come of it",
        Gives::App,
        WORK,
    ),
    Route::change("PUT /apps/{app}/redeploy", "rolls what was built last", Gives::App, WORK),
    Route::look("DELETE /apps/{app}/work", "stops the command that runs", Gives::App)
        .refusing(&[404, 409]),
];

const WORK: &[u16] = &[404, 409, 504];
const TO: Key =
    Key { name: "to", means: "the number of a release", kind: Kind::Number(1, 999_999) };

/// `GET /apps/:app/releases`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReleasesView {
    pub(crate) app: String,
    /// Where they are.
    pub(crate) folder: String,
    /// What is under way.
    pub(crate) working: Option<String>,
    /// The newest first.
    pub(crate) releases: Vec<ReleaseView>,
}

/// One release.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReleaseView {
    pub(crate) release: u32,
    /// When it was made: RFC 3339, UTC; not known of one that is not in the record.
    pub(crate) at: Option<String>,
    pub(crate) bytes: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) state: ReleaseState,
    /// Why it was taken back.
    pub(crate) why: Option<String>,
    /// Instances that run from it.
    pub(crate) instances: Vec<String>,
}

/// What a release is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReleaseState {
    /// The app runs from it.
    Current,
    /// It did before; `rollback` leads there.
    Previous,
    /// It was taken back.
    Failed,
    /// Built, and not deployed yet; `redeploy` leads there.
    Staged,
    Kept,
}

impl ReleaseState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Failed => "failed",
            Self::Staged => "staged",
            Self::Kept => "kept",
        }
    }
}

pub(super) fn routes() -> Router<Door> {
    let task = |task: Task| {
        put(
            move |State(door): State<Door>,
                  Named(app),
                  Asked(wait): Asked<Wait>,
                  progress: Progress| async move {
                change(&door, Verb::Work(app, task), &wait, progress).await
            },
        )
    };
    Router::new()
        .route("/apps/{app}/releases", get(list))
        .route("/apps/{app}/release", put(receive))
        .route("/apps/{app}/rollback", put(rollback))
        .route("/apps/{app}/update", task(Task::Update))
        .route("/apps/{app}/rebuild", task(Task::Rebuild))
        .route("/apps/{app}/upgrade", task(Task::Upgrade))
        .route("/apps/{app}/deploy", task(Task::Deploy))
        .route("/apps/{app}/redeploy", put(redeploy))
        .route("/apps/{app}/work", delete(cancel))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    to: Option<String>,
    timeout_ms: Option<u64>,
}

async fn list(State(door): State<Door>, Named(app): Named<String>) -> Response {
    ask(&door, Verb::Releases(app)).await
}

/// The archive is read on while it is decided about: whoever sends it reads the answer only then.
async fn receive(
    State(door): State<Door>,
    Named(app): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
    body: Body,
) -> Response {
    let (source, archive) = arrival::channel();
    let asked = change(&door, Verb::Receive(app, archive), &wait, progress);
    let (answer, ()) = tokio::join!(asked, source.pump(body));
    answer
}

async fn rollback(
    State(door): State<Door>,
    Named(app): Named<String>,
    Asked(back): Asked<Back>,
    progress: Progress,
) -> Response {
    let Back { to, timeout_ms } = back;
    change(&door, Verb::Rollback(app, to), &Wait { timeout_ms }, progress).await
}

async fn redeploy(
    State(door): State<Door>,
    Named(app): Named<String>,
    Asked(wait): Asked<Wait>,
    progress: Progress,
) -> Response {
    change(&door, Verb::Redeploy(app), &wait, progress).await
}

async fn cancel(State(door): State<Door>, Named(app): Named<String>) -> Response {
    ask(&door, Verb::Cancel(app)).await
}
