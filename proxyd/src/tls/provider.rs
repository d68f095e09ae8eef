//! Who does the cryptography. Nothing else names the crate.

use std::sync::{Arc, LazyLock};

pub(super) use ring::{aead, digest, hmac};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring as own;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(own::default_provider()));

pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}
