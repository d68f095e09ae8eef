//! The certificate that the gate shows: one whose files the config names, or one of its own, which is made when it is
//! needed first and kept in `STATE_DIR/admin.pem`, for nobody but bootctl's own user to read.
//!
//! Who comes from afar knows it by its fingerprint, so nobody has to have signed it. Only TLS 1.3 is spoken.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;

use crate::durable::{self, OWN};
use crate::fingerprint::Fingerprint;

/// The file of our own: certificate and key.
const FILE: &str = "admin.pem";
/// Nobody else's business.
const OTHERS: u32 = 0o007;

/// How to speak TLS.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) fingerprint: Fingerprint,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("the key {} may be read by everybody; take that right away: chmod o= {}", .0.display(), .0.display())]
    Open(PathBuf),
    #[error("the certificate {} and the key {} cannot be used: {source}", certificate.display(), key.display())]
    Unfit { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the certificate {} cannot be kept: {source}", path.display())]
    Keep { path: PathBuf, source: io::Error },
}

/// What the config names, or our own.
pub(crate) fn identity(
    named: Option<(&Path, &Path)>,
    state_dir: &Path,
) -> Result<Identity, CertificateError> {
    let own = state_dir.join(FILE);
    if named.is_none() && !own.exists() {
        make(&own)?;
    }
    let (certificate, key) = named.unwrap_or((&own, &own));
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unread(certificate))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(unread(certificate))?;
    let first = chain.first().ok_or_else(|| CertificateError::Empty(certificate.to_owned()))?;
    let fingerprint = Fingerprint::of(first);
    let mode = fs::metadata(key).map(|about| about.permissions().mode()).unwrap_or_default();
    if mode & OTHERS != 0 {
        return Err(CertificateError::Open(key.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unread(key))?;
    let unfit = |source| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        CertificateError::Unfit { certificate, key, source }
    };
    let config = ServerConfig::builder_with_provider(default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(unfit)?;
    Ok(Identity { config: Arc::new(config), fingerprint })
}

fn make(path: &Path) -> Result<(), CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["bootctl".to_owned()])?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "bootctl admin");
    params.distinguished_name = name;
    let certificate = params.self_signed(&key)?;
    let text = certificate.pem() + &key.serialize_pem();
    durable::replace(path, text.as_bytes(), OWN)
        .map_err(|source| CertificateError::Keep { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z09_our_own_certificate_is_made_once_and_is_nobody_elses() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = identity(None, folder.path()).expect("made").fingerprint;
        assert_eq!(identity(None, folder.path()).expect("kept").fingerprint, first);
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, OWN);
        let named = identity(Some((&path, &path)), Path::new("/nowhere")).expect("named");
        assert_eq!(named.fingerprint, first);
        let other = tempfile::tempdir().expect("a folder");
        assert_ne!(identity(None, other.path()).expect("made").fingerprint, first);
    }

    #[test]
    fn z09_files_that_cannot_be_used_say_why() {
        let folder = tempfile::tempdir().expect("a folder");
        identity(None, folder.path()).expect("made");
        let good = folder.path().join(FILE);
        let bad = folder.path().join("bad.pem");
        let told = |certificate: &Path, key: &Path| {
            identity(Some((certificate, key)), folder.path()).err().map(|e| e.to_string())
        };
        assert!(told(&bad, &good).is_some_and(|why| why.contains("bad.pem")));
        durable::replace(&bad, b"nothing", OWN).expect("written");
        assert!(told(&bad, &good).is_some_and(|why| why.contains("holds no certificate")));
        assert!(told(&good, &bad).is_some_and(|why| why.contains("cannot be read")));
        fs::copy(&good, &bad).expect("copied");
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(told(&good, &bad).is_some_and(|why| why.contains("chmod o=")));
        let other = tempfile::tempdir().expect("a folder");
        identity(None, other.path()).expect("made");
        let unfit = told(&good, &other.path().join(FILE));
        assert!(unfit.is_some_and(|why| why.contains("cannot be used")));
    }
}
