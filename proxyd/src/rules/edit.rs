//! Changes to the fields of a head that has been written.
//!
//! What frames a message or is for one hop is not touched: the proxy has said that itself, and
//! what it relays depends on it.

use proxyd_wire as wire;
use thiserror::Error;

use crate::h1::field::alike;
use crate::h1::syntax;
use crate::limits;

/// Whose heads they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// Changes, ready to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edits {
    /// Names whose fields are dropped: of what is removed, and of what is set.
    dropped: Vec<Box<[u8]>>,
    /// Whole lines that are there instead, or in addition.
    lines: Vec<u8>,
}

/// What cannot be changed so.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAnEdit {
    #[error("{how} has `{name}`, which is no field's name: use letters, digits and hyphens")]
    Name { how: &'static str, name: String },
    #[error("{how} has `{name}`, which frames a message or is for one hop: remove it here")]
    Framing { how: &'static str, name: String },
    #[error("{how} has `{name}`, which a request has exactly once: write it under `set`")]
    Host { how: &'static str, name: String },
    #[error(
        "{how}.{name} is `{value}`: write at most {} bytes without control characters and without \
         spaces at its ends",
        limits::EDIT_VALUE
    )]
    Value { how: &'static str, name: String, value: String },
    #[error("{how}: there are more than {} changes: write fewer", limits::EDITS)]
    Many { how: &'static str },
}

impl NotAnEdit {
    pub(crate) fn key(&self) -> Vec<String> {
        match self {
            // Names are elements of `remove`, and keys of the others.
            NotAnEdit::Name { how: how @ "remove", .. }
            | NotAnEdit::Framing { how: how @ "remove", .. }
            | NotAnEdit::Host { how: how @ "remove", .. }
            | NotAnEdit::Many { how } => vec![(*how).to_owned()],
            NotAnEdit::Name { how, name }
            | NotAnEdit::Framing { how, name }
            | NotAnEdit::Host { how, name }
            | NotAnEdit::Value { how, name, .. } => vec![(*how).to_owned(), name.clone()],
        }
    }
}

/// Fields whose meaning ends at the next hop, or that say where a message ends.
const UNTOUCHED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Edits {
    /// `None`: nothing is changed.
    pub(super) fn new(
        side: Side,
        wire: &wire::HeaderEdits,
    ) -> Result<Option<Edits>, Vec<NotAnEdit>> {
        let mut wrong = Vec::new();
        let mut edits = Edits { dropped: Vec::new(), lines: Vec::new() };
        for name in &wire.remove {
            match check_name(side, "remove", name) {
                Ok(()) => edits.dropped.push(name.as_bytes().into()),
                Err(error) => wrong.push(error),
            }
        }
        for (how, fields) in [("set", &wire.set), ("add", &wire.add)] {
            for (name, value) in fields {
                match check_name(side, how, name).and_then(|()| check_value(how, name, value)) {
                    Ok(()) if how == "set" => {
                        edits.dropped.push(name.as_bytes().into());
                        edits.line(name, value);
                    }
                    Ok(()) => edits.line(name, value),
                    Err(error) => wrong.push(error),
                }
            }
        }
        if wire.remove.len() + wire.set.len() + wire.add.len() > limits::EDITS {
            let how = if wire.remove.len() > limits::EDITS { "remove" } else { "set" };
            wrong.push(NotAnEdit::Many { how });
        }
        let nothing = edits.dropped.is_empty() && edits.lines.is_empty();
        if wrong.is_empty() { Ok((!nothing).then_some(edits)) } else { Err(wrong) }
    }

    /// A whole line in the place of all fields of its name.
    pub(super) fn instead(name: &str, line: &[u8]) -> Edits {
        Edits { dropped: vec![name.as_bytes().into()], lines: line.to_vec() }
    }

    fn line(&mut self, name: &str, value: &str) {
        for part in [name, ": ", value, "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
    }

    fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|dropped| alike(dropped, name))
    }
}

fn check_name(side: Side, how: &'static str, name: &str) -> Result<(), NotAnEdit> {
    let shown = || name.chars().take(200).collect::<String>();
    if !syntax::is_token(name.as_bytes()) || name.len() > 256 {
        return Err(NotAnEdit::Name { how, name: shown() });
    }
    if UNTOUCHED.iter().any(|known| alike(known.as_bytes(), name.as_bytes())) {
        return Err(NotAnEdit::Framing { how, name: shown() });
    }
    if side == Side::Request && how != "set" && alike(b"host", name.as_bytes()) {
        return Err(NotAnEdit::Host { how, name: shown() });
    }
    Ok(())
}

fn check_value(how: &'static str, name: &str, value: &str) -> Result<(), NotAnEdit> {
    let bytes = value.as_bytes();
    let clean = syntax::is_value(bytes) && syntax::trim(bytes).len() == bytes.len();
    if clean && bytes.len() <= limits::EDIT_VALUE {
        return Ok(());
    }
    let value = value.chars().take(200).collect();
    Err(NotAnEdit::Value { how, name: name.to_owned(), value })
}

/// Changes the head of a request: its target, and its fields. `told` is a whole line, or nothing.
pub(super) fn request(
    head: &mut Vec<u8>,
    target: &[u8],
    drops: impl Fn(&[u8]) -> bool,
    told: &[u8],
    edits: Option<&Edits>,
) {
    let old = std::mem::take(head);
    head.reserve(old.len() + told.len() + edits.map_or(0, |edits| edits.lines.len()));
    let mut lines = lines(&old);
    let start = lines.next().unwrap_or_default();
    let mut words = start.splitn(3, |&byte| byte == b' ');
    let (method, _, version) = (words.next(), words.next(), words.next());
    for part in [method.unwrap_or_default(), b" ", target, b" ", version.unwrap_or_default()] {
        head.extend_from_slice(part);
    }
    let dropped = |name: &[u8]| drops(name) || edits.is_some_and(|edits| edits.drops(name));
    let new = edits.map_or(&b""[..], |edits| &edits.lines);
    fields(lines, dropped, &[told, new], head);
}

/// Changes the head of an answer. What is behind the head is left as it is.
pub(super) fn response(bytes: &mut Vec<u8>, edits: &Edits) {
    let old = std::mem::take(bytes);
    bytes.reserve(old.len() + edits.lines.len());
    let mut lines = lines(&old);
    bytes.extend_from_slice(lines.next().unwrap_or_default());
    fields(lines, |name| edits.drops(name), &[&edits.lines], bytes);
}

/// Copies fields but for those that are dropped, then adds others, then copies the rest.
fn fields<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
    dropped: impl Fn(&[u8]) -> bool,
    added: &[&[u8]],
    out: &mut Vec<u8>,
) {
    for line in lines.by_ref() {
        if line == b"\r\n" {
            out.extend_from_slice(&added.concat());
            out.extend_from_slice(line);
            break;
        }
        let colon = syntax::find(b':', line).unwrap_or(line.len());
        if !dropped(line.get(..colon).unwrap_or_default()) {
            out.extend_from_slice(line);
        }
    }
    lines.for_each(|line| out.extend_from_slice(line));
}

/// Lines with their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edits(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> wire::HeaderEdits {
        let map = |fields: &[(&str, &str)]| {
            fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        wire::HeaderEdits {
            remove: remove.iter().map(|&name| name.to_owned()).collect(),
            set: map(set),
            add: map(add),
        }
    }

    #[test]
    fn fields_are_removed_set_and_added() {
        let wire = edits(&["server"], &[("X-Frame", "DENY")], &[("Vary", "Origin")]);
        let edits = Edits::new(Side::Response, &wire).unwrap().unwrap();
        let mut bytes = b"HTTP/1.1 200 OK\r\nServer: a\r\nX_frame: b\r\nvary: c\r\nX-Frame: d\r\n\
                          Content-Length: 9\r\n\r\nServer: a"
            .to_vec();
        response(&mut bytes, &edits);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "HTTP/1.1 200 OK\r\nvary: c\r\nContent-Length: 9\r\nX-Frame: DENY\r\n\
             Vary: Origin\r\n\r\nServer: a"
        );
    }

    #[test]
    fn a_request_has_another_target_and_other_fields() {
        let wire = edits(&["Proxy"], &[("Host", "inside")], &[]);
        let edits = Edits::new(Side::Request, &wire).unwrap();
        let mut head =
            b"GET /api/x HTTP/1.1\r\nHost: a\r\nProxy: b\r\nAuthorization: c\r\n\r\n".to_vec();
        let drops = |name: &[u8]| name == b"Authorization";
        request(&mut head, b"/x", drops, b"X-Forwarded-Prefix: /api\r\n", edits.as_ref());
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "GET /x HTTP/1.1\r\nX-Forwarded-Prefix: /api\r\nHost: inside\r\n\r\n"
        );
    }

    #[test]
    fn framing_stays_ours() {
        let wire = edits(
            &["Transfer_Encoding", "Host", "a b"],
            &[("Content-Length", "1"), ("X-A", "b\r\nX-C: d"), ("X-B", " b")],
            &[("Host", "x"), ("Upgrade", "h2c")],
        );
        let wrong = Edits::new(Side::Request, &wire).unwrap_err();
        assert_eq!(wrong.len(), 8);
        assert_eq!(wrong[3].key(), ["set", "Content-Length"]);
        assert_eq!(wrong[0].key(), ["remove"]);
        assert!(wrong[4].to_string().starts_with("set.X-A is `b"), "{}", wrong[4]);
        assert_eq!(Edits::new(Side::Response, &edits(&[], &[], &[])), Ok(None));
        let many: Vec<String> = (0..65).map(|number| format!("x{number}")).collect();
        let wire = wire::HeaderEdits { remove: many, ..wire::HeaderEdits::default() };
        let wrong = Edits::new(Side::Response, &wire).unwrap_err();
        assert_eq!(wrong, [NotAnEdit::Many { how: "remove" }]);
    }

    proptest! {
        /// Whatever is changed: the start line, what frames the message and what is behind its head
        /// stay, and no line is broken.
        #[test]
        fn a_message_stays_framed(
            fields in proptest::collection::vec(("[a-dA-D_-]{1,3}", "[ -~]{0,8}"), 0..6),
            remove in proptest::collection::vec("[a-d_-]{1,3}", 0..3),
            set in proptest::collection::btree_map("[a-d-]{1,3}", "[!-~]{0,6}", 0..3),
            body in "[a-d:\\r\\n ]{0,20}",
        ) {
            let wire = wire::HeaderEdits { remove, add: set.clone(), set };
            let Some(edits) = Edits::new(Side::Response, &wire).unwrap() else { return Ok(()) };
            let frame = "Content-Length: 20\r\nConnection: close\r\n";
            let fields: String = fields.iter().flat_map(|(n, v)| [n, ": ", v, "\r\n"]).collect();
            let mut bytes = format!("HTTP/1.1 200 OK\r\n{fields}{frame}\r\n{body}").into_bytes();
            response(&mut bytes, &edits);
            let text = String::from_utf8(bytes).unwrap();
            let (head, behind) = text.split_once("\r\n\r\n").unwrap();
            prop_assert_eq!(behind, &body);
            prop_assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(frame.trim_end()));
            for (name, value) in &wire.set {
                let line = format!("{name}: {value}");
                prop_assert_eq!(head.split("\r\n").filter(|l| **l == line).count(), 2);
            }
        }
    }
}
