//! Settings of the whole process, ready for use. They are part of the picture that workers have: a
//! change is one step, and an exchange that has begun goes on with what it began with.

use std::net::IpAddr;
use std::time::Duration;

use proxyd_wire as wire;
use thiserror::Error;

use crate::bounds::{Bounds, OutOfRange, time, within};
use crate::h1::field::{Field, Role};
use crate::h1::syntax;
use crate::limits;
use crate::network::{Networks, NotANetwork};

/// What is said once for all routes.
#[derive(Debug)]
pub(crate) struct Front {
    /// As it was put.
    pub(crate) wire: wire::Front,
    proxied: Networks,
    trusted: Networks,
    /// A target is told its peer's X-Forwarded-* and nothing more.
    pub(crate) plain: bool,
    pub(crate) connections: usize,
    pub(crate) connections_per_client: u32,
    pub(crate) head_bytes: usize,
    pub(crate) fields: usize,
    pub(crate) uri_bytes: usize,
    pub(crate) head_time: Duration,
    pub(crate) idle_time: Duration,
    pub(crate) bounds: Bounds,
}

/// Why the front cannot be as it was put.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAFront {
    #[error("`{0}`: {1}")]
    Network(&'static str, NotANetwork),
    #[error("{0}")]
    Range(#[from] OutOfRange),
    #[error("`via` is `{0}`: write a name of letters, digits, dots and hyphens, such as proxyd")]
    Via(String),
    #[error(
        "`request_id` is `{0}`: write the name of a field that means nothing else, such as \
         X-Request-Id"
    )]
    RequestId(String),
}

impl NotAFront {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> Vec<String> {
        match self {
            NotAFront::Network(field, _) => vec![(*field).to_owned()],
            NotAFront::Range(error) => error.key(),
            NotAFront::Via(_) => vec!["via".to_owned()],
            NotAFront::RequestId(_) => vec!["request_id".to_owned()],
        }
    }
}

impl Default for Front {
    fn default() -> Front {
        Front {
            wire: wire::Front::default(),
            proxied: Networks::default(),
            trusted: Networks::default(),
            plain: true,
            connections: limits::CONNECTIONS,
            connections_per_client: limits::CONNECTIONS_PER_CLIENT,
            head_bytes: limits::HEAD,
            fields: limits::FIELDS,
            uri_bytes: limits::TARGET,
            head_time: limits::HEAD_TIME,
            idle_time: limits::IDLE_TIME,
            bounds: Bounds::default(),
        }
    }
}

impl Front {
    pub(crate) fn new(wire: wire::Front) -> Result<Front, NotAFront> {
        let networks = |field, texts: &[String]| {
            Networks::parse(texts).map_err(|error| NotAFront::Network(field, error))
        };
        let proxied = networks("proxy_protocol", &wire.proxy_protocol)?;
        let trusted = networks("trusted", &wire.trusted)?;
        if let Some(via) = wire.via.as_deref().filter(|via| !is_name(via)) {
            return Err(NotAFront::Via(via.chars().take(200).collect()));
        }
        if let Some(name) = wire.request_id.as_deref().filter(|name| !is_free(name)) {
            return Err(NotAFront::RequestId(name.chars().take(200).collect()));
        }
        let defaults = Front::default();
        let size = |field, value: Option<u32>, most: usize| {
            let most = most as u64;
            let value = within(field, value.map(u64::from), 1, most)?.unwrap_or(most);
            Ok::<_, OutOfRange>(usize::try_from(value).unwrap_or(usize::MAX))
        };
        let count = |field, value: Option<u32>| {
            within(field, value.map(u64::from), 1, u64::from(u32::MAX)).map(|_| value)
        };
        Ok(Front {
            proxied,
            plain: trusted.is_empty()
                && !wire.real_ip
                && !wire.forwarded
                && wire.via.is_none()
                && wire.request_id.is_none(),
            trusted,
            connections: count("connections", wire.connections)?
                .map_or(defaults.connections, |count| count as usize),
            connections_per_client: count("connections_per_client", wire.connections_per_client)?
                .unwrap_or(defaults.connections_per_client),
            head_bytes: size("head_bytes", wire.head_bytes, limits::HEAD)?,
            fields: size("fields", wire.fields, limits::FIELDS)?,
            uri_bytes: size("uri_bytes", wire.uri_bytes, limits::TARGET)?,
            head_time: time("head_ms", wire.head_ms)?.unwrap_or(defaults.head_time),
            idle_time: time("idle_ms", wire.idle_ms)?.unwrap_or(defaults.idle_time),
            bounds: bounds(&wire, defaults.bounds)?,
            wire: streams(wire)?,
        })
    }

    /// Whether connections from there begin with a PROXY header.
    pub(crate) fn expects_header(&self, peer: IpAddr) -> bool {
        !self.proxied.is_empty() && self.proxied.contain(peer)
    }

    /// Whether its word on where a request came from is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        !self.trusted.is_empty() && self.trusted.contain(peer)
    }
}

/// What is said of HTTP/2 is used as it was put.
fn streams(wire: wire::Front) -> Result<wire::Front, OutOfRange> {
    let most = u64::from(limits::H2_MOST_STREAMS);
    within("http2.streams", wire.http2.streams.map(u64::from), 1, most)?;
    Ok(wire)
}

fn bounds(wire: &wire::Front, defaults: Bounds) -> Result<Bounds, OutOfRange> {
    Bounds::check(&wire.limits)?;
    let body = time("body_ms", wire.body_ms)?;
    let bounds = Bounds {
        body_gap: body.unwrap_or(defaults.body_gap),
        answer_gap: body.unwrap_or(defaults.answer_gap),
        write: time("write_ms", wire.write_ms)?.unwrap_or(defaults.write),
        connect: time("connect_ms", wire.connect_ms)?.unwrap_or(defaults.connect),
        window: time("rate_window_ms", wire.rate_window_ms)?.unwrap_or(defaults.window),
        half_closed: wire.half_closed,
        ..defaults
    };
    Ok(bounds.with(&wire.limits))
}

/// A pseudonym of RFC 9110, 7.6.3, without what a reader could take for a comment or a port.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// A field name that has no meaning to the proxy itself.
fn is_free(name: &str) -> bool {
    let line = format!("{name}: x");
    let role = Field::parse(line.as_bytes(), 0).map(|field| field.role);
    let taken = ["via", "cookie", "authorization", "set-cookie", "content-type", "date"];
    name.len() <= 64
        && syntax::is_token(name.as_bytes())
        && role == Ok(Role::End)
        && !taken.iter().any(|taken| name.eq_ignore_ascii_case(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(json: &str) -> Result<Front, NotAFront> {
        Front::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn nothing_said_is_the_default() {
        let front = put("{}").unwrap();
        assert!(front.plain);
        assert_eq!(front.bounds, Bounds::default());
        assert_eq!(format!("{front:?}"), format!("{:?}", Front::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, part) in [
            (r#"{"trusted":["10.0.0.0/99"]}"#, "`trusted`: `10.0.0.0/99`"),
            (r#"{"proxy_protocol":["lb"]}"#, "`proxy_protocol`: `lb`"),
            (r#"{"via":"a b"}"#, "`via` is `a b`"),
            (r#"{"request_id":"Host"}"#, "`request_id` is `Host`"),
            (r#"{"request_id":"X-Forwarded-For"}"#, "`request_id`"),
            (r#"{"request_id":"a:b"}"#, "`request_id`"),
            (r#"{"head_bytes":32769}"#, "`head_bytes` is 32769: write a number from 1 to 32768"),
            (r#"{"idle_ms":0}"#, "`idle_ms` is 0"),
            (r#"{"connections":0}"#, "`connections` is 0"),
            (
                r#"{"http2":{"streams":1001}}"#,
                "`http2.streams` is 1001: write a number from 1 to 1000",
            ),
            (r#"{"limits":{"stream_idle_ms":0}}"#, "`limits.stream_idle_ms` is 0"),
        ] {
            let error = put(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn a_body_s_time_is_the_answer_s_too() {
        let front = put(r#"{"body_ms":5,"limits":{"body_rate":0}}"#).unwrap();
        let time = Duration::from_millis(5);
        assert_eq!((front.bounds.body_gap, front.bounds.answer_gap), (time, time));
        assert_eq!((front.bounds.rate, front.bounds.tunnel), (0, limits::TUNNEL_TIME));
        let front = put(r#"{"body_ms":5,"limits":{"stream_idle_ms":7}}"#).unwrap();
        assert_eq!(front.bounds.answer_gap, Duration::from_millis(7));
    }
}
