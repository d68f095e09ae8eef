//! The head of an answer, from HTTP/1 to what a stream is told, and back.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::h1::field::{Field, Role, is_of_connection};
use crate::h1::response::ResponseHead;
use crate::h1::syntax;

/// A head that cannot be told in HTTP/2: a field of it has a name or a value that it does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untellable;

/// Fields without those about the connection. `101` says 200 here, and proves nothing: that is between
/// the proxy and the app. `to_websocket`: one was asked for. To who asks that, each 2xx says that it is open
/// (RFC 8441, 5), so that an app which has answered as if nothing of the kind was asked is 501.
pub(super) fn of(
    bytes: &[u8],
    head: &ResponseHead,
    to_websocket: bool,
) -> Result<Response<()>, Untellable> {
    let mut answer = Response::new(());
    let switched = head.status == 101;
    let status = match head.status {
        101 => 200,
        200..=299 if to_websocket => 501,
        status => status,
    };
    *answer.status_mut() = StatusCode::from_u16(status).map_err(|_| Untellable)?;
    let fields = answer.headers_mut();
    fields.reserve(head.fields.len());
    for field in &head.fields {
        let name = field.name.of(bytes);
        let is_proof = || switched && name.eq_ignore_ascii_case(b"sec-websocket-accept");
        if passes(field) && !is_proof() {
            push(fields, name, field.value.of(bytes))?;
        }
    }
    Ok(answer)
}

/// The fields behind a body, of which each is a line.
pub(super) fn trailers(section: &[u8]) -> Result<HeaderMap, Untellable> {
    let mut fields = HeaderMap::new();
    for line in section.split_inclusive(|&byte| byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\r\n") else { continue };
        let field = Field::parse(line, 0).map_err(|_| Untellable)?;
        push(&mut fields, field.name.of(line), field.value.of(line))?;
    }
    Ok(fields)
}

/// What comes behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nothing can: it need not be said.
    Nothing,
    /// Nothing does.
    Empty,
    /// As many bytes as the head says.
    Measured,
    /// Whatever comes before the end of the stream.
    Open,
}

/// A head that a stream has brought, as HTTP/1 has it. It is read strictly afterwards.
pub(super) fn written<B>(answer: &Response<B>, behind: Behind) -> Bytes {
    let mut out = b"HTTP/1.1 ".to_vec();
    out.extend_from_slice(answer.status().as_str().as_bytes());
    out.extend_from_slice(b" \r\n");
    for (name, value) in answer.headers() {
        if !is_of_connection(name.as_str().as_bytes()) {
            push_line(name, value, &mut out);
        }
    }
    out.extend_from_slice(match behind {
        Behind::Nothing | Behind::Measured => b"\r\n",
        Behind::Empty => b"content-length: 0\r\n\r\n",
        Behind::Open => b"transfer-encoding: chunked\r\n\r\n",
    });
    Bytes::from(out)
}

/// Appends one field.
pub(super) fn push_line(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

pub(super) fn push(fields: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Untellable> {
    let name = HeaderName::from_bytes(name).map_err(|_| Untellable)?;
    let value = HeaderValue::from_bytes(syntax::trim(value)).map_err(|_| Untellable)?;
    fields.try_append(name, value).map_err(|_| Untellable)?;
    Ok(())
}

pub(super) fn passes(field: &Field) -> bool {
    match field.role {
        Role::End
        | Role::Host
        | Role::ContentLength
        | Role::Expect
        | Role::Trailer
        | Role::Referer
        | Role::UserAgent
        | Role::Forwarded => true,
        Role::Connection | Role::TransferEncoding | Role::Upgrade | Role::Te | Role::Hop => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(head: &str, to_websocket: bool) -> Response<()> {
        let mut response = ResponseHead::default();
        response.advance(head.as_bytes(), false).unwrap();
        of(head.as_bytes(), &response, to_websocket).unwrap()
    }

    #[test]
    fn what_is_about_the_connection_stays_with_it() {
        let answer = told(
            "HTTP/1.1 200 OK\r\nContent-Type: a\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n\
             Transfer-Encoding: chunked\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n",
            false,
        );
        assert_eq!(answer.status(), 200);
        let names: Vec<&str> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "set-cookie"]);
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn switching_is_success() {
        let answer = told(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
            true,
        );
        assert_eq!(answer.status(), 200);
        let names: Vec<&str> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["sec-websocket-protocol"]);
    }

    #[test]
    fn success_of_something_else_is_no_websocket() {
        for (status, expected) in [(200, 501), (204, 501), (103, 103), (302, 302), (404, 404)] {
            let head = format!("HTTP/1.1 {status} X\r\n\r\n");
            assert_eq!(told(&head, true).status(), expected);
            assert_eq!(told(&head, false).status(), status);
        }
    }

    #[test]
    fn fields_behind_a_body_are_told_as_such() {
        let fields = trailers(b"Grpc-Status: 0\r\nX: \r\n").unwrap();
        assert_eq!(fields.get("grpc-status").unwrap(), "0");
        assert_eq!(fields.len(), 2);
        assert_eq!(trailers(b"").unwrap().len(), 0);
    }
}
