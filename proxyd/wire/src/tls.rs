//! Certificates, and how connections on TLS listeners are made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::is_default;

/// `PUT /certificates/:name`: a certificate for the names that it is made out to. It is shown to
/// whoever asks for one of them from the next handshake on; open connections stay as they are. Of
/// two for the same name the one that is valid for longer is shown.
///
/// Chain and key are PEM, both here, or both in files. Files are watched: what is written to them is
/// taken over as soon as the two belong together.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Certificate {
    /// The certificate, then each issuer's up to the root, which may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Its private key, which is not encrypted. No answer shows it. Left out beside a chain: the key
    /// that is there, if it belongs to that chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A file instead of `chain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_file: Option<PathBuf>,
    /// A file instead of `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// A key is in no message for people.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key.as_ref().map(|_| "(not shown)");
        f.debug_struct("Certificate")
            .field("chain", &self.chain)
            .field("key", &key)
            .field("chain_file", &self.chain_file)
            .field("key_file", &self.key_file)
            .finish()
    }
}

impl Certificate {
    /// As it may be shown.
    #[must_use]
    pub fn without_key(&self) -> Certificate {
        Certificate { key: None, ..self.clone() }
    }
}

/// `GET /certificates/:name`: a certificate as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// As it was put. `GET /state` leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// As it was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_file: Option<PathBuf>,
    /// As it was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The names that it is for; `*.` stands for one label.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
    /// The same of all that is shown: the certificate, and those of its issuers behind it.
    #[serde(default)]
    pub chain_fingerprint: String,
    /// Who has issued it, as it says itself.
    #[serde(default)]
    pub issuer: String,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

/// `PUT /tls`: how connections on TLS listeners are made, and what is told of them. It holds from the
/// next handshake on. What is left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The oldest version that is spoken.
    #[serde(skip_serializing_if = "is_default")]
    pub min_version: TlsVersion,
    /// The certificate that is shown to whoever asks for a name that there is none for, or for no name.
    /// Without: such handshakes are refused with `unrecognized_name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_certificate: Option<String>,
    /// Certificates, as PEM, of those who vouch for clients. With it clients are asked for theirs, and
    /// targets are told of it in X-Forwarded-Client-Cert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// A file instead of `client_ca`. It is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients need one.
    #[serde(skip_serializing_if = "is_default")]
    pub client_auth: ClientAuth,
    /// Whether HTTP/2 is offered (true).
    #[serde(skip_serializing_if = "is_true")]
    pub http2: bool,
    /// From the first byte of a connection to the end of its handshake (10000): more is its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_ms: Option<u64>,
    /// Whether clients are told to come by https only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            min_version: TlsVersion::default(),
            default_certificate: None,
            client_ca: None,
            client_ca_file: None,
            client_auth: ClientAuth::default(),
            http2: true,
            handshake_ms: None,
            hsts: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_true(value: &bool) -> bool {
    *value
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether a client has to show a certificate, where there is a `client_ca`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// One without is refused.
    #[default]
    Required,
    /// One without is let in. A wrong one is refused all the same.
    Optional,
}

/// Strict-Transport-Security (RFC 6797). It is said on TLS connections only, in the place of what a
/// target says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// For how many seconds it holds.
    pub max_age: u64,
    /// Whether for the hosts below, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subdomains: bool,
    /// Whether browsers may have it in their lists.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preload: bool,
}

/// `PUT /tickets`: what tickets are sealed with, by which clients resume sessions. All proxies that
/// have the same take each other's. Those of what was there before are still taken for their time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tickets {
    /// 32 bytes that nobody can guess, in Base64. No answer shows them.
    pub secret: String,
    /// When they were made, in seconds since 1970: each proxy makes the keys of each time from them, and
    /// forgets what earlier ones were made from.
    pub since: u64,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("since", &self.since).finish_non_exhaustive()
    }
}
