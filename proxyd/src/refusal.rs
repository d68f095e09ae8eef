//! Answers of our own: a status and a sentence, or the page that the route has for it.

use std::borrow::Cow;
use std::time::SystemTime;

use http::StatusCode;
use thiserror::Error;

use crate::access_log::push_number;
use crate::h1::field::Field;
use crate::h1::malformed::Malformed;
use crate::h1::request::RequestHead;
use crate::h1::syntax;
use crate::limits;
use crate::rules::Rules;

/// The methods that are passed on, among those that everybody knows.
pub(crate) const ALLOW: &[u8] = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";

/// Why a request is not passed on, or has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("the request is malformed: {0}")]
    BadRequest(Malformed),
    #[error("the request did not come to its end in time")]
    Slow,
    #[error("the head of the request is larger than is allowed here")]
    LargeHead,
    #[error("the request target is longer than is allowed here")]
    LongTarget,
    #[error("the body of the request is larger than is allowed here")]
    LargeBody,
    #[error("there are too many connections from this address, close some before opening others")]
    Crowded,
    #[error("no site is known by this host name and path")]
    UnknownHost,
    #[error("the path has `..` behind a doubled slash, which servers understand differently")]
    Ambiguous,
    #[error("nothing serves this site at the moment, try again soon")]
    NoTarget,
    #[error("no connection to the app behind this site could be made")]
    Unreachable,
    #[error("the app behind this site did not take the connection in time")]
    UnreachableInTime,
    #[error("the app behind this site closed the connection without an answer")]
    NoAnswer,
    #[error("the app behind this site gave an answer that is not HTTP/1.1: {0}")]
    BadAnswer(Malformed),
    #[error("the app behind this site did not answer in time")]
    SlowAnswer,
    #[error("the proxy has no file descriptor left for what this needs")]
    Exhausted,
    #[error("the app behind this site has as many requests as it takes, try again soon")]
    Busy,
    #[error("this site is paused for a moment, try again soon")]
    Paused,
    /// With the status of an answer that was not passed on, since another target was to be asked.
    #[error("the app behind this site could not serve this request")]
    Declined(u16),
    #[error("this is elsewhere: see the field Location")]
    Moved(u16),
    #[error("this site is not for your address")]
    Forbidden,
    #[error("this site asks for a name and a password")]
    Unauthorized,
    #[error("too many passwords are being checked at the moment, try again soon")]
    Checking,
    #[error("that was too often, try again in {0} s")]
    TooOften(u32),
    /// An answer of the service, in place of which the route has a page.
    #[error("the app behind this site says so")]
    Replaced(u16),
    #[error("there is no file of this name here")]
    NoFile,
    #[error("this file is for nobody to read")]
    ClosedFile,
    #[error("this file cannot be read at the moment")]
    UnreadableFile,
    #[error("there are only files here, which can be got and nothing else")]
    OnlyFiles,
    #[error("this file is another one than the one that you know")]
    OtherFile,
    /// With the size of the file.
    #[error("this file has no such part")]
    NoPart(u64),
}

/// How an answer of our own is given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner<'a> {
    pub(crate) to_head: bool,
    /// The fields about the connection, as whole lines.
    pub(crate) connection: &'a [u8],
    pub(crate) wants_json: bool,
    /// Where the client is sent, if it is, or what the target has said with its error, as whole lines.
    pub(crate) told: &'a [u8],
    /// What its route says.
    pub(crate) rules: Option<&'a Rules>,
}

impl Refusal {
    pub(crate) fn status(self) -> u16 {
        match self {
            Refusal::BadRequest(malformed) => match malformed {
                Malformed::Method => 405,
                Malformed::TargetTooLong => 414,
                Malformed::Expectation => 417,
                Malformed::TooManyFields | Malformed::HeadTooLarge => 431,
                Malformed::Version => 505,
                Malformed::LineEnding
                | Malformed::RequestLine
                | Malformed::MethodCase
                | Malformed::Target
                | Malformed::StatusLine
                | Malformed::FieldName
                | Malformed::FieldValue
                | Malformed::Folded
                | Malformed::HostMissing
                | Malformed::HostRepeated
                | Malformed::Host
                | Malformed::Authority
                | Malformed::ConnectionField
                | Malformed::Length
                | Malformed::LengthRepeated
                | Malformed::LengthAndEncoding
                | Malformed::Encoding
                | Malformed::EncodingIn10
                | Malformed::ChunkSize
                | Malformed::ChunkEnd
                | Malformed::ChunkExtension
                | Malformed::Trailer
                | Malformed::TooManyInterim
                | Malformed::Switched => 400,
            },
            Refusal::Ambiguous => 400,
            Refusal::Slow => 408,
            Refusal::LargeBody => 413,
            Refusal::LongTarget => 414,
            Refusal::LargeHead => 431,
            Refusal::UnknownHost | Refusal::NoFile => 404,
            Refusal::NoTarget
            | Refusal::Exhausted
            | Refusal::Busy
            | Refusal::Paused
            | Refusal::Checking => 503,
            Refusal::Unreachable | Refusal::NoAnswer | Refusal::BadAnswer(_) => 502,
            Refusal::UnreachableInTime | Refusal::SlowAnswer => 504,
            Refusal::Moved(status) | Refusal::Declined(status) | Refusal::Replaced(status) => {
                status
            }
            Refusal::Forbidden | Refusal::ClosedFile => 403,
            Refusal::OnlyFiles => 405,
            Refusal::OtherFile => 412,
            Refusal::NoPart(_) => 416,
            Refusal::UnreadableFile => 500,
            Refusal::Unauthorized => 401,
            Refusal::Crowded | Refusal::TooOften(_) => 429,
        }
    }

    /// Writes the whole answer; returns how long its body is.
    pub(crate) fn write(self, manner: &Manner<'_>, out: &mut Vec<u8>) -> u64 {
        let status = self.status();
        let reason = reason(status);
        let page = manner.rules.and_then(|rules| rules.page(status));
        let (content_type, body) = match page {
            _ if manner.wants_json => {
                let message = format!("{self}.");
                let json =
                    serde_json::json!({ "status": status, "error": reason, "message": message });
                ("application/json", format!("{json}\n").into_bytes().into())
            }
            Some(page) => (page.content_type.as_str(), page.text().into()),
            None => {
                let text = format!("{status} {reason}: {self}.\n");
                ("text/plain; charset=utf-8", Cow::Owned(text.into_bytes()))
            }
        };
        let own = OwnAnswer { status, content_type, body: &body };
        own.write(
            manner.to_head,
            |out| {
                self.write_fields(manner, out);
                out.extend_from_slice(manner.connection);
            },
            out,
        )
    }

    /// What goes with the status.
    fn write_fields(self, manner: &Manner<'_>, out: &mut Vec<u8>) {
        if let Refusal::Moved(_) = self {
            out.extend_from_slice(manner.told);
            return;
        }
        out.extend_from_slice(b"Cache-Control: no-store\r\n");
        if let Refusal::Replaced(_) = self {
            out.extend_from_slice(manner.told);
            return;
        }
        if let (Refusal::Unauthorized, Some(rules)) = (self, manner.rules) {
            out.extend_from_slice(rules.challenge().unwrap_or_default());
        }
        match self {
            Refusal::OnlyFiles => {
                out.extend_from_slice(b"Allow: GET, HEAD\r\n");
                return;
            }
            Refusal::NoPart(size) => {
                out.extend_from_slice(b"Content-Range: bytes */");
                push_number(out, size);
                out.extend_from_slice(b"\r\n");
                return;
            }
            _ => {}
        }
        match self.status() {
            405 => out.extend_from_slice(ALLOW),
            429 | 503 => {
                out.extend_from_slice(b"Retry-After: ");
                match self {
                    Refusal::TooOften(seconds) => push_number(out, seconds.into()),
                    _ => out.extend_from_slice(limits::RETRY_AFTER.as_bytes()),
                }
                out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
    }
}

/// What of a target's error goes with a page in its place, as whole lines: what says how to go on, and what the status
/// means nothing without.
pub(crate) fn kept(head: &[u8], fields: &[Field]) -> Vec<u8> {
    const KEPT: [&[u8]; 4] = [b"allow", b"retry-after", b"content-range", b"proxy-authenticate"];
    let mut lines = Vec::new();
    for field in fields {
        let name = field.name.of(head);
        if KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
            for part in [name, b": ", field.value.of(head), b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
    }
    lines
}

/// An answer that is not a target's.
pub(crate) struct OwnAnswer<'a> {
    pub(crate) status: u16,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

impl OwnAnswer<'_> {
    /// Writes all of it, with what `fields` adds to the head; returns how much of a body there is.
    pub(crate) fn write(
        &self,
        to_head: bool,
        fields: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> u64 {
        out.clear();
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(out, u64::from(self.status));
        for part in [" ", reason(self.status), "\r\nContent-Type: ", self.content_type] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: ");
        push_number(out, self.body.len() as u64);
        out.extend_from_slice(b"\r\n");
        fields(out);
        out.extend_from_slice(b"\r\n");
        if to_head {
            return 0;
        }
        out.extend_from_slice(self.body);
        self.body.len() as u64
    }
}

/// Whether the first of what a client accepts is JSON.
pub(crate) fn wants_json(head: &[u8], request: &RequestHead) -> bool {
    let mut fields = request.fields.iter();
    let accept = fields.find(|field| field.name.of(head).eq_ignore_ascii_case(b"accept"));
    let first = accept.and_then(|accept| syntax::list(accept.value.of(head)).next());
    let kind = first.and_then(|first| first.split(|&byte| byte == b';').next());
    kind.is_some_and(|kind| syntax::trim(kind).eq_ignore_ascii_case(b"application/json"))
}

/// What a status is called, by RFC 9110.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        // The `http` crate has them by their former names.
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_where_it_is_the_first_choice() {
        for (accept, wanted) in [
            ("application/json", true),
            ("Application/JSON;q=0.9, */*", true),
            ("text/html, application/json", false),
            ("*/*", false),
            ("", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
            let mut request = RequestHead::default();
            request.advance(head.as_bytes()).unwrap();
            assert_eq!(wants_json(head.as_bytes(), &request), wanted, "{accept}");
        }
    }

    #[test]
    fn a_status_is_called_what_the_standard_calls_it() {
        for (status, called) in [
            (200, "OK"),
            (206, "Partial Content"),
            (304, "Not Modified"),
            (308, "Permanent Redirect"),
            (413, "Content Too Large"),
            (418, "I'm a teapot"),
            (422, "Unprocessable Content"),
            (507, "Insufficient Storage"),
            (599, "Unknown"),
        ] {
            assert_eq!(reason(status), called);
        }
    }
}
