//! The head of a request, from HTTP/1 to what a target is asked over a stream.

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri, Version};

use super::answer::{Untellable, passes, push};
use crate::h1::field::Role;
use crate::h1::request::RequestHead;

/// Fields without those about the connection; an upgrade is none here, and what offered it is a request.
pub(super) fn of(bytes: &[u8], head: &RequestHead) -> Result<Request<()>, Untellable> {
    let mut ask = Request::new(());
    *ask.version_mut() = Version::HTTP_2;
    *ask.method_mut() = Method::from_bytes(head.method.of(bytes)).map_err(|_| Untellable)?;
    *ask.uri_mut() = uri(head.host.of(bytes), head.target.of(bytes))?;
    let fields: &mut HeaderMap = ask.headers_mut();
    fields.reserve(head.fields.len());
    for field in &head.fields {
        if field.role != Role::Host && passes(field) {
            push(fields, field.name.of(bytes), field.value.of(bytes))?;
        }
    }
    if head.takes_trailers {
        push(fields, b"te", b"trailers")?;
    }
    Ok(ask)
}

fn uri(authority: &[u8], target: &[u8]) -> Result<Uri, Untellable> {
    let target = PathAndQuery::try_from(target)
        .or_else(|_| PathAndQuery::try_from(escaped(target).as_slice()));
    Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(target.map_err(|_| Untellable)?)
        .build()
        .map_err(|_| Untellable)
}

/// Clients send what no URI may hold, and no HTTP/1 server minds: escaped it is the same to an app.
fn escaped(target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len() + 32);
    for &byte in target {
        if b"\"<>\\^`{|}".contains(&byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::h1::request::Progress;
    use crate::host::Host;

    fn asked(head: &str) -> Request<()> {
        let mut request = RequestHead::default();
        request.advance(head.as_bytes()).unwrap();
        of(head.as_bytes(), &request).unwrap()
    }

    #[test]
    fn a_request_is_asked_over_a_stream() {
        let ask = asked(
            "POST /a?b HTTP/1.1\r\nHost: app.test:1\r\nTransfer-Encoding: chunked\r\n\
             Connection: TE\r\nTE: trailers\r\nX: y\r\nX: z\r\n\r\n",
        );
        assert_eq!(
            (ask.method().as_str(), ask.uri().to_string().as_str()),
            ("POST", "http://app.test:1/a?b")
        );
        let fields: Vec<_> = ask
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(fields, [("x", "y"), ("x", "z"), ("te", "trailers")]);
    }

    #[test]
    fn an_upgrade_is_not_asked_for() {
        let ask =
            asked("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(ask.headers().len(), 0);
    }
    #[test]
    fn what_no_uri_may_hold_is_escaped() {
        let ask = asked("GET /<a>?q=<b>&\"c`{} HTTP/1.1\r\nHost: a\r\n\r\n");
        let expected = "http://a/%3Ca%3E?q=%3Cb%3E&%22c%60%7B%7D";
        assert_eq!(ask.uri().to_string(), expected);
    }

    proptest! {
        /// A target is never to blame for what a client asks.
        #[test]
        fn whatever_is_understood_can_be_asked(
            method in "[A-Z!#$%&'*+.^_`|~-]{1,9}",
            target in "/[!-~]{0,20}",
            host in "([a-zA-Z0-9._~-]{1,9}|\\[::1\\])(:[0-9]{0,5})?",
            name in "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,9}",
            value in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{name}: ");
            let mut bytes = head.into_bytes();
            bytes.extend_from_slice(&value);
            bytes.extend_from_slice(b"\r\n\r\n");
            let mut head = RequestHead::ours();
            let understood = matches!(head.advance(&bytes), Ok(Progress::Complete));
            if understood && Host::parse(head.host.of(&bytes)).is_some() {
                prop_assert!(of(&bytes, &head).is_ok(), "{}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}
