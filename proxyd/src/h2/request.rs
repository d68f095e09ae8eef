//! The head of a stream, written as the head of an HTTP/1 request that the strict parser then reads.
//!
//! It refuses what has no place in HTTP/2, and what could mean one thing in it and another in HTTP/1
//! (RFC 9113, 8.2 and 8.3). What the frames are made of was checked before: names are tokens in lower
//! case, values hold no control character, and pseudo-fields are known, come once and come first.

use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderMap, Method, header};

use crate::h1::field::is_of_connection;
use crate::h1::malformed::Malformed;
use crate::h1::syntax;

/// What is asked of a stream besides its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request without a body.
    Bare,
    /// The body has as many bytes as `Content-Length` says.
    Measured,
    /// The body ends where the stream does.
    Open,
    /// A `WebSocket` (RFC 8441).
    WebSocket,
}

/// Appends the head as HTTP/1 has it. `ends`: there is nothing behind it. `random` is for the key of a `WebSocket`.
pub(super) fn write(
    parts: &Parts,
    ends: bool,
    random: [u64; 2],
    out: &mut Vec<u8>,
) -> Result<Kind, Malformed> {
    let kind = kind(parts, ends)?;
    let method = if kind == Kind::WebSocket { &Method::GET } else { &parts.method };
    let path = parts.uri.path_and_query().ok_or(Malformed::Target)?.as_str().as_bytes();
    if !matches!((path, method), ([b'/', ..], _) | (b"*", &Method::OPTIONS)) {
        return Err(Malformed::Target);
    }
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(Malformed::Target);
    }
    push(out, &[method.as_str().as_bytes(), b" ", path, b" HTTP/2.0\r\nHost: ", host(parts)?]);
    out.extend_from_slice(b"\r\n");
    write_fields(&parts.headers, out)?;
    match kind {
        Kind::Measured => {}
        Kind::Bare => {
            // Else an app could wait for a body, or ask for its length.
            let may_have_one = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
            if may_have_one && !parts.headers.contains_key(header::CONTENT_LENGTH) {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
        }
        Kind::Open => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Kind::WebSocket => write_upgrade(random, out),
    }
    out.extend_from_slice(b"\r\n");
    Ok(kind)
}

fn kind(parts: &Parts, ends: bool) -> Result<Kind, Malformed> {
    let measured = parts.headers.contains_key(header::CONTENT_LENGTH);
    if parts.method != Method::CONNECT {
        return Ok(match (ends, measured) {
            (true, _) => Kind::Bare,
            (false, true) => Kind::Measured,
            (false, false) => Kind::Open,
        });
    }
    match parts.extensions.get::<Protocol>() {
        Some(protocol) if protocol.as_str() == "websocket" && !ends && !measured => {
            Ok(Kind::WebSocket)
        }
        _ => Err(Malformed::Method),
    }
}

/// The authority; where there is none, the one `Host` field.
fn host(parts: &Parts) -> Result<&[u8], Malformed> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = fields.next().map(http::HeaderValue::as_bytes);
    if fields.next().is_some() {
        return Err(Malformed::HostRepeated);
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            Err(Malformed::Authority)
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Malformed::HostMissing),
    }
}

fn write_fields(fields: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Malformed> {
    for (name, value) in fields {
        let bytes = value.as_bytes();
        if is_of_connection(name.as_str().as_bytes()) {
            return Err(Malformed::ConnectionField);
        }
        if name == header::TE && bytes != b"trailers" {
            return Err(Malformed::ConnectionField);
        }
        if !syntax::is_value(bytes) || syntax::trim(bytes).len() != bytes.len() {
            return Err(Malformed::FieldValue);
        }
        if name == header::HOST || name == header::COOKIE {
            continue;
        }
        push(out, &[name.as_str().as_bytes(), b": ", bytes, b"\r\n"]);
    }
    let mut before: &[u8] = b"cookie: ";
    for crumb in fields.get_all(header::COOKIE) {
        push(out, &[before, crumb.as_bytes()]);
        before = b"; ";
    }
    if before == b"; " {
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// The key proves that whoever answers has understood; here it is the proxy's own.
fn write_upgrade(random: [u64; 2], out: &mut Vec<u8>) {
    use base64::Engine as _;
    let [one, other] = random.map(u64::to_le_bytes);
    let key = base64::engine::general_purpose::STANDARD.encode([one, other].concat());
    let lines = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ";
    push(out, &[lines, key.as_bytes(), b"\r\n"]);
}

fn push(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request, Uri};
    use proptest::prelude::*;

    use super::*;
    use crate::h1::body::Framing;
    use crate::h1::request::{Progress, RequestHead};
    use crate::host::Host;

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn written(parts: &Parts, ends: bool) -> Result<String, Malformed> {
        let mut out = Vec::new();
        write(parts, ends, [0, 0], &mut out).map(|_| String::from_utf8(out).unwrap())
    }

    /// Reads a head as the exchange does.
    fn read(head: &[u8]) -> Result<RequestHead, Malformed> {
        let mut request = RequestHead::default();
        request.translate();
        match request.advance(head)? {
            Progress::Complete => Ok(request),
            Progress::Partial => panic!("a head in one piece"),
        }
    }

    #[test]
    fn a_request_is_written_anew() {
        let get = parts("GET", "https://app.test/a?b", &[("accept", "x"), ("te", "trailers")]);
        let expected = "GET /a?b HTTP/2.0\r\nHost: app.test\r\naccept: x\r\nte: trailers\r\n\r\n";
        assert_eq!(written(&get, true).unwrap(), expected);
        let post = parts("POST", "http://a:1/", &[("content-length", "3")]);
        let expected = "POST / HTTP/2.0\r\nHost: a:1\r\ncontent-length: 3\r\n\r\n";
        assert_eq!(written(&post, false).unwrap(), expected);
        let open = parts("POST", "http://a/", &[]);
        assert!(written(&open, false).unwrap().contains("\r\ntransfer-encoding: chunked\r\n"));
        assert!(written(&open, true).unwrap().contains("\r\ncontent-length: 0\r\n"));
        let all = parts("OPTIONS", "*", &[("host", "a")]);
        assert_eq!(written(&all, true).unwrap(), "OPTIONS * HTTP/2.0\r\nHost: a\r\n\r\n");
    }

    #[test]
    fn cookie_crumbs_become_one_field() {
        let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
        let head = written(&parts("GET", "http://a/", &crumbs), true).unwrap();
        assert!(head.contains("\r\ncookie: a=1; b=2; c=3; d=4\r\n"), "{head}");
    }

    #[test]
    fn what_could_be_understood_in_two_ways_is_refused() {
        for (method, uri, fields, expected) in [
            ("GET", "http://a/", &[("host", "b")][..], Malformed::Authority),
            ("GET", "/", &[("host", "b"), ("host", "b")], Malformed::HostRepeated),
            ("GET", "/", &[], Malformed::HostMissing),
            ("GET", "http://a/", &[("connection", "close")], Malformed::ConnectionField),
            ("GET", "http://a/", &[("keep-alive", "1")], Malformed::ConnectionField),
            ("GET", "http://a/", &[("proxy-connection", "1")], Malformed::ConnectionField),
            ("GET", "http://a/", &[("transfer-encoding", "chunked")], Malformed::ConnectionField),
            ("GET", "http://a/", &[("upgrade", "websocket")], Malformed::ConnectionField),
            ("GET", "http://a/", &[("te", "trailers, deflate")], Malformed::ConnectionField),
            ("GET", "http://a/", &[("x", " y")], Malformed::FieldValue),
            ("GET", "http://a/", &[("x", "y\t")], Malformed::FieldValue),
            ("GET", "*", &[("host", "a")], Malformed::Target),
            ("GET", "ftp://a/", &[], Malformed::Target),
            ("CONNECT", "a:443", &[], Malformed::Method),
        ] {
            assert_eq!(
                written(&parts(method, uri, fields), true),
                Err(expected),
                "{uri} {fields:?}"
            );
        }
        let same = parts("GET", "http://A.test/", &[("host", "a.TEST")]);
        assert!(written(&same, true).is_ok());
    }

    #[test]
    fn a_websocket_is_an_upgrade() {
        let mut ask = parts("CONNECT", "http://a/chat", &[("sec-websocket-version", "13")]);
        assert_eq!(written(&ask, false), Err(Malformed::Method));
        ask.extensions.insert(Protocol::from_static("websocket"));
        let head = written(&ask, false).unwrap();
        let request = read(head.as_bytes()).unwrap();
        assert_eq!(request.upgrade.map(|span| span.of(head.as_bytes())), Some(&b"websocket"[..]));
        assert!(head.contains("\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), "{head}");
        assert_eq!(written(&ask, true), Err(Malformed::Method));
        ask.extensions.insert(Protocol::from_static("connect-udp"));
        assert_eq!(written(&ask, false), Err(Malformed::Method));
    }

    fn name() -> impl Strategy<Value = HeaderName> {
        let known = prop::sample::select(vec![
            "content-length",
            "host",
            "cookie",
            "te",
            "transfer-encoding",
            "connection",
            "upgrade",
            "expect",
            "trailer",
            "content_length",
            "x-forwarded-for",
            "http2-settings",
        ]);
        prop_oneof![
            known.prop_map(HeaderName::from_static),
            "[a-z!#$%&'*+.^_`|~-]{1,12}".prop_map(|name| name.parse().unwrap()),
        ]
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        let any = prop::collection::vec(any::<u8>(), 0..12);
        let any = any.prop_filter_map("a value", |bytes| HeaderValue::from_bytes(&bytes).ok());
        let known = prop::sample::select(vec![
            "0",
            "5",
            "a",
            "trailers",
            "chunked",
            "100-continue",
            "a, b",
        ]);
        prop_oneof![any, known.prop_map(HeaderValue::from_static)]
    }

    fn uri() -> impl Strategy<Value = Uri> {
        let text = "((https?|ftp)://[a-z0-9.:@\\[\\]-]{1,8})?(/|\\*)?[!-~]{0,12}";
        text.prop_filter_map("an address", |text| text.parse().ok())
    }

    proptest! {
        /// Whatever comes is refused, or it is exactly one head whose every part is what was sent.
        #[test]
        fn refused_or_exactly_one_head(
            method in "[A-Za-z!-]{1,9}",
            uri in uri(),
            fields in prop::collection::vec((name(), value()), 0..8),
            ends: bool,
        ) {
            let mut parts = Request::new(()).into_parts().0;
            parts.method = Method::from_bytes(method.as_bytes()).unwrap();
            parts.uri = uri;
            for (name, value) in &fields {
                parts.headers.append(name, value.clone());
            }
            let mut out = Vec::new();
            let Ok(kind) = write(&parts, ends, [1, 2], &mut out) else { return Ok(()) };
            let Ok(request) = read(&out) else { return Ok(()) };
            prop_assert_eq!(request.len, out.len(), "nothing is behind the head");
            prop_assert_eq!(request.method.of(&out), method.as_bytes());
            let target = parts.uri.path_and_query().unwrap().as_str();
            prop_assert_eq!(request.target.of(&out), target.as_bytes());
            let host = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
            let host = host.or(parts.headers.get("host").map(HeaderValue::as_bytes)).unwrap();
            prop_assert_eq!(request.host.of(&out), host);
            let framing = match kind {
                Kind::Bare | Kind::WebSocket => matches!(request.framing, Framing::None | Framing::Length(_)),
                Kind::Measured => matches!(request.framing, Framing::Length(_)),
                Kind::Open => request.framing == Framing::Chunked,
            };
            prop_assert!(framing, "{:?} {:?}", kind, request.framing);
            prop_assert!(request.upgrade.is_none() && !request.connection.close);
            for field in &request.fields {
                let name = std::str::from_utf8(field.name.of(&out)).unwrap();
                let value = field.value.of(&out);
                let ours = matches!(name, "Host" | "transfer-encoding" | "content-length" | "cookie");
                let theirs = parts.headers.get_all(name).iter().any(|sent| sent.as_bytes() == value);
                prop_assert!(ours || theirs, "{}", name);
            }
            let _ = Host::parse(request.host.of(&out));
        }
    }
}
