//! `/acme`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use proxyd_wire as wire;
use serde::Deserialize;

use crate::acme::{Wanted, take_new};
use crate::control::change::{self, demanded_generation};
use crate::control::failure::Failure;
use crate::control::path::Path;
use crate::limits;
use crate::name::Name;
use crate::registry::Registry;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct News {
    after: Option<u64>,
    wait_ms: Option<u64>,
}

pub(crate) async fn get(
    State(registry): State<Arc<Registry>>,
    query: Result<Query<News>, QueryRejection>,
) -> Result<Json<wire::AcmeView>, Failure> {
    let Query(News { after, wait_ms }) = query.map_err(Failure::AcmeQuery)?;
    if let Some(after) = after {
        let wait = wait_ms.map_or(limits::ACME_NEWS_TIME / 2, Duration::from_millis);
        registry.acme.changed(after, wait.min(limits::ACME_NEWS_TIME)).await;
    }
    let wanted = registry.look(|state| Arc::clone(state.acme()));
    Ok(Json(registry.acme.view(&wanted)))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    body: Result<Json<wire::Acme>, JsonRejection>,
) -> Result<Json<wire::Acme>, Failure> {
    let demanded = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let wanted = Wanted::new(wire.clone())?;
    let stored = take_new(&wanted, &registry.look(crate::state::State::known));
    let put = change::make(&registry, demanded, |state| {
        state.put_acme(wanted, stored);
        Ok(())
    });
    put.await.map(|()| Json(wire))
}

pub(crate) async fn put_certificate(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::AcmeCertificate>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::AcmeCertificate>), Failure> {
    let name = Name::parse(&name)?;
    let demanded = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let (there, known) = registry.look(|state| (Arc::clone(state.acme()), state.known()));
    let stored = take_new(&there.with(&name, wire.clone())?, &known);
    let put = change::make(&registry, demanded, |state| {
        // As it is by now.
        let is_new = !state.acme().certificates.contains_key(&name);
        let wanted = state.acme().with(&name, wire.clone())?;
        state.put_acme(wanted, stored);
        Ok(if is_new { StatusCode::CREATED } else { StatusCode::OK })
    });
    Ok((put.await?, Json(wire)))
}

pub(crate) async fn delete_certificate(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let name = Name::parse(&name)?;
    let demanded = demanded_generation(&headers)?;
    let deleted = change::make(&registry, demanded, |state| {
        let none = || Failure::NoAcmeCertificate(name.as_str().to_owned());
        let wanted = state.acme().without(&name).ok_or_else(none)?;
        state.put_acme(wanted, crate::acme::Stored::default());
        Ok(())
    });
    deleted.await.map(|()| StatusCode::NO_CONTENT)
}

pub(crate) async fn renew(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let name = Name::parse(&name)?;
    if !registry.look(|state| state.acme().certificates.contains_key(&name)) {
        return Err(Failure::NoAcmeCertificate(name.as_str().to_owned()));
    }
    registry.acme.ask(name);
    Ok(StatusCode::ACCEPTED)
}

pub(crate) async fn get_challenges(
    State(registry): State<Arc<Registry>>,
) -> Json<std::collections::BTreeMap<String, wire::AcmeRecord>> {
    Json(registry.acme.zone.view())
}

pub(crate) async fn put_challenge(
    State(registry): State<Arc<Registry>>,
    Path(record): Path<String>,
    body: Result<Json<wire::AcmePlaced>, JsonRejection>,
) -> Result<StatusCode, Failure> {
    let Json(told) = body.map_err(Failure::Body)?;
    let record: String = record.chars().take(300).collect();
    registry.acme.zone.tell(&record.to_ascii_lowercase(), told)?;
    registry.acme.touch();
    Ok(StatusCode::NO_CONTENT)
}
