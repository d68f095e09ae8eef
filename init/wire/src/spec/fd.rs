//! The sockets that a job is lent.

use serde::{Deserialize, Serialize};

use super::Account;

/// A socket that belongs to init and is lent to the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object such as {\"name\": \"http\", \"listen\": \"tcp:127.0.0.1:8080\"}"
)]
pub struct FdSpec {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// `tcp:HOST:PORT` or `udp:HOST:PORT` (a numeric address), `unix:/PATH`, `unix:@NAME`, or the
    /// same two with `unix-dgram:`.
    pub listen: String,
    /// How many connections may wait to be accepted. Default 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// Whether others of init's user may have the address as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse_port: bool,
    /// Whether an IPv6 address leaves IPv4 to others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub v6_only: bool,
    /// Who may connect by the socket's file, in octal: `"0660"`. Default `"0600"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whose that file is, by name or id. Default: init's own user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Account>,
    /// Which group's it is. Default: the own group of `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Account>,
}

impl FdSpec {
    /// A socket with every option at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, listen: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            listen: listen.into(),
            backlog: None,
            reuse_port: false,
            v6_only: false,
            mode: None,
            user: None,
            group: None,
        }
    }
}
