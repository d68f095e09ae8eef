//! `/services/:service/pause`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;

use crate::control::change::{self, answer_put, demanded_generation};
use crate::control::failure::Failure;
use crate::control::path::Path;
use crate::name::Name;
use crate::registry::Registry;
use crate::settings::check_pause;

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::Pause>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::Pause>), Failure> {
    let service = Name::parse(&service)?;
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    check_pause(&wire)?;
    let put = change::make(&registry, wanted, |state| Ok(state.put_pause(&service, &wire)?));
    Ok((answer_put(put.await?), Json(wire)))
}

pub(crate) async fn delete(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let service = Name::parse(&service)?;
    let wanted = demanded_generation(&headers)?;
    let ended = change::make(&registry, wanted, |state| {
        let not = || Failure::NotPaused(service.as_str().to_owned());
        if state.delete_pause(&service) { Ok(()) } else { Err(not()) }
    });
    ended.await.map(|()| StatusCode::NO_CONTENT)
}
