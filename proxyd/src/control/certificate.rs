//! `/certificates/:name`.

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
use crate::tls::Certificate;

pub(crate) async fn get(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
) -> Result<Json<wire::CertificateView>, Failure> {
    let name = Name::parse(&name)?;
    let view = registry.look(|state| state.keyring().certificates().get(&name).map(|c| c.view()));
    view.map(Json).ok_or_else(|| Failure::NoCertificate(name.as_str().to_owned()))
}

pub(crate) async fn put(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Json<wire::Certificate>, JsonRejection>,
) -> Result<(StatusCode, Json<wire::CertificateView>), Failure> {
    let name = Name::parse(&name)?;
    let wanted = demanded_generation(&headers)?;
    let Json(wire) = body.map_err(Failure::Body)?;
    let old = registry.look(|state| state.keyring().certificates().get(&name).cloned());
    let certificate = Arc::new(Certificate::load(wire, old.as_deref())?);
    let view = certificate.view();
    let put =
        change::make(&registry, wanted, |state| Ok(state.put_certificate(&name, certificate)?));
    Ok((answer_put(put.await?), Json(view)))
}

pub(crate) async fn delete(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let name = Name::parse(&name)?;
    let wanted = demanded_generation(&headers)?;
    let deleted = change::make(&registry, wanted, |state| {
        let none = || Failure::NoCertificate(name.as_str().to_owned());
        if state.delete_certificate(&name) { Ok(()) } else { Err(none()) }
    });
    deleted.await.map(|()| StatusCode::NO_CONTENT)
}
