//! `/services/:service`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;

use crate::control::change::{self, answer_put, demanded_generation};
use crate::control::failure::Failure;
use crate::control::path::Path;
use crate::control::target::{Grace, drain};
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
    let put = change::make(&registry, wanted, |state| Ok(state.put_service(&service, settings)?));
    Ok((answer_put(put.await?), Json(wire)))
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
    let targets = change::begin(&registry, wanted, |state| {
        let unknown = || Failure::NoService(service.as_str().to_owned());
        state.delete_service(&service, streams).ok_or_else(unknown)
    })?;
    Ok(drain(&registry, &targets, &grace).await)
}
