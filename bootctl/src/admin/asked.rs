//! What a request says in its path and behind the `?`, refused as everything else is: a body of JSON that says what
//! is wrong.

use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::refused;

/// A part of the path, or several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|error: PathRejection| {
            let message = format!("the path makes no sense: {}", error.body_text());
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_path", &message)
        })
    }
}

/// What stands behind the `?`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(value)| Self(value)).map_err(|error: QueryRejection| {
            let message = format!("the query makes no sense: {}", error.body_text());
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_query", &message)
        })
    }
}

/// How long a body may take, which is small.
const BODY: Duration = Duration::from_mins(1);

/// A body, whatever it is.
#[derive(Clone, Debug)]
pub(super) struct Sent(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Ok(bytes) = timeout(BODY, Bytes::from_request(request, state)).await else {
            let message = format!("the body has not come as a whole within {BODY:?}");
            return Err(refused(StatusCode::REQUEST_TIMEOUT, "too_slow", &message));
        };
        bytes.map(Self).map_err(|error: BytesRejection| {
            let message = format!("the body cannot be read: {}", error.body_text());
            refused(error.status(), "bad_body", &message)
        })
    }
}

/// A body that is a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Sent(bytes) = Sent::from_request(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let message = format!("the body makes no sense: {error}");
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", &message)
        })
    }
}
