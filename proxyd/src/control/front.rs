//! `/front`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::HeaderMap;
use proxyd_wire as wire;

use crate::control::change::{self, demanded_generation};
use crate::control::failure::Failure;
use crate::front::Front;
use crate::registry::Registry;

pub(crate) async fn get(State(registry): State<Arc<Registry>>) -> Json<wire::Front> {
    Json(registry.look(|state| state.front().wire.clone()))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    body: Result<Json<wire::Front>, JsonRejection>,
) -> Result<Json<wire::Front>, Failure> {
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let front = Front::new(wire.clone())?;
    let put = change::make(&registry, wanted, |state| {
        state.put_front(front);
        Ok(())
    });
    put.await.map(|()| Json(wire))
}
