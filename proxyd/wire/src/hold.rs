//! What keeps a service's requests from its targets.

use serde::{Deserialize, Serialize};

use crate::is_default;

/// `PUT /services/:service/pause`: requests wait until `DELETE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pause {
    /// Requests that may wait, 0 to 100,000: more are answered 503 with `Retry-After`.
    pub queue: u32,
    /// How long each waits before it is answered so, 1 to 3,600,000 ms.
    pub max_ms: u32,
}

impl Default for Pause {
    fn default() -> Pause {
        Pause { queue: 10_000, max_ms: 30_000 }
    }
}

/// `PUT /services/:service/maintenance`: what is answered instead of the targets until `DELETE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maintenance {
    /// The status, 400 to 599.
    pub status: u16,
    /// The text; without: a sentence of proxyd's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// What the text is.
    pub content_type: String,
    /// What `Retry-After` says, 0 to 31,536,000 s; without: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// Clients that are let through: addresses, or networks such as 10.0.0.0/8, at most 1,000.
    #[serde(skip_serializing_if = "is_default")]
    pub allow: Vec<String>,
}

impl Default for Maintenance {
    fn default() -> Maintenance {
        Maintenance {
            status: 503,
            body: String::new(),
            content_type: "text/html; charset=utf-8".to_owned(),
            retry_after_s: None,
            allow: Vec::new(),
        }
    }
}
