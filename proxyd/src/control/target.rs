//! `/services/:service/targets/:target`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;
use serde::Deserialize;

use crate::control::change::{self, answer_put, demanded_generation};
use crate::control::failure::Failure;
use crate::control::path::Path;
use crate::name::Name;
use crate::registry::Registry;
use crate::settings::check_target;
use crate::target::{Address, Target};

/// How long to wait for requests in flight.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grace {
    #[serde(default = "ten_seconds")]
    grace_ms: u32,
    /// And for streams, which are not waited for else.
    stream_grace_ms: Option<u32>,
}

impl Grace {
    pub(crate) fn of_streams(&self) -> Option<Duration> {
        self.stream_grace_ms.map(|ms| Duration::from_millis(ms.into()))
    }
}

fn ten_seconds() -> u32 {
    10_000
}

pub(crate) async fn get(
    State(registry): State<Arc<Registry>>,
    Path((service, name)): Path<(String, String)>,
) -> Result<Json<wire::TargetView>, Failure> {
    let (service, name) = (Name::parse(&service)?, Name::parse(&name)?);
    let view = registry.look(|state| state.target(&service, &name));
    view.map(Json).ok_or_else(|| no_target(&service, &name))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    Path((service, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Json<wire::Target>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::Target>), Failure> {
    let (service, name) = (Name::parse(&service)?, Name::parse(&name)?);
    let wanted = demanded_generation(&headers)?;
    let Json(target) = body.map_err(Failure::Body)?;
    let address = Address::parse(&target.address)?;
    check_target(&target)?;
    let wire = target.clone();
    let put = change::make(&registry, wanted, |state| {
        Ok(state.put_target(&service, &name, address, wire)?)
    });
    let put = put.await?;
    Ok((answer_put(put), Json(target)))
}

pub(crate) async fn delete(
    State(registry): State<Arc<Registry>>,
    Path((service, name)): Path<(String, String)>,
    headers: HeaderMap,
    grace: Result<Query<Grace>, QueryRejection>,
) -> Result<Json<wire::Drained>, Failure> {
    let (service, name) = (Name::parse(&service)?, Name::parse(&name)?);
    let wanted = demanded_generation(&headers)?;
    let Query(grace) = grace.map_err(Failure::Query)?;
    let streams = grace.of_streams();
    let target = change::begin(&registry, wanted, |state| {
        state.retire(&service, &name, streams).ok_or_else(|| no_target(&service, &name))
    })?;
    Ok(drain(&registry, &[target], &grace).await)
}

/// Idle connections are closed first, then requests in flight are waited for.
pub(crate) async fn drain(
    registry: &Registry,
    targets: &[Arc<Target>],
    grace: &Grace,
) -> Json<wire::Drained> {
    change::settle(registry).await;
    let time = Duration::from_millis(u64::from(grace.grace_ms));
    Json(registry.drain(targets, time, grace.of_streams()).await)
}

fn no_target(service: &Name, name: &Name) -> Failure {
    Failure::NoTarget(service.as_str().to_owned(), name.as_str().to_owned())
}
