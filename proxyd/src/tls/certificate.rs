//! A certificate with its key, as it was put: read, understood, and found to be of one piece.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxyd_wire as wire;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::hex;
use super::provider::{digest, provider};
use crate::limits;

/// A certificate, ready to be shown.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// As it was put, with its key.
    pub(crate) wire: wire::Certificate,
    /// The names that it is for, in lower case; `*.` before a name stands for one label.
    pub(crate) names: Vec<Box<str>>,
    pub(crate) fingerprint: String,
    pub(crate) issuer: String,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) signed: Arc<CertifiedKey>,
}

/// Chain and key as PEM, wherever they came from.
pub(crate) struct Material {
    chain: String,
    key: String,
}

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub(crate) enum NotACertificate {
    #[error(
        "a certificate needs `chain` and `key`, which are PEM, or `chain_file` and `key_file`, which \
         are paths: write one of the two pairs"
    )]
    Source,
    #[error("`key` is missing, and no key that is there belongs to this `chain`: send it along")]
    NoKey,
    #[error("`{key}` is {}, which cannot be read: {source}", path.display())]
    Unreadable { key: &'static str, path: PathBuf, source: io::Error },
    #[error("`{key}` is {}, which is no absolute path: write it from the root on", path.display())]
    Relative { key: &'static str, path: PathBuf },
    #[error(
        "`chain` has no certificate in it: it begins with -----BEGIN CERTIFICATE----- in PEM; one in \
         DER becomes PEM by `openssl x509 -inform der`"
    )]
    NoChain,
    #[error("`{0}` is no whole PEM: {1}; write it anew from where it came")]
    Pem(&'static str, pem::Error),
    #[error(
        "`key` is encrypted, and nobody is there to be asked for its password: decrypt it with \
         `openssl pkey -in KEY -out PLAIN`, and let its owner alone read it"
    )]
    Encrypted,
    #[error(
        "`key` has no private key in it: it begins with -----BEGIN PRIVATE KEY----- or the like in PEM"
    )]
    NoPrivateKey,
    #[error(
        "`key` has a kind that is not known here: use ECDSA with P-256 or P-384, Ed25519, or RSA"
    )]
    Kind,
    #[error(
        "certificate {0} of `chain` cannot be understood: {1}; write it anew from where it came"
    )]
    Damaged(usize, String),
    #[error(
        "`key` is not the key of `{subject}`, which is the first certificate of `chain`: it belongs to \
         another one"
    )]
    Mismatch { subject: String },
    #[error(
        "`chain` is in the wrong order: `key` belongs to certificate {at}, `{subject}`, which must come \
         first"
    )]
    LeafNotFirst { at: usize, subject: String },
    #[error(
        "`chain` is in the wrong order: certificate {at} is `{subject}`, but the one before it was \
         issued by `{issuer}`; each must be followed by its issuer"
    )]
    Order { at: usize, subject: String, issuer: String },
    #[error("`{subject}` has expired on {day}: renew it")]
    Expired { subject: String, day: String },
    #[error(
        "`{subject}` is made out to no name and no address, so no client would believe it: have it \
         made with subject alternative names"
    )]
    NoNames { subject: String },
}

impl NotACertificate {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> Vec<String> {
        let key = match self {
            NotACertificate::Source => return Vec::new(),
            NotACertificate::Unreadable { key, .. }
            | NotACertificate::Relative { key, .. }
            | NotACertificate::Pem(key, _) => key,
            NotACertificate::NoKey
            | NotACertificate::Encrypted
            | NotACertificate::NoPrivateKey
            | NotACertificate::Kind
            | NotACertificate::Mismatch { .. } => "key",
            NotACertificate::NoChain
            | NotACertificate::Damaged(..)
            | NotACertificate::LeafNotFirst { .. }
            | NotACertificate::Order { .. }
            | NotACertificate::Expired { .. }
            | NotACertificate::NoNames { .. } => "chain",
        };
        vec![key.to_owned()]
    }
}

impl Material {
    /// Reads what is in files. `old`: the certificate of that name which is there, for a chain that
    /// comes without its key.
    pub(crate) fn read(
        wire: &wire::Certificate,
        old: Option<&Certificate>,
    ) -> Result<Material, NotACertificate> {
        match (&wire.chain, &wire.key, &wire.chain_file, &wire.key_file) {
            (Some(chain), Some(key), None, None) => {
                Ok(Material { chain: chain.clone(), key: key.clone() })
            }
            (Some(chain), None, None, None) => {
                let key = old.and_then(|old| old.wire.key.clone());
                let key = key.ok_or(NotACertificate::NoKey)?;
                Ok(Material { chain: chain.clone(), key })
            }
            (None, None, Some(chain), Some(key)) => {
                Ok(Material { chain: read("chain_file", chain)?, key: read("key_file", key)? })
            }
            _ => Err(NotACertificate::Source),
        }
    }
}

/// Reads a file of PEM.
pub(super) fn read(key: &'static str, path: &Path) -> Result<String, NotACertificate> {
    if !path.is_absolute() {
        return Err(NotACertificate::Relative { key, path: path.to_owned() });
    }
    let mut text = Vec::new();
    let most = limits::PEM as u64 + 1;
    let unreadable = |source| NotACertificate::Unreadable { key, path: path.to_owned(), source };
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut text)).map_err(unreadable)?;
    if text.len() > limits::PEM {
        let source = io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB");
        return Err(unreadable(source));
    }
    // What is around the sections may be in any encoding.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Certificate {
    /// `now`, in seconds since 1970: refuses one that has expired by then.
    pub(crate) fn new(
        mut wire: wire::Certificate,
        material: Material,
        now: Option<i64>,
    ) -> Result<Certificate, NotACertificate> {
        let chain = certificates("chain", &material.chain)?;
        let key = private_key(&material.key)?;
        if wire.chain.is_some() {
            wire.key = Some(material.key);
        }
        let signing =
            provider().key_provider.load_private_key(key).map_err(|_| NotACertificate::Kind)?;
        let mut parsed = Vec::new();
        for (at, certificate) in chain.iter().enumerate() {
            let (_, found) = X509Certificate::from_der(certificate)
                .map_err(|error| NotACertificate::Damaged(at + 1, error.to_string()))?;
            parsed.push(found);
        }
        let leaf = parsed.first().ok_or(NotACertificate::NoChain)?;
        let subject = || subject_of(leaf);
        let key_info = signing.public_key();
        let is_of = |certificate: &X509Certificate<'_>| {
            key_info.as_ref().is_none_or(|info| info.as_ref() == certificate.public_key().raw)
        };
        if !is_of(leaf) {
            let owner = parsed.iter().enumerate().find(|(_, certificate)| is_of(certificate));
            return Err(match owner {
                Some((at, owner)) => {
                    NotACertificate::LeafNotFirst { at: at + 1, subject: subject_of(owner) }
                }
                None => NotACertificate::Mismatch { subject: subject() },
            });
        }
        for (at, pair) in parsed.windows(2).enumerate() {
            if let [issued, issuer] = pair
                && issued.issuer().as_raw() != issuer.subject().as_raw()
            {
                return Err(NotACertificate::Order {
                    at: at + 2,
                    subject: subject_of(issuer),
                    issuer: issued.issuer().to_string(),
                });
            }
        }
        let not_after = leaf.validity().not_after.timestamp();
        if now.is_some_and(|now| now > not_after) {
            return Err(NotACertificate::Expired { subject: subject(), day: day(not_after) });
        }
        let (names, has_addresses) = names_of(leaf);
        if names.is_empty() && !has_addresses {
            return Err(NotACertificate::NoNames { subject: subject() });
        }
        let not_before = leaf.validity().not_before.timestamp();
        let fingerprint = chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default();
        let issuer = leaf.issuer().to_string();
        let signed = CertifiedKey::new(chain, signing);
        match signed.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(NotACertificate::Damaged(1, error.to_string())),
        }
        let signed = Arc::new(signed);
        Ok(Certificate { wire, names, fingerprint, issuer, not_before, not_after, signed })
    }

    /// Reads its files, and looks at it as of now.
    pub(crate) fn load(
        wire: wire::Certificate,
        old: Option<&Certificate>,
    ) -> Result<Certificate, NotACertificate> {
        let material = Material::read(&wire, old)?;
        Certificate::new(wire, material, Some(OffsetDateTime::now_utc().unix_timestamp()))
    }

    /// Whether it says and shows the same.
    pub(crate) fn is_like(&self, other: &Certificate) -> bool {
        self.wire == other.wire && self.signed.cert == other.signed.cert
    }

    fn chain_fingerprint(&self) -> String {
        let mut all = digest::Context::new(&digest::SHA256);
        for certificate in &self.signed.cert {
            all.update(certificate);
        }
        hex(all.finish().as_ref())
    }

    /// When it ends.
    pub(crate) fn last_day(&self) -> String {
        day(self.not_after)
    }

    pub(crate) fn view(&self) -> wire::CertificateView {
        wire::CertificateView {
            chain: self.wire.chain.clone(),
            chain_file: self.wire.chain_file.clone(),
            key_file: self.wire.key_file.clone(),
            names: self.names.iter().map(ToString::to_string).collect(),
            fingerprint: self.fingerprint.clone(),
            chain_fingerprint: self.chain_fingerprint(),
            issuer: self.issuer.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

/// All certificates of a PEM text; there is at least one.
pub(super) fn certificates(
    key: &'static str,
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, NotACertificate> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| NotACertificate::Pem(key, error))?;
    if found.is_empty() { Err(NotACertificate::NoChain) } else { Ok(found) }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, NotACertificate> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(NotACertificate::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => NotACertificate::NoPrivateKey,
        error => NotACertificate::Pem("key", error),
    })
}

fn subject_of(certificate: &X509Certificate<'_>) -> String {
    let (names, _) = names_of(certificate);
    names.first().map_or_else(|| certificate.subject().to_string(), ToString::to_string)
}

/// The names of hosts, and whether there are addresses, too.
fn names_of(certificate: &X509Certificate<'_>) -> (Vec<Box<str>>, bool) {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let has_addresses = names.iter().any(|name| matches!(name, GeneralName::IPAddress(_)));
    let hosts = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into_boxed_str()),
        _ => None,
    });
    (hosts.collect(), has_addresses)
}

pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    hex(digest.as_ref())
}

fn day(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    time.map_or_else(|_| "a day that no calendar has".to_owned(), |time| time.date().to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn params(names: &[&str]) -> CertificateParams {
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
                .unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        params
    }

    /// Chain and key.
    fn self_signed(params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn wire(chain: &str, key: &str) -> wire::Certificate {
        let (chain, key) = (Some(chain.to_owned()), Some(key.to_owned()));
        wire::Certificate { chain, key, ..wire::Certificate::default() }
    }

    /// A certificate for some names.
    pub(in crate::tls) fn made(names: &[&str]) -> Certificate {
        let (chain, key) = self_signed(&params(names));
        Certificate::load(wire(&chain, &key), None).unwrap()
    }

    fn refused(chain: &str, key: &str) -> String {
        Certificate::load(wire(chain, key), None).unwrap_err().to_string()
    }

    #[test]
    fn o21_what_is_wrong_with_a_pair_is_told() {
        let (chain, key) = self_signed(&params(&["a.test"]));
        let (other, other_key) = self_signed(&params(&["b.test"]));
        let mut ca = params(&["ca.test"]);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = params(&["leaf.test"]).signed_by(&leaf_key, &ca).unwrap().pem();
        let (ca_pem, leaf_key) = (ca.pem(), leaf_key.serialize_pem());
        assert!(Certificate::load(wire(&format!("{leaf}{ca_pem}"), &leaf_key), None).is_ok());
        let mut old = params(&["old.test"]);
        old.not_after = rcgen::date_time_ymd(2020, 2, 3);
        let (old, old_key) = self_signed(&old);
        let (nobody, nobody_key) = self_signed(&params(&[]));
        let damaged = chain.replacen("MI", "AA", 1);
        for (chain, key, part) in [
            ("", &*key, "`chain` has no certificate in it"),
            (&*chain, "", "`key` has no private key in it"),
            (&chain, &chain, "`key` has no private key in it"),
            (&chain, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "`key` is encrypted"),
            (&chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n", "`key` is no whole PEM"),
            (
                &chain,
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
                "`key` is encrypted",
            ),
            (
                &chain,
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "has a kind that is not known",
            ),
            (&chain, &other_key, "`key` is not the key of `a.test`"),
            (&format!("{ca_pem}{leaf}"), &leaf_key, "`key` belongs to certificate 2, `leaf.test`"),
            (&format!("{leaf}{other}"), &leaf_key, "certificate 2 is `b.test`, but the one before"),
            (&old, &old_key, "`old.test` has expired on 2020-02-03"),
            (&nobody, &nobody_key, "is made out to no name"),
            (&damaged, &key, "certificate 1 of `chain` cannot be understood"),
        ] {
            let said = refused(chain, key);
            assert!(said.contains(part), "{said}\n{part}");
            assert!(!said.contains(key.lines().nth(1).unwrap_or("-none-")), "no key is told");
        }
        let missing = Certificate::load(wire::Certificate::default(), None).unwrap_err();
        assert!(missing.to_string().contains("write one of the two pairs"));
    }

    #[test]
    fn a_chain_alone_goes_with_the_key_that_is_there() {
        let there = made(&["a.test"]);
        let alone = there.wire.without_key();
        let again = Certificate::load(alone.clone(), Some(&there)).unwrap();
        assert!(again.is_like(&there));
        assert!(Certificate::load(alone, None).unwrap_err().to_string().contains("send it along"));
        let other = made(&["b.test"]).wire.without_key();
        let refused = Certificate::load(other, Some(&there)).unwrap_err().to_string();
        assert!(refused.contains("`key` is not the key of `b.test`"), "{refused}");
    }

    #[test]
    fn no_debug_output_shows_a_key() {
        let made = made(&["a.test"]);
        let shown = format!("{made:?} {:?}", made.wire);
        assert!(!shown.contains(made.wire.key.unwrap().lines().nth(1).unwrap()), "{shown}");
    }
}
