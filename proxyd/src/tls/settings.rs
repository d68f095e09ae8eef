//! How handshakes are made, ready for use.

use std::sync::Arc;
use std::time::Duration;

use proxyd_wire as wire;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use thiserror::Error;

use super::certificate::{self, NotACertificate};
use super::provider::{digest, provider};
use super::strict::{self, NotAnHsts};
use crate::bounds::{OutOfRange, time};
use crate::limits;
use crate::name::{Name, NotAName};

/// What is said once for all names.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// As it was put.
    pub(crate) wire: wire::Tls,
    pub(crate) default: Option<Name>,
    pub(crate) handshake_time: Duration,
    /// Verifies clients, and a digest of whom it believes.
    pub(super) clients: Option<(Arc<dyn ClientCertVerifier>, Vec<u8>)>,
    /// The field that answers get; empty if there is none.
    pub(super) hsts: Arc<[u8]>,
}

/// Why they cannot be as they were put.
#[derive(Debug, Error)]
pub(crate) enum NotATls {
    #[error("default_certificate: {0}")]
    Default(NotAName),
    #[error("{0}")]
    Range(#[from] OutOfRange),
    #[error("write `client_ca`, which is PEM, or `client_ca_file`, which is a path, and not both")]
    BothCas,
    #[error("`client_auth` says nothing without `client_ca` or `client_ca_file`: add one of them")]
    NoCa,
    #[error("`{0}`: {1}")]
    Ca(&'static str, NotACertificate),
    #[error("`{0}` has a certificate that cannot vouch for anybody: {1}")]
    Root(&'static str, rustls::server::VerifierBuilderError),
    #[error("`{0}` has a certificate that cannot be understood: {1}")]
    Damaged(&'static str, rustls::Error),
    #[error("hsts.{0}")]
    Hsts(#[from] NotAnHsts),
}

impl NotATls {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> Vec<String> {
        let keys: &[&str] = match self {
            NotATls::Default(_) => &["default_certificate"],
            NotATls::Range(error) => return error.key(),
            NotATls::BothCas => &["client_ca"],
            NotATls::NoCa => &["client_auth"],
            NotATls::Ca(key, _) | NotATls::Root(key, _) | NotATls::Damaged(key, _) => &[key],
            NotATls::Hsts(error) => &["hsts", error.key()],
        };
        keys.iter().map(|&key| key.to_owned()).collect()
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            wire: wire::Tls::default(),
            default: None,
            handshake_time: limits::HANDSHAKE_TIME,
            clients: None,
            hsts: Arc::default(),
        }
    }
}

impl Settings {
    /// Reads the file of who vouches for clients, if there is one.
    pub(crate) fn new(wire: wire::Tls) -> Result<Settings, NotATls> {
        let default = wire.default_certificate.as_deref().map(Name::parse).transpose();
        Ok(Settings {
            default: default.map_err(NotATls::Default)?,
            handshake_time: time("handshake_ms", wire.handshake_ms)?
                .unwrap_or(limits::HANDSHAKE_TIME),
            clients: clients(&wire)?,
            hsts: wire.hsts.as_ref().map(strict::line).transpose()?.unwrap_or_default(),
            wire,
        })
    }

    /// Whether they say the same, and believe the same.
    pub(crate) fn are_like(&self, other: &Settings) -> bool {
        self.wire == other.wire && self.whom() == other.whom()
    }

    /// What a resumed session must have been begun under.
    pub(super) fn whom(&self) -> &[u8] {
        self.clients.as_ref().map_or(b"", |(_, digest)| digest)
    }
}

type Clients = (Arc<dyn ClientCertVerifier>, Vec<u8>);

fn clients(wire: &wire::Tls) -> Result<Option<Clients>, NotATls> {
    let (key, text) = match (&wire.client_ca, &wire.client_ca_file) {
        (Some(_), Some(_)) => return Err(NotATls::BothCas),
        (Some(text), None) => ("client_ca", text.clone()),
        (None, Some(path)) => {
            let key = "client_ca_file";
            (key, certificate::read(key, path).map_err(|error| NotATls::Ca(key, error))?)
        }
        (None, None) if wire.client_auth == wire::ClientAuth::default() => return Ok(None),
        (None, None) => return Err(NotATls::NoCa),
    };
    let mut digest = digest::Context::new(&digest::SHA256);
    digest.update(&[u8::from(wire.client_auth == wire::ClientAuth::Optional)]);
    let mut roots = RootCertStore::empty();
    for root in certificate::certificates(key, &text).map_err(|error| NotATls::Ca(key, error))? {
        digest.update(&root);
        roots.add(root).map_err(|error| NotATls::Damaged(key, error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider()));
    let builder = match wire.client_auth {
        wire::ClientAuth::Required => builder,
        wire::ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    let verifier = builder.build().map_err(|error| NotATls::Root(key, error))?;
    Ok(Some((verifier, digest.finish().as_ref().to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(json: &str) -> Result<Settings, NotATls> {
        Settings::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, part) in [
            (r#"{"default_certificate":"a b"}"#, "default_certificate: `a b` is not a name"),
            (r#"{"handshake_ms":0}"#, "`handshake_ms` is 0"),
            (r#"{"client_ca":"","client_ca_file":"/x"}"#, "not both"),
            (r#"{"client_auth":"optional"}"#, "says nothing without `client_ca`"),
            (r#"{"client_ca":""}"#, "`client_ca`: `chain` has no certificate"),
            (r#"{"client_ca_file":"x"}"#, "which is no absolute path"),
            (r#"{"client_ca_file":"/none/there"}"#, "which cannot be read"),
            (r#"{"hsts":{"max_age":1,"preload":true}}"#, "hsts.preload needs"),
            (r#"{"hsts":{"max_age":315360001}}"#, "hsts.max_age is 315360001"),
        ] {
            let error = put(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn strict_transport_security() {
        let settings = put(r#"{"hsts":{"max_age":31536000,"subdomains":true,"preload":true}}"#);
        let line = b"Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n";
        assert_eq!(*settings.unwrap().hsts, line[..]);
        assert!(put("{}").unwrap().hsts.is_empty());
    }
}
