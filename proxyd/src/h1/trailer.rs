//! The fields behind a chunked body, and which of them pass on.
//!
//! A receiver may merge them with the fields of the head after it has acted on those. So nothing
//! passes that frames, routes, authenticates, controls, or says how to read the body (RFC 9110,
//! 6.5.1), under whatever spelling an app cannot tell from the real one.

use super::body::Body;
use super::field::{ConnectionOptions, Field, Role, alike, like, starts_like};

/// Names that are not passed on behind a body, besides those that have a [`Role`].
const WITHHELD: &[&str] = &[
    "accept",
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "expires",
    "keep-alive",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

/// The same by their beginnings.
const FAMILIES: &[&str] = &["access-control-", "content-", "if-", "proxy-", "sec-"];

/// Of those families: what is known only when the body is over, so that here is its place.
const DIGESTS: &[&str] = &["content-digest", "content-md5"];

/// A receiver that takes trailer fields, and what it does not get of them.
#[derive(Debug, Default)]
pub(crate) struct Passing {
    /// Names that `Connection` declared to be for one hop only, and our own.
    named: Vec<Box<[u8]>>,
}

impl Passing {
    /// `options` are those of the head in `head`, which need not stay.
    pub(crate) fn new(options: &ConnectionOptions, head: &[u8]) -> Passing {
        Passing { named: options.named(head).map(Box::from).collect() }
    }

    /// The same but for a field that is our own word, if there is one.
    pub(crate) fn without(mut self, name: Option<&str>) -> Passing {
        self.named.extend(name.map(|name| Box::from(name.as_bytes())));
        self
    }

    /// What goes behind the last piece of `body` instead of `tail`, its plain end. `room` holds
    /// it if it is more.
    pub(crate) fn end<'a>(&self, body: &Body, tail: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        let section = body.trailers();
        if section.is_empty() || !body.is_done() {
            return tail;
        }
        let Some(start) = tail.strip_suffix(b"\r\n") else { return tail };
        room.extend_from_slice(start);
        self.copy(section, room);
        room.extend_from_slice(b"\r\n");
        room
    }

    /// Appends the fields that pass, written anew.
    fn copy(&self, section: &[u8], out: &mut Vec<u8>) {
        for line in section.split_inclusive(|&byte| byte == b'\n') {
            // They were checked when they came: each is a field and ends in CR LF.
            let Some(line) = line.strip_suffix(b"\r\n") else { continue };
            let Ok(field) = Field::parse(line, 0) else { continue };
            let name = field.name.of(line);
            if field.role != Role::End || self.withholds(name) {
                continue;
            }
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value.of(line));
            out.extend_from_slice(b"\r\n");
        }
    }

    fn withholds(&self, name: &[u8]) -> bool {
        let is_digest = DIGESTS.iter().any(|known| like(name, known));
        WITHHELD.iter().any(|known| like(name, known))
            || (!is_digest && FAMILIES.iter().any(|start| starts_like(name, start)))
            || self.named.iter().any(|named| alike(named, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::body::Framing;

    fn passed(connection: &str, section: &str) -> String {
        let mut options = ConnectionOptions::default();
        let whole = crate::h1::field::Span { start: 0, end: connection.len() };
        options.add(connection.as_bytes(), whole).unwrap();
        let passing = Passing::new(&options, connection.as_bytes());
        let mut body = Body::new(Framing::Chunked);
        let mut wire = format!("1\r\nx\r\n0\r\n{section}\r\n").into_bytes();
        let step = body.step(&mut wire).unwrap();
        assert_eq!((step.consumed, body.is_done()), (wire.len(), true));
        let mut room = Vec::new();
        let end = passing.end(&body, b"\r\n0\r\n\r\n", &mut room);
        String::from_utf8(end.to_vec()).unwrap()
    }

    #[test]
    fn what_is_known_only_at_the_end_passes() {
        let fields = "Grpc-Status: 0\r\ngrpc-message: ok\r\nContent-Digest: x\r\nETag: \"1\"\r\n";
        assert_eq!(passed("", fields), format!("\r\n0\r\n{fields}\r\n"));
        assert_eq!(passed("", "X:\t a \t\r\nY:\r\n"), "\r\n0\r\nX: a\r\nY: \r\n\r\n");
        assert_eq!(passed("", ""), "\r\n0\r\n\r\n");
    }

    #[test]
    fn what_a_head_is_acted_on_for_does_not() {
        for name in [
            "Host",
            "Content-Length",
            "content_length",
            "Transfer-Encoding",
            "TRANSFER_ENCODING",
            "Connection",
            "Keep_Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Authorization",
            "Proxy-Authorization",
            "WWW-Authenticate",
            "Cookie",
            "Set-Cookie",
            "set_cookie",
            "Content-Encoding",
            "Content-Type",
            "Content_Type",
            "Content-Range",
            "Cache-Control",
            "Range",
            "If-None-Match",
            "Location",
            "X-Forwarded-For",
            "X_Forwarded_Proto",
            "Forwarded",
            "X-Real-IP",
            "Access-Control-Allow-Origin",
            "Sec-WebSocket-Key",
            "Mine",
        ] {
            let section = format!("{name}: 1\r\nA: b\r\n");
            assert_eq!(passed("close, MINE", &section), "\r\n0\r\nA: b\r\n\r\n", "{name}");
        }
    }

    #[test]
    fn a_body_that_is_not_over_has_its_plain_end() {
        let mut body = Body::new(Framing::Chunked);
        body.step(&mut b"0\r\nX: y\r\n".to_vec()).unwrap();
        assert_eq!(Passing::default().end(&body, b"", &mut Vec::new()), b"");
        let body = Body::new(Framing::Length(3));
        assert_eq!(Passing::default().end(&body, b"", &mut Vec::new()), b"");
    }
}
