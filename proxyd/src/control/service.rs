//! `/services/:service`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;

use crate::control::demanded_generation;
use crate::control::failure::Failure;
use crate::control::target::{Grace, answer_put, drain, settle};
use crate::name::Name;
use crate::registry::Registry;
use crate::settings::Settings;

pub(crate) async fn get(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
) -> Result<Json<wire::ServiceView>, Failure> {
    let service = Name::parse(&service)?;
    let view = registry.look(|state| state.view().services.remove(service.as_str()));
    view.map(Json).ok_or_else(|| Failure::NoService(service.as_str().to_owned()))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::Service>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::Service>), Failure> {
    let service = Name::parse(&service)?;
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let settings = Settings::new(wire.clone())?;
    let put = registry.change(|state| {
        state.expect_generation(wanted)?;
        Ok::<_, Failure>(state.put_service(&service, settings)?)
    })?;
    settle(&registry).await;
    Ok((answer_put(put), Json(wire)))
}

pub(crate) async fn delete(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
    headers: HeaderMap,
    grace: Result<Query<Grace>, QueryRejection>,
) -> Result<Json<wire::Drained>, Failure> {
    let service = Name::parse(&service)?;
    let wanted = demanded_generation(&headers)?;
    let Query(grace) = grace.map_err(Failure::Query)?;
    let streams = grace.of_streams();
    let targets = registry.change(|state| {
        state.expect_generation(wanted)?;
        let unknown = || Failure::NoService(service.as_str().to_owned());
        state.delete_service(&service, streams).ok_or_else(unknown)
    })?;
    Ok(drain(&registry, &targets, &grace).await)
}
