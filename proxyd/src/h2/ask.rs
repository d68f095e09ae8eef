//! The head of a request, from HTTP/1 to what a target is asked over a stream.

use http::{HeaderMap, Method, Request, Uri, Version};

use super::answer::{Untellable, passes, push};
use crate::h1::field::Role;
use crate::h1::request::RequestHead;

/// Fields without those about the connection; an upgrade is none here, and what offered it is a request.
pub(super) fn of(bytes: &[u8], head: &RequestHead) -> Result<Request<()>, Untellable> {
    let mut ask = Request::new(());
    *ask.version_mut() = Version::HTTP_2;
    *ask.method_mut() = Method::from_bytes(head.method.of(bytes)).map_err(|_| Untellable)?;
    *ask.uri_mut() = Uri::builder()
        .scheme("http")
        .authority(head.host.of(bytes))
        .path_and_query(head.target.of(bytes))
        .build()
        .map_err(|_| Untellable)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
