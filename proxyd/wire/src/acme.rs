//! Certificates that proxyd obtains by itself, from authorities that speak ACME (RFC 8555).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::is_default;

/// `PUT /acme`: which certificates are obtained, from whom and how. Whoever names an authority agrees to
/// its terms of service. What is left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Acme {
    /// Who is asked, in this order: where one fails, the next. Without any nothing is obtained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<AcmeAuthority>,
    /// Mail addresses that authorities may write to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// Where accounts, keys and certificates are kept: an absolute path. It is made if it is not there,
    /// for its owner only. Needed where there are authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// How names may be proved, the preferred way first (`http-01`, `tls-alpn-01`).
    #[serde(skip_serializing_if = "is_usual")]
    pub challenges: Vec<AcmeChallenge>,
    /// Whether an authority is asked only once a name resolves, and is told of what does not answer here
    /// (true).
    #[serde(skip_serializing_if = "is_true")]
    pub preflight: bool,
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, AcmeCertificate>,
}

impl Default for Acme {
    fn default() -> Acme {
        Acme {
            authorities: Vec::new(),
            contacts: Vec::new(),
            folder: None,
            challenges: USUAL.to_vec(),
            preflight: true,
            certificates: BTreeMap::new(),
        }
    }
}

/// What can be proved without anybody's help.
const USUAL: [AcmeChallenge; 2] = [AcmeChallenge::Http01, AcmeChallenge::TlsAlpn01];

fn is_usual(kinds: &[AcmeChallenge]) -> bool {
    kinds == USUAL
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_true(value: &bool) -> bool {
    *value
}

/// Who is asked for certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeAuthority {
    /// The address of its directory, with `https://`.
    pub directory: String,
    /// Certificates, as PEM, that vouch for it, instead of those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_file: Option<PathBuf>,
    /// The account there that ours belongs to, where it wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eab: Option<AcmeBinding>,
    /// Which of its kinds of certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// An account that was made elsewhere (external account binding).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeBinding {
    /// As the authority has told it.
    pub key_id: String,
    /// A file of the HMAC key that belongs to it, in Base64.
    pub key_file: PathBuf,
}

/// How an authority is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcmeChallenge {
    /// By an answer at port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// By a certificate at port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a record of the zone, which somebody else places: see [`AcmeRecord`].
    #[serde(rename = "dns-01")]
    Dns01,
}

/// `PUT /acme/certificates/:name`: a certificate that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeCertificate {
    /// The names that it is to be for, 1 to 100. `*.` before one needs `dns-01`.
    pub names: Vec<String>,
}

/// `GET /acme`: what is wanted, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeView {
    /// Is another one after each change of what follows.
    pub revision: u64,
    /// Whether this process is the one that obtains: only one does that with a folder.
    pub active: bool,
    /// What is wrong with the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// As it was put.
    pub settings: Acme,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, AcmeCertificateView>,
    /// By the name of the record: what has to be in the zone now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub challenges: BTreeMap<String, AcmeRecord>,
}

/// How a certificate stands that is wanted. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeCertificateView {
    /// What it is to be for.
    pub names: Vec<String>,
    /// In a word.
    pub state: AcmeState,
    /// What the one that is there is for; it is a part of `names` while some are blocked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covers: Vec<String>,
    /// From when on that one is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<i64>,
    /// SHA-256 of it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Whose it is: the address of the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// When it will be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<i64>,
    /// Whether an authority is being asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ordering: bool,
    /// Names that are left out for now, and what is in the way of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocked: BTreeMap<String, String>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<AcmeFailure>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<i64>,
}

/// How a certificate stands, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcmeState {
    /// There is none, and nothing has been tried yet.
    #[default]
    Waiting,
    /// There is none, and an authority is being asked.
    Ordering,
    /// There is one.
    Valid,
    /// There is none, and the last try has failed.
    Failed,
}

/// Why a certificate was not obtained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeFailure {
    /// A stable word for programs: `dns`, `unreachable`, `unauthorized`, `rate-limit`, `contact`, `account`,
    /// `caa`, `refused`, `authority`, `trust`, `storage`, `hook` or `other`.
    pub kind: String,
    /// A sentence for people: what is in the way, and what to do.
    pub message: String,
    /// Who was asked: the address of the directory. Empty if nobody was.
    #[serde(default, skip_serializing_if = "is_default")]
    pub authority: String,
    /// When.
    pub at: i64,
    /// Tries in a row that have failed.
    pub tries: u32,
}

/// A TXT record that has to be in the zone until it is listed no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeRecord {
    /// All of them at the same time.
    pub values: Vec<String>,
    /// Which certificate needs it.
    pub certificate: String,
    /// Whether somebody has said that they are there.
    pub placed: bool,
    /// When it is given up, in seconds since 1970.
    pub until: i64,
}

/// `PUT /acme/challenges/:record`: what has become of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmePlaced {
    /// What was placed, or was to be.
    pub values: Vec<String>,
    /// Why it could not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
