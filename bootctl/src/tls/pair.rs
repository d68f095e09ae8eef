//! A certificate and its key, as two files have them: read, and found to belong together.
//!
//! The proxy looks at them once more, and more closely. What is found here is told before anything is changed, in the
//! words of the file that names them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use rustls::InconsistentKeys;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Files;

/// More than any chain has.
const MOST: u64 = 1 << 20;
/// What others may do with a key.
const OTHERS: u32 = 0o007;

/// Them.
#[derive(PartialEq, Eq)]
pub(crate) struct Pair {
    /// PEM.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
    /// The hosts that it is made out to, in lower case; `*.` stands for one label.
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    /// In seconds since 1970.
    pub(crate) not_after: i64,
    /// What the whole chain is known by, as the proxy tells it.
    pub(crate) fingerprint: String,
}

/// A key is in no message.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Certificate,
    Key,
}

/// Why they cannot be used, or will most likely not do. Reads on after the key that names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("is {}, which cannot be read: {why}", path.display())]
    Unreadable { part: Part, path: PathBuf, why: io::ErrorKind },
    #[error("is {}, which is larger than 1 MiB: it is something else", path.display())]
    Large { part: Part, path: PathBuf },
    #[error(
        "is {}, which holds no certificate: that begins with -----BEGIN CERTIFICATE-----",
        .0.display()
    )]
    NoCertificate(PathBuf),
    #[error("is {}, which is damaged: {why}; write it anew from where it came", path.display())]
    Damaged { part: Part, path: PathBuf, why: String },
    #[error(
        "is {}, which holds no private key: that begins with -----BEGIN PRIVATE KEY----- or the like",
        .0.display()
    )]
    NoKey(PathBuf),
    #[error(
        "is {}, which is encrypted, and nobody is there to be asked for the password: `openssl pkey -in {} -out …` \
         decrypts it", .0.display(), .0.display()
    )]
    Encrypted(PathBuf),
    #[error(
        "is {}, whose kind is not known here: use ECDSA with P-256 or P-384, Ed25519, or RSA",
        .0.display()
    )]
    Kind(PathBuf),
    #[error("is {}, which is not the key of {}: it belongs to another certificate", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
    #[error("is {}, which has expired on {day}: renew it", path.display())]
    Expired { path: PathBuf, day: String },
    #[error("is {}, which is made out to no host, so no client would believe it", .0.display())]
    NoNames(PathBuf),
    #[error("is {}, which everybody may read: `chmod o= {}` takes that right away", .0.display(), .0.display())]
    Open(PathBuf),
    #[error("is {}, which is not made out to {}; it is for {}", path.display(), hosts.join(", "), names.join(", "))]
    Elsewhere { path: PathBuf, hosts: Vec<String>, names: Vec<String> },
}

impl Unfit {
    /// Which file is at fault.
    pub(crate) fn part(&self) -> Part {
        match self {
            Self::Unreadable { part, .. }
            | Self::Large { part, .. }
            | Self::Damaged { part, .. } => *part,
            Self::NoKey(_)
            | Self::Encrypted(_)
            | Self::Kind(_)
            | Self::Mismatch { .. }
            | Self::Open(_) => Part::Key,
            Self::NoCertificate(_)
            | Self::Expired { .. }
            | Self::NoNames(_)
            | Self::Elsewhere { .. } => Part::Certificate,
        }
    }
}

impl Pair {
    /// What is in the files. `known`: what was in them before, which need not be understood once more.
    pub(crate) fn read(files: &Files, known: Option<&Pair>) -> Result<Option<Self>, Unfit> {
        let chain = text(Part::Certificate, &files.certificate)?;
        let key = text(Part::Key, &files.key)?;
        if known.is_some_and(|known| known.chain == chain && known.key == key) {
            return Ok(None);
        }
        Self::new(files, chain, key).map(Some)
    }

    fn new(files: &Files, chain: String, key: String) -> Result<Self, Unfit> {
        let Files { certificate: path, key: key_path } = files;
        let damaged = |part, why: String| {
            let path = if part == Part::Key { key_path } else { path };
            Unfit::Damaged { part, path: path.clone(), why }
        };
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let certificates = certificates.map_err(|e| damaged(Part::Certificate, e.to_string()))?;
        let leaf = certificates.first().ok_or_else(|| Unfit::NoCertificate(path.clone()))?;
        let (_, leaf) = X509Certificate::from_der(leaf)
            .map_err(|error| damaged(Part::Certificate, error.to_string()))?;
        let names = names(&leaf);
        let (issuer, not_after) = (issuer(&leaf), leaf.validity().not_after.timestamp());
        let mut all = Context::new(&SHA256);
        for certificate in &certificates {
            all.update(certificate);
        }
        let fingerprint = hex(all.finish().as_ref());
        if key.contains("BEGIN ENCRYPTED PRIVATE KEY") || key.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(Unfit::Encrypted(key_path.clone()));
        }
        let secret =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| match error {
                pem::Error::NoItemsFound => Unfit::NoKey(key_path.clone()),
                error => damaged(Part::Key, error.to_string()),
            })?;
        let signing = default_provider().key_provider.load_private_key(secret);
        let signing = signing.map_err(|_| Unfit::Kind(key_path.clone()))?;
        match CertifiedKey::new(certificates.clone(), signing).keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let (key, certificate) = (key_path.clone(), path.clone());
                return Err(Unfit::Mismatch { key, certificate });
            }
        }
        if names.is_empty() {
            return Err(Unfit::NoNames(path.clone()));
        }
        Ok(Self { chain, key, names, issuer, not_after, fingerprint })
    }

    /// Whether its time is over.
    pub(crate) fn is_over(&self, now: i64) -> bool {
        self.not_after < now
    }
}

/// Why a pair that can be used should not be as it is.
pub(crate) fn is_open(key: &Path) -> Option<Unfit> {
    let mode = fs::metadata(key).map_or(0, |about| about.permissions().mode());
    (mode & OTHERS != 0).then(|| Unfit::Open(key.to_owned()))
}

/// The text of a file.
pub(super) fn text(part: Part, path: &Path) -> Result<String, Unfit> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    let unreadable =
        |error: io::Error| Unfit::Unreadable { part, path: path.to_owned(), why: error.kind() };
    let length = read.map_err(unreadable)?;
    if length as u64 > MOST {
        return Err(Unfit::Large { part, path: path.to_owned() });
    }
    // What is around the sections may be in any encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let hosts = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    hosts.collect()
}

/// The shortest that people know it by.
fn issuer(certificate: &X509Certificate<'_>) -> String {
    let issuer = certificate.issuer();
    let organization = issuer.iter_organization().next().and_then(|name| name.as_str().ok());
    let common = issuer.iter_common_name().next().and_then(|name| name.as_str().ok());
    match (organization, common) {
        (Some(organization), Some(common)) => format!("{organization} {common}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => issuer.to_string(),
    }
}

/// A day, for people.
pub(crate) fn day(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    time.map_or_else(|_| "a day that no calendar has".to_owned(), |time| time.date().to_string())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    /// Chain and key for some names, valid until a year begins.
    pub(crate) fn made(names: &[&str], year: i32) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "somebody");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
    }

    /// The files of a pair in a folder.
    pub(crate) fn written(folder: &Path, name: &str, (chain, key): &(String, String)) -> Files {
        let files = Files {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&files.certificate, chain).expect("written");
        fs::write(&files.key, key).expect("written");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("ours");
        files
    }

    #[test]
    fn o21_a_pair_tells_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = made(&["Shop.Example", "*.shop.example"], 2099);
        let files = written(folder.path(), "good", &good);
        let pair = Pair::read(&files, None).expect("good").expect("new");
        assert_eq!(pair.names, ["shop.example", "*.shop.example"]);
        assert_eq!((day(pair.not_after), pair.issuer.as_str()), ("2099-01-01".into(), "somebody"));
        assert_eq!(pair.fingerprint.len(), 64);
        assert_eq!(Pair::read(&files, Some(&pair)).expect("good"), None, "it is known");
        assert!(!pair.is_over(pair.not_after) && pair.is_over(pair.not_after + 1));
        assert_eq!(is_open(&files.key), None);
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).expect("ours");
        assert_eq!(is_open(&files.key), Some(Unfit::Open(files.key.clone())));
        let shown = format!("{pair:?}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }

    #[test]
    fn o21_what_is_wrong_is_told_of_the_file_that_it_is_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let (chain, key) = made(&["a.test"], 2099);
        let (_, other) = made(&["a.test"], 2099);
        let (nobody, nobody_key) = made(&[], 2099);
        let cases: [(&str, &str, Part, &str); 8] = [
            ("", &key, Part::Certificate, "holds no certificate"),
            (&chain, "", Part::Key, "holds no private key"),
            (&chain, &other, Part::Key, "it belongs to another certificate"),
            (&chain, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n", Part::Key, "is encrypted"),
            (&chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n", Part::Key, "is damaged"),
            (
                &chain,
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                Part::Key,
                "whose kind is not known",
            ),
            (&chain.replacen("MI", "AA", 1), &key, Part::Certificate, "is damaged"),
            (&nobody, &nobody_key, Part::Certificate, "is made out to no host"),
        ];
        for (chain, key, part, words) in cases {
            let files = written(folder.path(), "x", &(chain.to_owned(), key.to_owned()));
            let unfit = Pair::read(&files, None).expect_err(words);
            let told = unfit.to_string();
            assert!(unfit.part() == part && told.contains(words), "{told}");
            assert!(!told.contains(key.lines().nth(1).unwrap_or("-none-")), "no key is told");
        }
        let nowhere = Files { certificate: "/nowhere/c".into(), key: "/nowhere/k".into() };
        let unfit = Pair::read(&nowhere, None).expect_err("it is not there");
        assert_eq!(unfit.to_string(), "is /nowhere/c, which cannot be read: entity not found");
    }
}
