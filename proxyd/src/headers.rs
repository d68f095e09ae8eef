//! Heads as they are written: what is passed on, what is dropped, and what the proxy says itself.

use crate::access_log::push_number;
use crate::forwarded;
use crate::front::Front;
use crate::h1::body::Framing;
use crate::h1::field::{Role, Span, copy_passing};
use crate::h1::request::RequestHead;
use crate::h1::response::ResponseHead;
use crate::origin::Origin;

/// Writes a request's head for a target.
///
/// `Host` and framing come from what was understood, not from what was sent; where a request came
/// from is our own word, and that of those whom the front trusts.
pub(crate) fn write_request(
    head: &[u8],
    request: &RequestHead,
    front: &Front,
    origin: &Origin<'_>,
    out: &mut Vec<u8>,
) {
    let begun = request.beginning(head).unwrap_or_else(|| {
        out.extend_from_slice(request.method.of(head));
        out.push(b' ');
        out.extend_from_slice(request.target.of(head));
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(request.host.of(head));
        out.extend_from_slice(b"\r\n");
        Span::default()
    });
    let passes = |role| match role {
        Role::End | Role::Referer | Role::UserAgent => true,
        Role::Expect => request.expects_continue,
        Role::Trailer => request.framing == Framing::Chunked,
        Role::Host
        | Role::Connection
        | Role::ContentLength
        | Role::TransferEncoding
        | Role::Upgrade
        | Role::Te
        | Role::Hop
        | Role::Forwarded => false,
    };
    copy_passing(head, begun, (&request.fields, &request.connection), passes, out);
    write_framing(request.framing, out);
    if let Some(protocol) = request.upgrade {
        write_upgrade(head, protocol, out);
    } else if request.takes_trailers {
        // What the client can take, this hop can: it passes them on.
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    forwarded::write(head, request, front, origin, out);
    out.extend_from_slice(b"\r\n");
}

/// Counts this hop off `Max-Forwards`, where it stands. Whether there was none left: then the request goes no further
/// (RFC 9110, section 7.6.2). What is no number is somebody else's.
#[cold]
pub(crate) fn take_hop(head: &mut [u8], request: &RequestHead) -> bool {
    let mut is_last = false;
    for field in &request.fields {
        if !field.name.of(head).eq_ignore_ascii_case(b"max-forwards") {
            continue;
        }
        let value = head.get_mut(field.value.start..field.value.end).unwrap_or_default();
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            continue;
        }
        is_last |= value.iter().all(|digit| *digit == b'0');
        // 100 becomes 099, which is the same number.
        for digit in value.iter_mut().rev() {
            if *digit > b'0' {
                *digit -= 1;
                break;
            }
            *digit = b'9';
        }
    }
    is_last
}

/// Writes a response's head for the client, with the framing that its body will have, a line that tells the `date`, if
/// that is to be added, and `own` lines.
/// `trailers`: fields behind the body will pass.
pub(crate) fn write_response(
    head: &[u8],
    response: &ResponseHead,
    framing: Framing,
    trailers: bool,
    (date, own): (&[u8], &[&[u8]]),
    out: &mut Vec<u8>,
) {
    let begun = response.beginning().unwrap_or_else(|| {
        let status = response.status_text.of(head);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status);
        // The space stands without a reason, too.
        out.extend_from_slice(if status.len() == 3 { b" \r\n" } else { b"\r\n" });
        Span::default()
    });
    let passes = |role| match role {
        Role::End | Role::Referer | Role::UserAgent | Role::Host | Role::Expect => true,
        Role::Trailer => trailers,
        Role::Connection
        | Role::ContentLength
        | Role::TransferEncoding
        | Role::Upgrade
        | Role::Te
        | Role::Hop
        | Role::Forwarded => false,
    };
    copy_passing(head, begun, (&response.fields, &response.connection), passes, out);
    match (framing, response.length) {
        // To HEAD, and with 304: it tells of a body that is not here.
        (Framing::None, Some(length)) => write_framing(Framing::Length(length), out),
        _ => write_framing(framing, out),
    }
    if let (101, Some(protocol)) = (response.status, response.upgrade) {
        write_upgrade(head, protocol, out);
    }
    out.extend_from_slice(date);
    for lines in own.iter().filter(|lines| !lines.is_empty()) {
        out.extend_from_slice(lines);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_upgrade(head: &[u8], protocol: Span, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
    out.extend_from_slice(protocol.of(head));
    out.extend_from_slice(b"\r\n");
}

/// Appends what goes before a piece of a body, and returns what goes behind it.
pub(crate) fn write_frame(
    chunked: bool,
    size: usize,
    last: bool,
    out: &mut Vec<u8>,
) -> &'static [u8] {
    if chunked && size > 0 {
        out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
    }
    match (chunked, size > 0, last) {
        (false, ..) | (true, false, false) => b"",
        (true, true, false) => b"\r\n",
        (true, true, true) => b"\r\n0\r\n\r\n",
        (true, false, true) => b"0\r\n\r\n",
    }
}
