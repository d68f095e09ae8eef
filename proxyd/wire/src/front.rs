//! What clients meet before any route is looked for.

use serde::{Deserialize, Serialize};

/// `PUT /front`: settings of the whole process. They hold from the next request on; open connections
/// stay as they are. What is left out has its default.
///
/// Networks are written `ADDRESS/BITS` or as one address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Front {
    /// Networks whose connections begin with a PROXY header, version 1 or 2: without one they are
    /// closed. The client is then the one that it tells. From others such a header is a bad request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol: Vec<String>,
    /// Networks of proxies whose word on where a request came from is believed. Their
    /// X-Forwarded-For is appended to, and the client is the last address in it that is not in these
    /// networks; the rest of X-Forwarded-* is kept. From others all of it is replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<String>,
    /// Whether targets are told the client as X-Real-IP.
    #[serde(skip_serializing_if = "is_false")]
    pub real_ip: bool,
    /// Whether targets are told where a request came from as Forwarded (RFC 7239), too.
    #[serde(skip_serializing_if = "is_false")]
    pub forwarded: bool,
    /// The name under which Via tells of the proxy, to both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The field that numbers requests, such as X-Request-Id: what a trusted proxy says in it is
    /// kept, all else replaced. Targets, clients and the access log are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether a client that has ended its side of the connection still gets its answer. Else it counts
    /// as gone, since one that has closed it looks the same, and its request is dropped.
    #[serde(skip_serializing_if = "is_false")]
    pub half_closed: bool,
    /// Clients' connections at a time (60000, and never more than three quarters of the descriptors
    /// that the process may have): beyond, new ones wait until there is room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Connections of one client (15000), which is an IPv4 address or an IPv6 network of 64 bits:
    /// more are answered with 429 and closed. Trusted proxies are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_client: Option<u32>,
    /// The head of a request, in bytes (32768, which is the most): more is 431.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<u32>,
    /// Fields of a request (128, which is the most): more is 431.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<u32>,
    /// The target in the request line, in bytes (8192, which is the most): more is 414.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri_bytes: Option<u32>,
    /// From the first byte of a head to its last (10000): more is 408.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<u64>,
    /// A client that sends nothing between two requests is let go (60000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Between two pieces of a body, from a client or a target (60000): more is 408, or a cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_ms: Option<u64>,
    /// A receiver that takes nothing is given up (60000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_ms: Option<u64>,
    /// A connection to a target is made (3000): more counts as refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// The time over which `limits.body_rate` is measured (60000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_window_ms: Option<u64>,
    /// How HTTP/2 is spoken with clients.
    #[serde(skip_serializing_if = "is_default")]
    pub http2: Http2,
    /// What a route may set otherwise for itself.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
}

/// HTTP/2 with clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// Whether a connection without TLS may begin with it, to whoever knows beforehand.
    #[serde(skip_serializing_if = "is_false")]
    pub cleartext: bool,
    /// Requests of one connection at a time, 1 to 1000 (100): more are refused, and may be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
}

/// What a request and its answer may cost. In a route: where it is otherwise than in front.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The body of a request, in bytes (without limit): more is 413.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// From the request to the head of its answer (60000): more is 504.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    /// Bytes a second of a body that a client sends or takes at least while it is waited for (100, but any
    /// rate for a body that is sent in chunks, which may be a stream; 0: any rate will do): else 408, or a
    /// cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_rate: Option<u64>,
    /// Without a byte for so long, an upgraded connection (an hour) and an answer that has begun
    /// (`body_ms`) are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_idle_ms: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
