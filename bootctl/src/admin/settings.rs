//! The part of the admin API that is about the config's files, key by key; see [`super`] for the rest.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /config` | shows a key of bootctl.toml, or of the file of `?app=`; without `?key=`, all that are set | 200 `SettingsView`, 404, 422 |
//! | `PUT /config` | sets a key to what the body says, `{"value": "…"}`; nothing is taken over by that | 200 `SettingsView`, 404, 409 others write, 422 |
//! | `DELETE /config` | removes a key: its default holds then | 200 `SettingsView`, 404, 409, 422 |
//!
//! Values may be secrets: from afar, also looking takes `control`, and they are in no path.

use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::asked::{Asked, Body};
use super::route::{Gives, Key, Kind, Route, Takes};
use super::wire::Refusal;
use super::{Door, refused};
use crate::config::entry::{ChangeError, Entries};
use crate::config::write::WriteError;

/// All that may be asked here.
pub(super) const ROUTES: &[Route] = &[
    Route::look(
        "GET /config",
        "shows a key of bootctl.toml, or of the file of `?app=`; without `?key=`, all that are set",
        Gives::Settings,
    )
    .asking(&[APP, KEY])
    .refusing(&[404, 422]),
    Route::look(
        "PUT /config",
        "sets a key to what the body says, `{\"value\": \"…\"}`; nothing is taken over by that",
        Gives::Settings,
    )
    .asking(&[APP, KEY])
    .taking(Takes::Value)
    .refusing(REFUSALS),
    Route::look("DELETE /config", "removes a key: its default holds then", Gives::Settings)
        .asking(&[APP, KEY])
        .refusing(REFUSALS),
];

const REFUSALS: &[u16] = &[404, 409, 422];
const APP: Key = Key { name: "app", means: "the app whose file is meant", kind: Kind::Text };
const KEY: Key = Key { name: "key", means: "the key, such as health.http", kind: Kind::Text };

/// What is said of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingsView {
    /// As `bootctl config` says it: the value, lines of `key = value`, or what was changed.
    pub(crate) text: String,
}

/// What a key is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Setting {
    /// As `bootctl config --set` takes it.
    pub(crate) value: String,
}

/// The config folder.
#[derive(Clone, Debug)]
pub(super) struct Declared(pub(super) PathBuf);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    app: Option<String>,
    key: Option<String>,
}

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/config", get(show).put(set).delete(remove))
}

async fn show(folder: Extension<Declared>, Asked(which): Asked<Which>) -> Response {
    answer(folder, which.app, move |entries| entries.show(which.key.as_deref())).await
}

async fn set(
    folder: Extension<Declared>,
    Asked(which): Asked<Which>,
    Body(setting): Body<Setting>,
) -> Response {
    let Some(key) = which.key else { return no_key() };
    answer(folder, which.app, move |entries| entries.set(&key, &setting.value)).await
}

async fn remove(folder: Extension<Declared>, Asked(which): Asked<Which>) -> Response {
    let Some(key) = which.key else { return no_key() };
    answer(folder, which.app, move |entries| entries.delete(&key)).await
}

/// Files are read and written, and others who write them are waited for, where nobody waits for that.
async fn answer(
    Extension(Declared(folder)): Extension<Declared>,
    app: Option<String>,
    work: impl FnOnce(Entries<'_>) -> Result<String, ChangeError> + Send + 'static,
) -> Response {
    let task = move || work(Entries { folder: &folder, app: app.as_deref() });
    match tokio::task::spawn_blocking(task).await {
        Ok(Ok(text)) => Json(SettingsView { text }).into_response(),
        Ok(Err(error)) => answered(error),
        Err(_) => super::ending(),
    }
}

fn no_key() -> Response {
    refused(StatusCode::UNPROCESSABLE_ENTITY, "no_key", "name the key, as in `?key=instances`")
}

fn answered(error: ChangeError) -> Response {
    use StatusCode as S;
    let (status, word) = match &error {
        ChangeError::Name { .. } | ChangeError::WhichApp => (S::UNPROCESSABLE_ENTITY, "bad_name"),
        ChangeError::NoApp { .. } => (S::NOT_FOUND, "unknown_app"),
        ChangeError::NotSet(_) => (S::NOT_FOUND, "not_set"),
        ChangeError::Unknown(_) => (S::NOT_FOUND, "unknown_key"),
        ChangeError::Edit { .. } => (S::UNPROCESSABLE_ENTITY, "bad_value"),
        ChangeError::Config(_) | ChangeError::Problems(_) => {
            (S::UNPROCESSABLE_ENTITY, "bad_config")
        }
        ChangeError::Write(WriteError::Locked(_) | WriteError::Exists(_)) => (S::CONFLICT, "busy"),
        ChangeError::Unreadable { .. } | ChangeError::Write(_) => {
            (S::INTERNAL_SERVER_ERROR, "not_written")
        }
    };
    if let ChangeError::Problems(problems) = error {
        let message = "the config would not be good, so nothing was written:".to_owned();
        let refusal = Refusal { problems, ..crate::requests::refusal(word, message) };
        return (status, Json(refusal)).into_response();
    }
    refused(status, word, &error.to_string())
}
