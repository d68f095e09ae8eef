//! How authorities are asked: over HTTPS, bounded in time and size, and with an ear for when they want to be
//! asked again.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::timeout;

use super::failure::{Cause, Failure};
use super::plan::Time;
use crate::limits;
use crate::tls;

/// Why an authority has not answered.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    #[error("{address}: {source}")]
    Connection { address: Uri, source: hyper_util::client::legacy::Error },
    #[error("{address} has not answered in time")]
    Slow { address: Uri },
    #[error("{address}: the answer broke off, or is too long")]
    Answer { address: Uri },
}

impl Unanswered {
    pub(super) fn cause(&self) -> Cause {
        match self {
            Unanswered::Connection { source, .. } if is_untrusted(source) => Cause::Trust,
            Unanswered::Connection { .. } | Unanswered::Slow { .. } | Unanswered::Answer { .. } => {
                Cause::Authority
            }
        }
    }

    /// With what it comes from, since that says what is wrong.
    pub(super) fn words(&self) -> String {
        let mut words = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let more = error.to_string();
            if !words.ends_with(&more) {
                words = format!("{words}: {more}");
            }
            source = error.source();
        }
        words
    }
}

/// Whether its certificate is what is wrong, however that is wrapped.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // What an I/O error holds is not what it says that it comes from.
    let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match held {
        Some(held) => is_untrusted(held),
        None => error.source().is_some_and(is_untrusted),
    }
}

/// Connections to one authority.
#[derive(Clone)]
pub(super) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// When it wants to be asked again, as its last refusal said.
    retry_after: Arc<Mutex<Option<Time>>>,
}

impl Web {
    /// `root_file`: who vouches for it, in the place of those whom the system believes.
    pub(super) fn new(root_file: Option<&Path>) -> Result<Web, Failure> {
        let trust = |said: String| Failure::new(Cause::Trust, said);
        let mut roots = RootCertStore::empty();
        if let Some(path) = root_file {
            let unreadable = |error: &dyn std::fmt::Display| {
                trust(format!("root_file {} cannot be used: {error}", path.display()))
            };
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
            for root in found {
                let root = root.map_err(|error| unreadable(&error))?;
                roots.add(root).map_err(|error| unreadable(&error))?;
            }
        } else {
            // One that cannot be read is as good as none.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err(trust("there is no root certificate at all".to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::clone(tls::provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| trust(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Web { client, retry_after: Arc::default() })
    }

    /// What the last refusal said of that, in seconds from now on.
    pub(super) fn retry_after(&self, now: Time) -> Option<Time> {
        let mut after = self.retry_after.lock().unwrap_or_else(PoisonError::into_inner);
        after.take().map(|at| at.saturating_sub(now).max(0))
    }
}

/// Seconds, or a date.
fn when(value: &header::HeaderValue) -> Option<Time> {
    let text = value.to_str().ok()?.trim();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = Time::try_from(now).unwrap_or(Time::MAX);
    match text.parse::<Time>() {
        Ok(seconds) => Some(now.saturating_add(seconds)),
        // A date in mail has another word for the same zone.
        Err(_) => OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822)
            .ok()
            .map(OffsetDateTime::unix_timestamp),
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let web = self.clone();
        Box::pin(async move {
            let address = request.uri().clone();
            let slow = Unanswered::Slow { address: address.clone() };
            let answer = timeout(limits::ACME_ANSWER_TIME, web.ask(request, address)).await;
            answer.unwrap_or(Err(slow)).map_err(|unanswered| Error::Other(Box::new(unanswered)))
        })
    }
}

impl Web {
    async fn ask(
        &self,
        request: Request<BodyWrapper<Bytes>>,
        address: Uri,
    ) -> Result<BytesResponse, Unanswered> {
        let (parts, body) = request.into_parts();
        // What is asked is in memory already, and never fails.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        let request = Request::from_parts(parts, Full::new(body.unwrap_or_default()));
        let answer = self.client.request(request).await;
        let answer =
            answer.map_err(|source| Unanswered::Connection { address: address.clone(), source })?;
        let (parts, body) = answer.into_parts();
        if !parts.status.is_success() {
            let after = parts.headers.get(header::RETRY_AFTER).and_then(when);
            *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = after;
        }
        let body = Limited::new(body, limits::ACME_ANSWER).collect().await;
        let body = body.map_err(|_| Unanswered::Answer { address })?.to_bytes();
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_authority_wants_to_be_asked_again() {
        let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let at = |text: &str| when(&text.parse().unwrap());
        assert!((now + 120..now + 130).contains(&at("120").unwrap()));
        assert_eq!(at("Wed, 21 Oct 2026 07:28:00 GMT"), Some(1_792_567_680));
        assert_eq!(at("soon"), None);
    }
}
