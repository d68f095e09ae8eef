//! `/services/:service/maintenance`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;

use crate::control::demanded_generation;
use crate::control::failure::Failure;
use crate::control::target::{answer_put, settle};
use crate::maintenance::Maintenance;
use crate::name::Name;
use crate::registry::Registry;

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::Maintenance>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::Maintenance>), Failure> {
    let service = Name::parse(&service)?;
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let maintenance = Maintenance::new(wire.clone())?;
    let put = registry.change(|state| {
        state.expect_generation(wanted)?;
        Ok::<_, Failure>(state.put_maintenance(&service, maintenance)?)
    })?;
    settle(&registry).await;
    Ok((answer_put(put), Json(wire)))
}

pub(crate) async fn delete(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let service = Name::parse(&service)?;
    let wanted = demanded_generation(&headers)?;
    registry.change(|state| {
        state.expect_generation(wanted)?;
        let not = || Failure::NotMaintained(service.as_str().to_owned());
        if state.delete_maintenance(&service) { Ok(()) } else { Err(not()) }
    })?;
    settle(&registry).await;
    Ok(StatusCode::NO_CONTENT)
}
