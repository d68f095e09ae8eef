//! Answers of our own: a status and a sentence.

use thiserror::Error;

use crate::access_log::push_number;
use crate::h1::malformed::Malformed;
use crate::limits;

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
    #[error("no site is known by this host name")]
    UnknownHost,
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
    #[error("the proxy has no file descriptor left for a connection to the app")]
    Exhausted,
    #[error("the app behind this site has as many requests as it takes, try again soon")]
    Busy,
    #[error("this site is paused for a moment, try again soon")]
    Paused,
    /// With the status of an answer that was not passed on, since another target was to be asked.
    #[error("the app behind this site could not serve this request")]
    Declined(u16),
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
            Refusal::Slow => 408,
            Refusal::LargeBody => 413,
            Refusal::LongTarget => 414,
            Refusal::Crowded => 429,
            Refusal::LargeHead => 431,
            Refusal::UnknownHost => 404,
            Refusal::NoTarget | Refusal::Exhausted | Refusal::Busy | Refusal::Paused => 503,
            Refusal::Declined(status) => status,
            Refusal::Unreachable | Refusal::NoAnswer | Refusal::BadAnswer(_) => 502,
            Refusal::UnreachableInTime | Refusal::SlowAnswer => 504,
        }
    }

    /// Writes the whole answer; returns how long its body is.
    pub(crate) fn write(self, to_head: bool, connection: &[u8], out: &mut Vec<u8>) -> u64 {
        let status = self.status();
        let reason = reason(status);
        let body = format!("{status} {reason}: {self}.\n");
        out.clear();
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: text/plain; charset=utf-8\r\n");
        out.extend_from_slice(b"Cache-Control: no-store\r\nContent-Length: ");
        push_number(out, body.len() as u64);
        out.extend_from_slice(b"\r\n");
        if matches!(status, 429 | 503) {
            out.extend_from_slice(b"Retry-After: ");
            out.extend_from_slice(limits::RETRY_AFTER.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if status == 405 {
            out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
        }
        out.extend_from_slice(connection);
        out.extend_from_slice(b"\r\n");
        if to_head {
            return 0;
        }
        out.extend_from_slice(body.as_bytes());
        body.len() as u64
    }
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
