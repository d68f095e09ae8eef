//! What an error answer holds.

use serde::{Deserialize, Serialize};

/// The JSON body of every 4xx and 5xx answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word for programs, such as `unknown_job`.
    pub error: String,
    /// A sentence for people: what happened, where, and what to do.
    pub message: String,
    /// The field of the spec that is at fault, as a path (`restart.delay_ms`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The step of starting a process that failed: `clone`, `chdir`, `exec`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The kernel's reason by name, such as `ENOENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
}
