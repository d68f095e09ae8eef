//! `/config`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header::ETAG;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use proxyd_wire as wire;
use time::OffsetDateTime;

use crate::config::{Changes, Config};
use crate::control::change::{self, demanded_generation};
use crate::control::failure::Failure;
use crate::registry::Registry;

type Tag = [(HeaderName, String); 1];

fn tag(generation: u64) -> Tag {
    [(ETAG, format!("\"{generation}\""))]
}

pub(crate) async fn get(State(registry): State<Arc<Registry>>) -> (Tag, Json<wire::Config>) {
    let (generation, config) = registry.look(|state| (state.generation(), state.shown_config()));
    (tag(generation), Json(config))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    body: Result<Json<wire::Config>, JsonRejection>,
) -> Result<(StatusCode, Tag), Failure> {
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let mut config = Config::new(wire).map_err(Failure::Config)?;
    let old = registry.look(|state| state.keyring().certificates().clone());
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut unreadable = config.read_pages();
    unreadable.extend(config.read_certificates(&old, Some(now)));
    if !unreadable.is_empty() {
        return Err(Failure::Config(unreadable));
    }
    config.take_obtained(&registry.look(crate::state::State::known));
    let generation = change::make(&registry, wanted, |state| {
        state.replace(config)?;
        Ok(state.generation())
    });
    Ok((StatusCode::NO_CONTENT, tag(generation.await?)))
}

pub(crate) async fn patch(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    body: Result<Json<wire::Changes>, JsonRejection>,
) -> Result<(StatusCode, Tag), Failure> {
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let mut changes = Changes::new(wire).map_err(Failure::Config)?;
    let old = registry.look(|state| state.keyring().certificates().clone());
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut unreadable = changes.read_pages();
    unreadable.extend(changes.read_certificates(&old, Some(now)));
    if !unreadable.is_empty() {
        return Err(Failure::Config(unreadable));
    }
    changes.take_obtained(&registry.look(crate::state::State::known));
    let generation = change::make(&registry, wanted, |state| {
        state.amend(changes)?;
        Ok(state.generation())
    });
    Ok((StatusCode::NO_CONTENT, tag(generation.await?)))
}
