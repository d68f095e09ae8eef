//! What is done about targets that fail, and by which bounds they are used.

use serde::{Deserialize, Serialize};

/// When a target is not asked for a while because it fails. A failure is: no connection, a
/// connection that ends within an answer or before it, an answer that is no HTTP or not there in
/// time, or one of the `statuses`.
///
/// An ejected target gets one request to try when its time is over: if that is answered it is back,
/// else it is ejected for twice as long. If all targets are ejected, all are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eject {
    /// Failures in a row after which a target is ejected, 0 to 1,000. 0: never, and who is ejected is back.
    pub failures: u32,
    /// Statuses that are failures, each from 500 to 599.
    pub statuses: Vec<u16>,
    /// For how long it is ejected first, 10 to 3,600,000 ms.
    pub backoff_ms: u32,
    /// For how long at most, `backoff_ms` to 3,600,000 ms.
    pub max_backoff_ms: u32,
    /// If less than so many of a hundred targets were left, all are used, 0 to 100. 0: only if none
    /// were left.
    pub panic: u32,
}

impl Default for Eject {
    fn default() -> Eject {
        Eject {
            failures: 5,
            statuses: Vec::new(),
            backoff_ms: 500,
            max_backoff_ms: 30_000,
            panic: 0,
        }
    }
}

/// When a request is sent again.
///
/// A target that takes no connection has seen nothing of the request: that is tried elsewhere
/// whatever the request. A connection that was used before and ends without an answer may have been
/// closed before the request came: it is tried again if that does no harm (GET, HEAD, OPTIONS, PUT,
/// DELETE), and its body was small enough to be held. A new connection that ends without an answer is
/// a target that has died: what does no harm is tried on another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, the first included, 1 to 10.
    pub attempts: u32,
    /// Statuses that are tried on another target, if that does no harm: of 502, 503 and 504.
    pub statuses: Vec<u16>,
    /// Requests that a target may have seen are sent again for so many of a hundred requests, 0 to
    /// 1,000 …
    pub budget_percent: u32,
    /// … and so many times a second besides, 0 to 10,000. What is not used is saved for ten seconds.
    pub budget_per_s: u32,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts: 3, statuses: Vec::new(), budget_percent: 20, budget_per_s: 3 }
    }
}

/// Idle connections to a service's targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// How long one is kept, 0 to 3,600,000 ms; less if an answer said `Keep-Alive: timeout`: a
    /// second below that. It must be below what the app waits. 0: none is kept.
    pub idle_ms: u32,
    /// How many a worker keeps to one target, 0 to 65,536.
    pub size: u32,
    /// After so many requests one is closed, 0 to 1,000,000,000. 0: never.
    pub requests: u32,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool { idle_ms: 4000, size: 2048, requests: 0 }
    }
}

/// How a target is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It is asked.
    #[default]
    Well,
    /// It is not asked for a while.
    Ejected,
    /// One request is on its way to see whether it is back.
    Trial,
}
