//! Which target gets a request.

use serde::{Deserialize, Serialize};

use crate::is_default;

/// How a target is chosen. `"least-loaded"`, `"round-robin"`, `{"hash": "client"}`,
/// `{"hash": {"header": "X-User"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// The less busy of two that are picked at random, by their weights.
    #[default]
    LeastLoaded,
    /// One after the other, by their weights.
    RoundRobin,
    /// The same for the same, as far as targets stay: one that leaves moves only its own share.
    Hash(HashBy),
}

/// What has to be the same. A request that does not have it goes to the least loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashBy {
    /// The client's address.
    Client,
    /// The value of the first field of this name.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The path, without its query.
    Path,
}

/// A cookie that brings a client back to the target that answered it first, as long as that is
/// there and not ejected. While it has its `max_in_flight`, others stand in for it. The value tells
/// targets apart, and nothing else of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// Seconds that the cookie lasts from the last answer on, from 0 to 34,560,000 (400 days); without:
    /// as long as the browser's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
    /// Below which path it is sent.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub path: String,
    /// Whether it is sent with requests that other sites cause.
    #[serde(default, skip_serializing_if = "is_default")]
    pub same_site: SameSite,
    /// Whether it is sent over TLS only; `same_site` `none` needs it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secure: bool,
    /// Whether it is hidden from scripts.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub http_only: bool,
}

fn root() -> String {
    "/".to_owned()
}

fn is_root(path: &str) -> bool {
    path == "/"
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// Whether a cookie goes with requests that other sites cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSite {
    /// With plain links only.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always.
    None,
}

/// Which requests go to the targets of the group `canary`. Where no target of one group is alive and
/// has room, the other stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Of the requests that neither field nor cookie decides, so many of a hundred: 0 to 100.
    #[serde(default)]
    pub percent: u32,
    /// A field that decides first, by its value `always` or `never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A cookie that decides then, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Whether the cookie is set by what the share has decided, so that a client stays where it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sticky: bool,
}

/// What a target is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// What serves.
    #[default]
    Stable,
    /// What is tried out; see [`Canary`].
    Canary,
}
