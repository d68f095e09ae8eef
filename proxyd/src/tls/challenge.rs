//! Certificates that are shown only to whoever asks by `acme-tls/1` (RFC 8737): proof, to an authority,
//! that a name is ours. Whoever obtains certificates puts one here for each name, and takes it away
//! afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

use super::provider::provider;

/// The protocol that such a client offers, and nothing beside it.
pub(super) const ALPN: &[u8] = b"acme-tls/1";

/// What proves a name: a certificate for it, with a digest that the authority expects. `None`: nobody gave us
/// anything to make a key from.
pub(crate) fn proof(name: &str, digest: &[u8]) -> Option<Arc<CertifiedKey>> {
    let mut params = CertificateParams::new([name.to_owned()]).ok()?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().ok()?;
    let certificate = params.self_signed(&key).ok()?;
    let signing = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signing = provider().key_provider.load_private_key(signing).ok()?;
    Some(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)))
}

/// By name, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Challenges(BTreeMap<String, Arc<CertifiedKey>>);

impl Challenges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn put(&mut self, name: &str, proof: Arc<CertifiedKey>) {
        self.0.insert(name.to_ascii_lowercase(), proof);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(&name.to_ascii_lowercase());
    }

    /// Whether a client asks for a proof.
    pub(super) fn are_asked_by(hello: &ClientHello<'_>) -> bool {
        hello.alpn().is_some_and(|mut offered| offered.any(|offer| offer == ALPN))
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.0.get(name).cloned()
    }
}
