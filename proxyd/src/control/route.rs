//! `/routes/:host`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;

use crate::control::demanded_generation;
use crate::control::failure::Failure;
use crate::control::target::{answer_put, settle};
use crate::host::Host;
use crate::name::Name;
use crate::registry::Registry;

pub(crate) async fn get(
    State(registry): State<Arc<Registry>>,
    Path(host): Path<String>,
) -> Result<Json<wire::Route>, Failure> {
    let host = parse(&host)?;
    let service = registry
        .look(|state| state.route(&host).map(|service| service.as_str().to_owned()))
        .ok_or(Failure::NoRoute(host))?;
    Ok(Json(wire::Route { service }))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    Path(host): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::Route>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::Route>), Failure> {
    let host = parse(&host)?;
    let wanted = demanded_generation(&headers)?;
    let Json(route) = body.map_err(Failure::Body)?;
    let service = Name::parse(&route.service)?;
    let put = registry.change(|state| {
        state.expect_generation(wanted)?;
        Ok::<_, Failure>(state.put_route(&host, service)?)
    })?;
    settle(&registry).await;
    Ok((answer_put(put), Json(route)))
}

pub(crate) async fn delete(
    State(registry): State<Arc<Registry>>,
    Path(host): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let host = parse(&host)?;
    let wanted = demanded_generation(&headers)?;
    registry.change(|state| {
        state.expect_generation(wanted)?;
        if state.delete_route(&host) { Ok(()) } else { Err(Failure::NoRoute(host)) }
    })?;
    settle(&registry).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A host as routes are kept under it; a port is not part of one.
fn parse(text: &str) -> Result<String, Failure> {
    let wrong = || Failure::Host(text.chars().take(200).collect());
    let host = Host::parse(text.as_bytes()).ok_or_else(wrong)?;
    let has_port = text.rsplit_once(']').map_or(text, |(_, rest)| rest).contains(':');
    if has_port { Err(wrong()) } else { Ok(host.as_str().to_owned()) }
}
