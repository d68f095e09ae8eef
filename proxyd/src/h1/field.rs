//! One field of a head, and which fields a proxy must not pass on.

use super::malformed::Malformed;
use super::{syntax, words};
use crate::limits;

/// A part of a head, by its place in the buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    /// Its bytes. A span that is not of this buffer is empty, not a panic.
    pub(crate) fn of(self, head: &[u8]) -> &[u8] {
        head.get(self.start..self.end).unwrap_or_default()
    }

    /// The place of `part`, which was cut out of `whole`, when `whole` starts at `base`.
    pub(crate) fn within(whole: &[u8], part: &[u8], base: usize) -> Span {
        let start = base + part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
        Span { start, end: start + part.len() }
    }
}

/// What the proxy does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Passed on as it is.
    End,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Upgrade,
    Expect,
    Te,
    /// Announces fields behind the body: passed on where they are.
    Trailer,
    Referer,
    UserAgent,
    /// Meant for the next hop only: dropped.
    Hop,
    /// Tells where a request came from: only our own word counts.
    Forwarded,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) role: Role,
    pub(crate) name: Span,
    pub(crate) value: Span,
    /// The line is `name: value` and nothing else, so that it can be copied whole.
    pub(crate) plain: bool,
}

impl Field {
    /// Reads a line without its CR LF and without controls; `base` is where it starts in the head.
    pub(crate) fn parse(line: &[u8], base: usize) -> Result<Field, Malformed> {
        Field::read(line, syntax::token_len(line), base)
    }

    /// The same of a line that is known to begin with a token of so many bytes.
    #[expect(clippy::inline_always, reason = "so it is not moved on its way into its list")]
    #[inline(always)]
    pub(super) fn read(line: &[u8], token: usize, base: usize) -> Result<Field, Malformed> {
        let Some((name @ [_, ..], [b':', rest @ ..])) = line.split_at_checked(token) else {
            return Err(match line {
                [b' ' | b'\t', ..] => Malformed::Folded,
                _ => Malformed::FieldName,
            });
        };
        let (role, colon) = (role(name), base + token);
        let name = Span { start: base, end: colon };
        // As it mostly is: one space, and none behind the value.
        if let [b' ', value @ ..] = rest
            && value.first().is_some_and(|&first| first > b' ')
            && value.last().is_some_and(|&last| last > b' ')
        {
            let value = Span { start: colon + 2, end: base + line.len() };
            return Ok(Field { role, name, value, plain: true });
        }
        let value = syntax::trim(rest);
        let plain = rest.len() == value.len() + 1 && rest.first() == Some(&b' ');
        Ok(Field { role, name, value: Span::within(line, value, base), plain })
    }
}

/// What to do with a field of this name. Length and first letter first: most names are decided by them.
#[inline]
fn role(name: &[u8]) -> Role {
    let is = |known: &str| words::same(name, known.as_bytes());
    match (name.len(), name.first().map_or(0, |first| first | 0x20)) {
        (2, b't') if is("te") => Role::Te,
        (4, b'h') if is("host") => Role::Host,
        // A CGI-style app reads it as the address of its own proxy.
        (5, b'p') if is("proxy") => Role::Hop,
        (6, b'e') if is("expect") => Role::Expect,
        (7, b'u') if is("upgrade") => Role::Upgrade,
        (7, b'r') if is("referer") => Role::Referer,
        (7, b't') if is("trailer") => Role::Trailer,
        (9, b'f') if is("forwarded") => Role::Forwarded,
        // `_` too: a CGI-style app cannot tell it from `-`.
        (9, b'x') if like(name, "x-real-ip") => Role::Forwarded,
        (10, b'c') if is("connection") => Role::Connection,
        (10, b'k') if is("keep-alive") => Role::Hop,
        (10, b'u') if is("user-agent") => Role::UserAgent,
        (14, b'c') if is("content-length") => Role::ContentLength,
        // Part of an upgrade that is never passed on. It has a digit.
        (14, b'h') if name.eq_ignore_ascii_case(b"http2-settings") => Role::Hop,
        (16, b'p') if is("proxy-connection") => Role::Hop,
        (17, b't') if is("transfer-encoding") => Role::TransferEncoding,
        // `_` for `-` in the names that frame a message: two readers could disagree.
        (14, b'c') if like(name, "content-length") => Role::Hop,
        (17, b't') if like(name, "transfer-encoding") => Role::Hop,
        (13.., b'x') if starts_like(name, "x-forwarded-") => Role::Forwarded,
        _ => Role::End,
    }
}

/// Whether a field of this name, in lower case, is about the connection or how a message is framed on it.
pub(crate) fn is_of_connection(name: &[u8]) -> bool {
    match role(name) {
        Role::Connection | Role::TransferEncoding | Role::Upgrade => true,
        Role::Hop => matches!(name, b"keep-alive" | b"proxy-connection" | b"http2-settings"),
        Role::End
        | Role::Host
        | Role::ContentLength
        | Role::Expect
        | Role::Te
        | Role::Trailer
        | Role::Referer
        | Role::UserAgent
        | Role::Forwarded => false,
    }
}

/// Equal but for case and `_` instead of `-`.
#[cold]
pub(super) fn like(name: &[u8], known: &str) -> bool {
    name.len() == known.len()
        && name.iter().zip(known.bytes()).all(|(&byte, known)| {
            byte.eq_ignore_ascii_case(&known) || (byte == b'_' && known == b'-')
        })
}

/// The same name to somebody who cannot tell `_` from `-`.
pub(crate) fn alike(one: &[u8], other: &[u8]) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().zip(other).all(|(&a, &b)| plain(a) == plain(b))
}

/// Begins with `known`, but for case and `_` instead of `-`.
pub(super) fn starts_like(name: &[u8], known: &str) -> bool {
    name.get(..known.len()).is_some_and(|start| like(start, known))
}

/// What the `Connection` fields of a head say.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// Fields that it declares to be for this hop only.
    named: Vec<Span>,
}

impl ConnectionOptions {
    pub(crate) fn clear(&mut self) {
        self.close = false;
        self.keep_alive = false;
        self.upgrade = false;
        self.named.clear();
    }

    /// Takes in the value of one `Connection` field.
    pub(crate) fn add(&mut self, head: &[u8], value: Span) -> Result<(), Malformed> {
        for option in syntax::list(value.of(head)) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if self.named.len() < limits::FIELDS {
                self.named.push(Span::within(head, option, 0));
            } else {
                // Each is compared with each field.
                return Err(Malformed::TooManyFields);
            }
        }
        Ok(())
    }

    /// The names of the fields that are for this hop only.
    pub(crate) fn named<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.named.iter().map(|named| named.of(head))
    }

    /// Whether a field of this name was declared to be for this hop only.
    pub(crate) fn names(&self, head: &[u8], name: Span) -> bool {
        !self.named.is_empty()
            && self.named.iter().any(|named| named.of(head).eq_ignore_ascii_case(name.of(head)))
    }
}

/// Appends the fields that pass on, in their order. Neighbours are copied in one go, and with them what
/// has `begun` before them.
pub(crate) fn copy_passing(
    head: &[u8],
    begun: Span,
    (fields, options): (&[Field], &ConnectionOptions),
    passes: impl Fn(Role) -> bool,
    out: &mut Vec<u8>,
) {
    let mut run = begun;
    for field in fields {
        if !passes(field.role) || options.names(head, field.name) {
            continue;
        }
        let line = Span { start: field.name.start, end: field.value.end + 2 };
        if field.plain && run.end == line.start {
            run.end = line.end;
            continue;
        }
        out.extend_from_slice(run.of(head));
        run = Span::default();
        if field.plain {
            run = line;
        } else {
            out.extend_from_slice(field.name.of(head));
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value.of(head));
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(run.of(head));
}
