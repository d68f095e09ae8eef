//! The head of a request, read strictly.

use super::body::Framing;
use super::field::{ConnectionOptions, Field, Role, Span};
use super::malformed::Malformed;
use super::syntax::{self, Line};
use crate::host::Host;
use crate::limits;

/// Whether a head is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Partial,
    Complete,
}

/// A request's head: places in the buffer that holds it, and what it means.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a request")]
pub(crate) struct RequestHead {
    pub(crate) method: Span,
    /// As it is passed on: a path with its query, or `*`.
    pub(crate) target: Span,
    pub(crate) line: Span,
    /// `Host`, or the authority of an absolute target.
    pub(crate) host: Span,
    pub(crate) fields: Vec<Field>,
    pub(crate) connection: ConnectionOptions,
    pub(crate) framing: Framing,
    /// HTTP/1.1, else 1.0.
    pub(crate) is_11: bool,
    pub(crate) is_options: bool,
    /// There is a body, and the client waits for a word before it sends it.
    pub(crate) expects_continue: bool,
    /// The client takes fields behind the body of the answer.
    pub(crate) takes_trailers: bool,
    /// The protocol that the client would switch to.
    pub(crate) upgrade: Option<Span>,
    pub(crate) referer: Span,
    pub(crate) user_agent: Span,
    /// Bytes of the head, once it is complete.
    pub(crate) len: usize,
    at: usize,
    /// The first `Host`.
    named: Option<Span>,
    /// There are fields beside it that say something only together.
    framed: bool,
    /// It is the head of an HTTP/2 stream, written as this one is.
    pub(crate) is_translated: bool,
    is_ours: bool,
}

impl RequestHead {
    /// Of what we have written ourselves. It has been held to the limits before we added to it.
    pub(crate) fn ours() -> RequestHead {
        RequestHead { is_ours: true, ..RequestHead::default() }
    }

    /// What comes is what our own side has made of an HTTP/2 stream.
    pub(crate) fn translate(&mut self) {
        self.is_translated = true;
    }

    /// Forgets the last head; its memory is kept.
    pub(crate) fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        let mut connection = std::mem::take(&mut self.connection);
        fields.clear();
        connection.clear();
        *self = RequestHead { fields, connection, is_ours: self.is_ours, ..RequestHead::default() };
    }

    /// Reads on in `bytes`, which start with the head and grow from call to call.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<Progress, Malformed> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let (line, token) = match syntax::line(rest) {
                Line::Whole(line, token) => (line, token),
                Line::Partial => {
                    self.check_partial(rest, bytes.len())?;
                    return Ok(Progress::Partial);
                }
                Line::Unended => return Err(Malformed::LineEnding),
                Line::Control if self.line == Span::default() => {
                    return Err(Malformed::RequestLine);
                }
                Line::Control => return Err(Malformed::FieldValue),
            };
            let start = self.at;
            self.at += line.len() + 2;
            if self.at > limits::HEAD && !self.is_ours {
                return Err(self.too_large());
            }
            if !line.is_empty() {
                if self.line == Span::default() {
                    self.start_line(line, token, start)?;
                } else {
                    self.field(bytes, Field::read(line, token, start)?)?;
                }
            } else if self.line != Span::default() {
                self.len = self.at;
                self.finish(bytes)?;
                return Ok(Progress::Complete);
            } else if start > 0 {
                // One empty line before a request is what old clients send after a body.
                return Err(Malformed::RequestLine);
            }
        }
    }

    /// Refuses as early as a line without an end allows.
    fn check_partial(&self, rest: &[u8], have: usize) -> Result<(), Malformed> {
        let is_long = self.line == Span::default() && rest.len() > limits::TARGET + 256;
        if (have >= limits::HEAD || is_long) && !self.is_ours {
            return Err(self.too_large());
        }
        Ok(())
    }

    fn too_large(&self) -> Malformed {
        if self.line == Span::default() {
            Malformed::TargetTooLong
        } else {
            Malformed::HeadTooLarge
        }
    }

    /// `token`: how many bytes at its front may be a method.
    fn start_line(&mut self, line: &[u8], token: usize, start: usize) -> Result<(), Malformed> {
        // Also where it comes in one piece: how it comes must never matter.
        if line.len() >= limits::TARGET + 256 && !self.is_ours {
            return Err(Malformed::TargetTooLong);
        }
        let Some((method @ [_, ..], [b' ', rest @ ..])) = line.split_at_checked(token) else {
            return Err(Malformed::RequestLine);
        };
        let clean = syntax::target_len(rest);
        let end = match rest.get(clean) {
            Some(b' ') => clean,
            _ => syntax::find(b' ', rest).ok_or(Malformed::RequestLine)?,
        };
        let (target, version) = rest.split_at_checked(end).ok_or(Malformed::RequestLine)?;
        self.is_11 = match version {
            b" HTTP/1.1" => true,
            b" HTTP/1.0" => false,
            b" HTTP/2.0" if self.is_translated => true,
            [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Malformed::Version);
            }
            _ => return Err(Malformed::RequestLine),
        };
        if target.len() > limits::TARGET && !self.is_ours {
            return Err(Malformed::TargetTooLong);
        }
        // Methods have a case, but not every app knows: `head` has a body or has none.
        if method.iter().any(u8::is_ascii_lowercase) {
            return Err(Malformed::MethodCase);
        }
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Malformed::Method);
        }
        self.is_options = method == b"OPTIONS";
        if target.is_empty() || clean < end {
            return Err(Malformed::Target);
        }
        self.method = Span::within(line, method, start);
        self.line = Span { start, end: start + line.len() };
        let (authority, path) = match target {
            [b'/', ..] => (None, target),
            b"*" if self.is_options => (None, target),
            _ => absolute(target)?,
        };
        self.target = Span::within(line, path, start);
        if let Some(authority) = authority {
            self.host = Span::within(line, authority, start);
        }
        Ok(())
    }

    #[inline]
    fn field(&mut self, head: &[u8], field: Field) -> Result<(), Malformed> {
        if self.fields.len() >= limits::FIELDS && !self.is_ours {
            return Err(Malformed::TooManyFields);
        }
        match field.role {
            Role::Connection => self.connection.add(head, field.value)?,
            Role::Referer => self.referer = field.value,
            Role::UserAgent => self.user_agent = field.value,
            Role::Upgrade => self.upgrade = Some(field.value),
            Role::Te => self.takes_trailers |= names_trailers(field.value.of(head)),
            Role::Host if self.named.is_none() => self.named = Some(field.value),
            Role::Host | Role::ContentLength | Role::TransferEncoding | Role::Expect => {
                self.framed = true;
            }
            Role::End | Role::Trailer | Role::Hop | Role::Forwarded => {}
        }
        self.fields.push(field);
        Ok(())
    }

    /// What the fields mean together.
    fn finish(&mut self, head: &[u8]) -> Result<(), Malformed> {
        let mut host = self.named.filter(|_| !self.framed);
        let mut length = None;
        let mut chunked = false;
        let together: &[Field] = if self.framed { &self.fields } else { &[] };
        for field in together {
            let value = field.value.of(head);
            match field.role {
                Role::Host => {
                    if host.replace(field.value).is_some() {
                        return Err(Malformed::HostRepeated);
                    }
                }
                Role::ContentLength => {
                    let value = syntax::decimal(value).ok_or(Malformed::Length)?;
                    if length.replace(value).is_some() {
                        return Err(Malformed::LengthRepeated);
                    }
                }
                Role::TransferEncoding => {
                    if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Malformed::Encoding);
                    }
                    chunked = true;
                }
                Role::Expect => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Malformed::Expectation);
                    }
                    self.expects_continue = self.is_11;
                }
                Role::End
                | Role::Connection
                | Role::Upgrade
                | Role::Te
                | Role::Trailer
                | Role::Referer
                | Role::UserAgent
                | Role::Hop
                | Role::Forwarded => {}
            }
        }
        if chunked && !self.is_11 {
            return Err(Malformed::EncodingIn10);
        }
        self.framing = match (chunked, length) {
            (true, Some(_)) => return Err(Malformed::LengthAndEncoding),
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::None,
        };
        if self.host == Span::default() {
            self.host = host.unwrap_or_default();
        } else if host.is_some_and(|host| Host::parse(host.of(head)).is_none()) {
            // Not looked at otherwise: the authority of the target is what counts.
            return Err(Malformed::Host);
        }
        if host.is_none() && self.is_11 {
            return Err(Malformed::HostMissing);
        }
        let bodiless = matches!(self.framing, Framing::None | Framing::Length(0));
        self.expects_continue &= !bodiless;
        self.takes_trailers &= self.is_11;
        // An upgrade with a body would leave two readers of what follows.
        let offers = self.connection.upgrade && self.is_11 && bodiless;
        self.upgrade = self.upgrade.filter(|offer| offers && is_offer(offer.of(head)));
        Ok(())
    }

    /// Whether the client would send another request on this connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        !self.connection.close && (self.is_11 || self.connection.keep_alive)
    }

    /// The request line and `Host`, where they came as we write them, one behind the other.
    pub(crate) fn beginning(&self, head: &[u8]) -> Option<Span> {
        let host = self.fields.first().filter(|field| field.role == Role::Host && field.plain)?;
        let is_ours = self.is_11
            && !self.is_translated
            && self.target == Span { start: self.method.end + 1, end: self.line.end - 9 }
            && self.host == host.value
            && host.name.of(head) == b"Host";
        is_ours.then_some(Span { start: self.line.start, end: host.value.end + 2 })
    }

    /// Whether doing it twice is the same as doing it once.
    pub(crate) fn is_idempotent(&self, head: &[u8]) -> bool {
        matches!(self.method.of(head), b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
    }
}

/// Whether `TE` names `trailers`, which has no weight.
fn names_trailers(value: &[u8]) -> bool {
    syntax::list(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Whether protocols are offered that a tunnel can be made for.
///
/// Another HTTP, or TLS around this one, would be requests that nobody here reads: a way around
/// every route. Such an offer is not passed on, and the request is one like any other.
fn is_offer(value: &[u8]) -> bool {
    let passes = |protocol: &[u8]| {
        let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let version = protocol.get(name.len() + 1..);
        syntax::is_token(name)
            && version.is_none_or(syntax::is_token)
            && !["h2c", "h2", "h3", "http", "https", "tls", "ssl"].into_iter().any(is)
    };
    let mut protocols = syntax::list(value).peekable();
    protocols.peek().is_some() && protocols.all(passes)
}

/// The authority and the path of an absolute target.
fn absolute(target: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Malformed> {
    let scheme = |known: &'static [u8]| {
        target
            .split_at_checked(known.len())
            .filter(|(start, _)| start.eq_ignore_ascii_case(known))
            .map(|(_, rest)| rest)
    };
    let rest = scheme(b"http://").or_else(|| scheme(b"https://")).ok_or(Malformed::Target)?;
    let end = rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(Malformed::Target)?;
    match path {
        // Whoever sends these can send the path, too; passing on `?a` as it is would be wrong.
        _ if authority.is_empty() => Err(Malformed::Target),
        [b'?', ..] => Err(Malformed::Target),
        // The path of an address without one is `/`; there is one in its `://`.
        [] => Ok((Some(authority), target.get(6..7).unwrap_or_default())),
        _ => Ok((Some(authority), path)),
    }
}
