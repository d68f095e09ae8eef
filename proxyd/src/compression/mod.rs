//! Compression of answers: which of them, by what, and the encoders.
//!
//! Nothing is compressed that is so already, that is little, that is a part of something, or whose bytes somebody has
//! vouched for. What could have been is told apart for caches by `Vary`, also where it was not.

mod coding;
mod encoder;
mod types;

pub(crate) use coding::{Accepted, Coding};
pub(crate) use encoder::{Encoder, Encoders};
pub(crate) use types::{NotAType, Types};

use crate::h1::field::{Field, Role};
use crate::h1::response::ResponseHead;
use crate::h1::syntax;
use crate::limits;

/// What tells caches that there are several.
pub(crate) const VARY: &[u8] = b"Vary: Accept-Encoding\r\n";

/// Whether an answer of a service is one that is compressed for whoever takes it so. `to_head`: its body is not here.
pub(crate) fn concerns(types: &Types, head: &[u8], answer: &ResponseHead, to_head: bool) -> bool {
    let has_body = match answer.status {
        100..=199 | 204 | 205 | 206 | 304 => false,
        _ => to_head || answer.framing != crate::h1::body::Framing::None,
    };
    if !has_body || answer.length.is_some_and(|length| length < limits::COMPRESSED) {
        return false;
    }
    let mut is_of_type = false;
    for field in answer.fields.iter().filter(|field| field.role == Role::End) {
        let (name, value) = (field.name.of(head), field.value.of(head));
        if name.eq_ignore_ascii_case(b"content-type") {
            is_of_type = types.has(value);
        } else if speaks_against(name, value) {
            return false;
        }
    }
    is_of_type
}

/// Whether a field says something of the body that would not be true of another form of it.
fn speaks_against(name: &[u8], value: &[u8]) -> bool {
    const OF_THIS_FORM: [&[u8]; 6] = [
        b"content-encoding",
        b"content-range",
        b"content-digest",
        b"content-md5",
        b"digest",
        b"repr-digest",
    ];
    if name.eq_ignore_ascii_case(b"cache-control") {
        return syntax::list(value).any(|word| word.eq_ignore_ascii_case(b"no-transform"));
    }
    OF_THIS_FORM.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether caches know already that it depends on what a client takes.
pub(crate) fn varies(head: &[u8], fields: &[Field]) -> bool {
    let of_vary = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(b"vary");
    fields
        .iter()
        .filter(of_vary)
        .flat_map(|field| syntax::list(field.value.of(head)))
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
}

/// Another form of the same thing has the same tag, and says that it is another.
pub(crate) fn weakened(tag: &[u8]) -> Vec<u8> {
    let weak = if tag.starts_with(b"W/") { &b""[..] } else { b"W/" };
    [b"ETag: ", weak, tag, b"\r\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_concerned(head: &str, to_head: bool) -> bool {
        let mut answer = ResponseHead::default();
        answer.advance(head.as_bytes(), to_head).unwrap();
        concerns(&Types::usual(), head.as_bytes(), &answer, to_head)
    }

    #[test]
    fn what_is_compressed_and_what_is_not() {
        let big = "Content-Type: text/html\r\nContent-Length: 5000\r\n";
        let open =
            "Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n";
        for (status, fields, expected) in [
            (200, big, true),
            (404, big, true),
            (200, open, true),
            (200, "Content-Type: text/html\r\n", true),
            (206, big, false),
            (304, big, false),
            (204, "Content-Type: text/html\r\n", false),
            (200, "Content-Type: text/html\r\nContent-Length: 1023\r\n", false),
            (200, "Content-Type: text/html\r\nContent-Length: 1024\r\n", true),
            (200, "Content-Type: image/png\r\nContent-Length: 5000\r\n", false),
            (200, "Content-Type: text/event-stream\r\n", false),
            (200, "Content-Type: application/grpc\r\n", false),
            (200, "Content-Length: 5000\r\n", false),
        ] {
            let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
            assert_eq!(is_concerned(&head, false), expected, "{head}");
            if !matches!(status, 204 | 304) {
                assert_eq!(is_concerned(&head, true), expected, "HEAD {head}");
            }
        }
        for field in [
            "Content-Encoding: gzip",
            "content-encoding: identity",
            "Content-Range: bytes 0-4999/9000",
            "Cache-Control: max-age=60, no-transform",
            "Content-Digest: sha-256=:AA==:",
            "Digest: md5=x",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{big}{field}\r\n\r\n");
            assert!(!is_concerned(&head, false), "{head}");
        }
        let head = format!("HTTP/1.1 200 OK\r\n{big}Cache-Control: no-cache\r\n\r\n");
        assert!(is_concerned(&head, false));
    }

    #[test]
    fn caches_are_told_once() {
        let is_told = |field: &str| {
            let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
            let mut answer = ResponseHead::default();
            answer.advance(head.as_bytes(), false).unwrap();
            varies(head.as_bytes(), &answer.fields)
        };
        assert!(is_told("Vary: Cookie, accept-encoding") && is_told("vary: *"));
        assert!(!is_told("Vary: Accept") && !is_told("X: Accept-Encoding"));
    }

    #[test]
    fn a_tag_of_another_form_is_weak() {
        assert_eq!(weakened(b"\"a\""), b"ETag: W/\"a\"\r\n");
        assert_eq!(weakened(b"W/\"a\""), b"ETag: W/\"a\"\r\n");
    }
}
