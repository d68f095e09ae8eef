//! The head of a response, read as strictly: what is ambiguous here would be a response split.

use super::body::Framing;
use super::field::{ConnectionOptions, Field, Role, Span};
use super::malformed::Malformed;
use super::request::Progress;
use super::syntax::{self, Line};
use super::words;
use crate::limits;

/// How a body comes that has no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To its end, without long pauses.
    Plain,
    /// Events, whenever there are any.
    Events,
    /// The messages that answer a call, and a status behind them, as gRPC has it.
    Call,
}

/// The type of those, as far as all of them have it.
const GRPC: &[u8] = b"application/grpc";

/// A response's head.
#[derive(Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    /// `200 OK`, as it came.
    pub(crate) status_text: Span,
    pub(crate) fields: Vec<Field>,
    pub(crate) connection: ConnectionOptions,
    pub(crate) framing: Framing,
    /// Passed on where there is no body, too: it tells what a GET would have brought.
    pub(crate) length: Option<u64>,
    pub(crate) upgrade: Option<Span>,
    /// It says when it was made.
    pub(crate) is_dated: bool,
    /// The seconds of `Keep-Alive: timeout=N`.
    pub(crate) keep_alive_timeout: Option<u64>,
    pub(crate) len: usize,
    is_11: bool,
    at: usize,
    is_ours: bool,
}

impl ResponseHead {
    /// Of what we have written ourselves. It has been held to the limits before we added to it.
    pub(crate) fn ours() -> ResponseHead {
        ResponseHead { is_ours: true, ..ResponseHead::default() }
    }

    /// Forgets the last head; its memory is kept.
    pub(crate) fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        let mut connection = std::mem::take(&mut self.connection);
        fields.clear();
        connection.clear();
        *self =
            ResponseHead { fields, connection, is_ours: self.is_ours, ..ResponseHead::default() };
    }

    /// Reads on in `bytes`. `to_head`: it answers a HEAD, so that there is no body. What is complete stays so.
    pub(crate) fn advance(&mut self, bytes: &[u8], to_head: bool) -> Result<Progress, Malformed> {
        if self.len > 0 {
            return Ok(Progress::Complete);
        }
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let (line, token) = match syntax::line(rest) {
                Line::Whole(line, token) => (line, token),
                Line::Partial if bytes.len() >= limits::HEAD && !self.is_ours => {
                    return Err(Malformed::HeadTooLarge);
                }
                Line::Partial => return Ok(Progress::Partial),
                Line::Unended => return Err(Malformed::LineEnding),
                Line::Control if self.status == 0 => return Err(Malformed::StatusLine),
                Line::Control => return Err(Malformed::FieldValue),
            };
            let start = self.at;
            self.at += line.len() + 2;
            if self.at > limits::HEAD && !self.is_ours {
                return Err(Malformed::HeadTooLarge);
            }
            if self.status == 0 {
                self.status_line(line, start)?;
            } else if line.is_empty() {
                self.len = self.at;
                self.finish(bytes, to_head)?;
                return Ok(Progress::Complete);
            } else {
                if self.fields.len() >= limits::FIELDS && !self.is_ours {
                    return Err(Malformed::TooManyFields);
                }
                let field = Field::read(line, token, start)?;
                match field.role {
                    Role::Connection => self.connection.add(bytes, field.value)?,
                    Role::Upgrade => self.upgrade = Some(field.value),
                    Role::Hop => self.hop(field.name.of(bytes), field.value.of(bytes)),
                    Role::End => self.is_dated |= words::same(field.name.of(bytes), b"date"),
                    Role::Host
                    | Role::ContentLength
                    | Role::TransferEncoding
                    | Role::Expect
                    | Role::Te
                    | Role::Trailer
                    | Role::Referer
                    | Role::UserAgent
                    | Role::Forwarded => {}
                }
                self.fields.push(field);
            }
        }
    }

    fn status_line(&mut self, line: &[u8], start: usize) -> Result<(), Malformed> {
        let (version, text) = line.split_at_checked(9).ok_or(Malformed::StatusLine)?;
        self.is_11 = match version {
            b"HTTP/1.1 " => true,
            b"HTTP/1.0 " => false,
            _ => return Err(Malformed::StatusLine),
        };
        let (code, reason) = text.split_at_checked(3).ok_or(Malformed::StatusLine)?;
        let status = syntax::decimal(code).ok_or(Malformed::StatusLine)?;
        if !(reason.is_empty() || reason.starts_with(b" ")) {
            return Err(Malformed::StatusLine);
        }
        self.status =
            u16::try_from(status).ok().filter(|s| *s >= 100).ok_or(Malformed::StatusLine)?;
        self.status_text = Span { start: start + 9, end: start + line.len() };
        Ok(())
    }

    /// What is meant for us alone. A `Keep-Alive` that is not understood promises nothing.
    fn hop(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"keep-alive") {
            let seconds =
                |option: &[u8]| option.strip_prefix(b"timeout=").and_then(syntax::decimal);
            self.keep_alive_timeout = syntax::list(value).find_map(seconds);
        }
    }

    fn finish(&mut self, head: &[u8], to_head: bool) -> Result<(), Malformed> {
        let mut chunked = false;
        for field in &self.fields {
            let value = field.value.of(head);
            match field.role {
                Role::ContentLength => {
                    let value = syntax::decimal(value).ok_or(Malformed::Length)?;
                    if self.length.replace(value).is_some() {
                        return Err(Malformed::LengthRepeated);
                    }
                }
                Role::TransferEncoding => {
                    if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Malformed::Encoding);
                    }
                    chunked = true;
                }
                Role::End
                | Role::Host
                | Role::Connection
                | Role::Upgrade
                | Role::Expect
                | Role::Te
                | Role::Trailer
                | Role::Referer
                | Role::UserAgent
                | Role::Hop
                | Role::Forwarded => {}
            }
        }
        if chunked && self.length.is_some() {
            return Err(Malformed::LengthAndEncoding);
        }
        if chunked && !self.is_11 {
            return Err(Malformed::EncodingIn10);
        }
        self.framing = match (self.status, self.length) {
            (100..=199 | 204, length) => {
                // What frames no body here frames one to somebody: nothing more is asked there.
                self.connection.close |= chunked || length.is_some_and(|length| length > 0);
                self.length = None;
                Framing::None
            }
            (304, length) => {
                self.connection.close |= chunked || length.is_some_and(|length| length > 0);
                Framing::None
            }
            _ if to_head => {
                // An app that sends the body all the same may do so late, when it would be the next
                // answer: nothing more is asked where there may be one.
                self.connection.close |= self.length != Some(0);
                Framing::None
            }
            (_, Some(length)) => Framing::Length(length),
            (_, None) if chunked => Framing::Chunked,
            (_, None) => Framing::UntilClose,
        };
        Ok(())
    }

    /// The status line, where it came as we write it: in this version, and with a space behind the status.
    pub(crate) fn beginning(&self) -> Option<Span> {
        let Span { start, end } = self.status_text;
        (self.is_11 && end - start > 3).then_some(Span { start: start - 9, end: end + 2 })
    }

    /// Whether the body goes on for as long as its sender has something to say.
    pub(crate) fn flow(&self, head: &[u8]) -> Flow {
        let is_type = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(b"content-type");
        let Some(field) = self.fields.iter().find(is_type) else { return Flow::Plain };
        let kind = field.value.of(head).split(|&byte| byte == b';').next().unwrap_or_default();
        let kind = syntax::trim(kind);
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            return Flow::Events;
        }
        // With a suffix it says how messages are written.
        let Some((name, suffix)) = kind.split_at_checked(GRPC.len()) else { return Flow::Plain };
        let is_call = name.eq_ignore_ascii_case(GRPC) && matches!(suffix, [] | [b'+', ..]);
        if is_call { Flow::Call } else { Flow::Plain }
    }

    /// Whether the target would answer another request on this connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.framing != Framing::UntilClose
            && !self.connection.close
            && (self.is_11 || self.connection.keep_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_events_are_known_by_their_type() {
        for (kind, flow) in [
            ("text/event-stream; charset=utf-8", Flow::Events),
            ("application/grpc", Flow::Call),
            ("Application/gRPC+proto;a=b", Flow::Call),
            ("application/grpc-web", Flow::Plain),
            ("application/gr", Flow::Plain),
            ("text/plain", Flow::Plain),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n");
            let mut response = ResponseHead::default();
            response.advance(head.as_bytes(), false).unwrap();
            assert_eq!(response.flow(head.as_bytes()), flow, "{kind}");
        }
    }
}
