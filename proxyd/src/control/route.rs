//! `/routes/:host` and `/routes/:host/:prefix`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;

use crate::control::change::{self, answer_put, demanded_generation};
use crate::control::failure::Failure;
use crate::control::path::Path;
use crate::registry::Registry;
use crate::route::{Key, Route};

pub(crate) async fn get(
    State(registry): State<Arc<Registry>>,
    Path(key): Path<String>,
) -> Result<Json<wire::Route>, Failure> {
    let key = Key::parse(&key)?;
    let route = registry.look(|state| state.route(&key).map(|route| route.wire.clone()));
    route.map(Json).ok_or(Failure::NoRoute(key))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::Route>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::Route>), Failure> {
    let key = Key::parse(&key)?;
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let mut route = Route::new(key, wire.clone())?;
    route.read_pages()?;
    let put = change::make(&registry, wanted, |state| Ok(state.put_route(route)?));
    Ok((answer_put(put.await?), Json(wire)))
}

pub(crate) async fn delete(
    State(registry): State<Arc<Registry>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let key = Key::parse(&key)?;
    let wanted = demanded_generation(&headers)?;
    let deleted = change::make(&registry, wanted, |state| {
        if state.delete_route(&key) { Ok(()) } else { Err(Failure::NoRoute(key)) }
    });
    deleted.await.map(|()| StatusCode::NO_CONTENT)
}
