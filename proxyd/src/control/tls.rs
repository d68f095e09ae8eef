//! `/tls` and `/tickets`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;

use crate::control::change::{self, demanded_generation};
use crate::control::failure::Failure;
use crate::registry::Registry;
use crate::tls::{Secret, Settings};

pub(crate) async fn get(State(registry): State<Arc<Registry>>) -> Json<wire::Tls> {
    Json(registry.look(|state| state.keyring().settings.wire.clone()))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    body: Result<Json<wire::Tls>, JsonRejection>,
) -> Result<Json<wire::Tls>, Failure> {
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let settings = Settings::new(wire.clone())?;
    let put = change::make(&registry, wanted, |state| {
        state.put_tls(settings);
        Ok(())
    });
    put.await.map(|()| Json(wire))
}

pub(crate) async fn put_tickets(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    body: Result<Json<wire::Tickets>, JsonRejection>,
) -> Result<StatusCode, Failure> {
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let secret = Secret::new(&wire)?;
    let put = change::make(&registry, wanted, |state| {
        state.put_tickets(secret);
        Ok(())
    });
    put.await.map(|()| StatusCode::NO_CONTENT)
}
