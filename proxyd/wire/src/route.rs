//! A route, and all that may be said of the requests it is for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Files, Hsts, Limits, is_default};

/// `PUT /routes/:host` or `/routes/:host/:prefix`: what becomes of requests for a host, `*.` and a
/// domain, or `*` for any, whose path begins with the prefix.
///
/// It goes to a `service`, serves `files`, or is a `redirect`; that beside one of the others where it is
/// `unless_https`. What else is said is asked in this order: `allow` and
/// `deny`, `rate_limit`, `redirect`, `basic_auth`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// The name of the service that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What is served without a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// Answers are compressed for clients that take them so: by zstd, br or gzip. Not those that are so
    /// already, shorter than 1 KiB, of another type than `compress_types`, parts (206), or not to be changed
    /// (`Cache-Control: no-transform`).
    ///
    /// Not for pages that show a secret beside what a stranger may put there: its length tells of it (BREACH).
    #[serde(skip_serializing_if = "is_default")]
    pub compress: bool,
    /// Which types of content, as `application/json` or `text/*`; without: those of text, code, data and fonts
    /// that are not packed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compress_types: Vec<String>,
    /// Whose it is, in the words of whoever puts it: proxyd only keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where it is otherwise than in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Clients are sent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// The service is asked without the route's prefix: `/api/x` becomes `/x`. The same as the
    /// rewrite `/`.
    #[serde(skip_serializing_if = "is_default")]
    pub strip_prefix: bool,
    /// What the service is asked for instead of the route's prefix: a path, such as `/v2`. It is told
    /// the prefix as `X-Forwarded-Prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// Changes to the fields of requests, after all that proxyd writes itself.
    #[serde(skip_serializing_if = "is_default")]
    pub request_headers: HeaderEdits,
    /// Changes to the fields of answers, of proxyd's own, too.
    #[serde(skip_serializing_if = "is_default")]
    pub response_headers: HeaderEdits,
    /// What clients that come over TLS are told of coming by https only, instead of what is said for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// Who does not name himself is answered 401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Clients that may come, as addresses or networks (`10.0.0.0/8`). The most particular of both
    /// lists decides, `deny` where they say the same; for who is in neither, an empty `allow` allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Clients that are answered 403.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// How often a client may come; beyond it is answered 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Pages for errors, by status (`502`) or class (`5xx`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub error_pages: BTreeMap<String, ErrorPage>,
}

impl Route {
    /// A route to a service, and nothing more.
    pub fn to(service: impl Into<String>) -> Route {
        Route { service: Some(service.into()), ..Route::default() }
    }
}

/// Where clients are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `https://HOST[:PORT][/PATH]` or `http://…`, of which the host may be `*`: the one that was asked; or `/PATH` on
    /// that one.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent", skip_serializing_if = "is_permanent")]
    pub status: u16,
    /// What the path says below the route's prefix is appended to `to`.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub keep_path: bool,
    /// So is the query.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub keep_query: bool,
    /// Who came by https is not sent there but served by the `service` beside it. Which scheme that was is
    /// what a trusted proxy in front says in X-Forwarded-Proto.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unless_https: bool,
}

fn permanent() -> u16 {
    308
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_permanent(status: &u16) -> bool {
    *status == permanent()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// Changes to the fields of a head, made in this order. `-` and `_` are the same in a name.
///
/// Fields that frame a message or are for one hop cannot be changed; `Host` can be set only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Fields that are dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Fields that have this value and no other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Fields that are there in addition to those that came.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
}

/// Names and passwords that open a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// What browsers show when they ask.
    #[serde(default = "restricted", skip_serializing_if = "is_restricted")]
    pub realm: String,
    /// By name, the bcrypt hash of a password: `proxyd hash-password` makes one.
    pub users: BTreeMap<String, String>,
    /// The service does not get to see the `Authorization` field.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remove_authorization: bool,
}

fn restricted() -> String {
    "restricted".to_owned()
}

fn is_restricted(realm: &str) -> bool {
    realm == restricted()
}

/// So many requests in so many seconds, evenly: a bucket that holds `burst` of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many.
    pub requests: u32,
    /// In how many seconds.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub per_s: u32,
    /// How many at once; `requests` if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Who is counted together: `client`, by address (IPv6: its /64 network), or `header NAME`, by that
    /// field's value, and by address where it is missing.
    #[serde(default = "client", skip_serializing_if = "is_client")]
    pub key: String,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(number: &u32) -> bool {
    *number == one()
}

fn client() -> String {
    "client".to_owned()
}

fn is_client(key: &str) -> bool {
    key == client()
}

/// What is shown instead of proxyd's own sentence: `html` or what a `file` holds when it is put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorPage {
    /// The page itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// The absolute path of a file of at most 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its type, if it is not `text/html; charset=utf-8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// It is shown instead of such answers of the service, too, but never instead of a 401.
    #[serde(skip_serializing_if = "is_default")]
    pub of_target: bool,
}
