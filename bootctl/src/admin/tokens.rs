//! The part of the admin API that is about tokens of remote administrators; see [`super`] for the rest.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /tokens` | shows which there are, not what they are | 200 `TokensView` |
//! | `PUT /tokens/{name}` | makes one, `?grant=read` or `control`; it is in the answer and nowhere else | 201 `TokenView`, 409 taken, 422 no name |
//! | `DELETE /tokens/{name}` | revokes one | 200 `TokenView`, 404 |

use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::asked::{Asked, Named};
use super::route::{Gives, Key, Kind, Route};
use super::{Door, refused};
use crate::access::Grant;
use crate::access::register::{Entry, Register, RegisterError};
use crate::audit::now;

/// All that may be asked here.
pub(super) const ROUTES: &[Route] = &[
    Route::look("GET /tokens", "shows which there are, not what they are", Gives::Tokens),
    Route::look(
        "PUT /tokens/{name}",
        "makes one, `?grant=read` or `control`; it is in the answer and nowhere else",
        Gives::NewToken,
    )
    .asking(&[GRANT])
    .refusing(&[409, 422]),
    Route::look("DELETE /tokens/{name}", "revokes one", Gives::Token).refusing(&[404]),
];

const GRANT: Key =
    Key { name: "grant", means: "what it is good for", kind: Kind::Word(&["read", "control"]) };

/// `GET /tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokensView {
    pub(crate) tokens: Vec<TokenView>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenView {
    pub(crate) name: String,
    pub(crate) grant: Grant,
    /// When it was made: RFC 3339, UTC.
    pub(crate) made: String,
    /// The token itself, only in the answer to whoever has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// Where what is kept is.
#[derive(Clone, Debug)]
pub(super) struct Kept(pub(super) PathBuf);

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/tokens", get(list)).route("/tokens/{name}", put(make).delete(revoke))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    grant: Option<Grant>,
}

async fn list(Extension(Kept(folder)): Extension<Kept>) -> Response {
    match Register::open(&folder) {
        Ok(register) => {
            let tokens = register.entries().map(|entry| view(entry, None)).collect();
            Json(TokensView { tokens }).into_response()
        }
        Err(error) => answered(&error),
    }
}

async fn make(
    Extension(Kept(folder)): Extension<Kept>,
    Named(name): Named<String>,
    Asked(wish): Asked<Wish>,
) -> Response {
    // What is the least that helps is the default.
    let grant = wish.grant.unwrap_or(Grant::Read);
    let made = Register::open(&folder).and_then(|mut register| {
        let secret = register.add(&name, grant, now())?;
        Ok(register.entries().last().map(|entry| view(entry, Some(secret.text()))))
    });
    match made {
        Ok(view) => (StatusCode::CREATED, Json(view)).into_response(),
        Err(error) => answered(&error),
    }
}

async fn revoke(Extension(Kept(folder)): Extension<Kept>, Named(name): Named<String>) -> Response {
    match Register::open(&folder).and_then(|mut register| register.revoke(&name)) {
        Ok(entry) => Json(view(&entry, None)).into_response(),
        Err(error) => answered(&error),
    }
}

fn view(entry: &Entry, token: Option<String>) -> TokenView {
    let Entry { name, grant, made, .. } = entry;
    TokenView { name: name.clone(), grant: *grant, made: made.clone(), token }
}

fn answered(error: &RegisterError) -> Response {
    let (status, word) = match error {
        RegisterError::Name(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_name"),
        RegisterError::Taken(_) => (StatusCode::CONFLICT, "taken"),
        RegisterError::Full => (StatusCode::CONFLICT, "full"),
        RegisterError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_token"),
        RegisterError::Read { .. }
        | RegisterError::Corrupt { .. }
        | RegisterError::Version { .. }
        | RegisterError::Seal { .. }
        | RegisterError::Write { .. }
        | RegisterError::Random(_) => (StatusCode::INTERNAL_SERVER_ERROR, "no_tokens"),
    };
    refused(status, word, &error.to_string())
}
