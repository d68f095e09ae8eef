//! A line of a log file.
//!
//! ```text
//! 2026-11-22T00:40:07.123Z 1 out listening on 9000
//! 2026-11-22T00:40:07.140Z 2 err cannot read config
//! 2026-11-22T00:40:09.001Z 1 out+ the first 16 KiB of a long line
//! 2026-11-22T00:40:09.001Z 1 out and its end
//! 2026-11-22T00:40:09.200Z 1 out\ caf\xE9 \\ NUL is \x00
//! 2026-11-22T00:40:11.020Z 1 err! 4711 bytes lost: the app wrote faster than it was collected
//! ```
//!
//! Four fields with a space between: when the line began to come (UTC); who of the app has written it, by
//! number, or by name for what is no instance; the stream; the text, which may be empty, to the end of
//! the line. Signs after the stream say more:
//!
//! | sign | means |
//! |---|---|
//! | `+` | no newline came after this text: the next line of the same writer and stream goes on with it |
//! | `\` | the text is escaped: `\\` is a backslash, `\xHH` a byte. So are lines with NUL or with what is not UTF-8, and only those |
//! | `!` | a note of the collector, not of the app |
//!
//! So nothing is changed silently: the bytes that were written can be had back exactly. All other control
//! characters, tabs and colours among them, stand as they were written.

use std::borrow::Cow;

use init_wire::Channel;

/// The longest text of one line. What is longer goes on in the next.
pub(crate) const LONGEST: usize = 16 << 10;

/// A line, in parts of the file that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// RFC 3339 with milliseconds in UTC, so that lines sort by it.
    pub(crate) time: &'a str,
    pub(crate) writer: &'a str,
    pub(crate) channel: Channel,
    pub(crate) kind: Kind,
    /// The bytes that were written, or the note.
    pub(crate) text: Cow<'a, [u8]>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A line, or the end of one.
    Whole,
    /// What came before of a line that goes on, or has not ended.
    Part,
    /// What the collector has to say.
    Note,
}

/// A stream's name in a line.
pub(crate) fn word(channel: Channel) -> &'static str {
    match channel {
        Channel::Stdout => "out",
        Channel::Stderr => "err",
    }
}

impl Line<'_> {
    /// Appends it as it stands in the file, with its end.
    pub(crate) fn write(&self, file: &mut Vec<u8>) {
        let is_plain = !self.text.contains(&0) && std::str::from_utf8(&self.text).is_ok();
        let signs = match (self.kind, is_plain) {
            (Kind::Whole, true) => "",
            (Kind::Whole, false) => "\\",
            (Kind::Part, true) => "+",
            (Kind::Part, false) => "+\\",
            (Kind::Note, _) => "!",
        };
        for part in [self.time, " ", self.writer, " ", word(self.channel), signs, " "] {
            file.extend_from_slice(part.as_bytes());
        }
        if is_plain || self.kind == Kind::Note {
            file.extend_from_slice(&self.text);
        } else {
            escape(&self.text, file);
        }
        file.push(b'\n');
    }
}

/// Reads a line without its end. `None` for what is none of ours, or was torn.
pub(crate) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let mut field = || std::str::from_utf8(fields.next()?).ok();
    let (time, writer, stream) = (field()?, field()?, field()?);
    let text = fields.next()?;
    let is_time = time.len() == "2026-11-22T00:40:07.123Z".len() && time.ends_with('Z');
    let (channel, signs) = match stream.split_at_checked(3)? {
        ("out", signs) => (Channel::Stdout, signs),
        ("err", signs) => (Channel::Stderr, signs),
        _ => return None,
    };
    let (kind, is_escaped) = match signs {
        "" => (Kind::Whole, false),
        "\\" => (Kind::Whole, true),
        "+" => (Kind::Part, false),
        "+\\" => (Kind::Part, true),
        "!" => (Kind::Note, false),
        _ => return None,
    };
    let text = if is_escaped { Cow::Owned(unescape(text)?) } else { Cow::Borrowed(text) };
    is_time.then_some(Line { time, writer, channel, kind, text })
}

fn escape(text: &[u8], file: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'\\' => file.extend_from_slice(b"\\\\"),
                0 => file.extend_from_slice(b"\\x00"),
                other => file.push(other),
            }
        }
        for byte in chunk.invalid() {
            file.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
        }
    }
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                after
            }
            (b'\\', _) => return None,
            (other, after) => {
                bytes.push(*other);
                after
            }
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: &str = "2026-11-22T00:40:07.123Z";

    fn written(text: &[u8], kind: Kind) -> Vec<u8> {
        let (writer, channel) = ("1", Channel::Stdout);
        let mut file = Vec::new();
        Line { time: TIME, writer, channel, kind, text: text.into() }.write(&mut file);
        file
    }

    #[test]
    fn z06_what_is_plain_stands_as_it_was_written() {
        for plain in ["", "hello", " \t two  ", "a\\nb {\"a\": \"\\\"\"}", "\x1b[31mred\x1b[0m\r"] {
            let line = format!("{TIME} 1 out {plain}\n");
            assert_eq!(written(plain.as_bytes(), Kind::Whole), line.as_bytes());
        }
        assert_eq!(
            String::from_utf8(written(b"caf\xE9 \\ \x00", Kind::Part)).expect("ASCII"),
            format!("{TIME} 1 out+\\ caf\\xE9 \\\\ \\x00\n")
        );
    }

    #[test]
    fn what_is_torn_is_no_line() {
        for torn in [
            "",
            "2026",
            "2026-11-22T00:40:07.123Z 1 out",
            "2026-11-22T00:40:07 1 out x",
            "2026-11-22T00:40:07.123Z 1 oux x",
            "2026-11-22T00:40:07.123Z 1 out? x",
            "2026-11-22T00:40:07.123Z 1 out\\ \\x0",
        ] {
            assert_eq!(parse(torn.as_bytes()), None, "{torn}");
        }
    }

    proptest! {
        #[test]
        fn z06_the_bytes_can_be_had_back(
            text in prop::collection::vec(any::<u8>().prop_filter("no end", |b| *b != b'\n'), 0..80),
            is_part: bool,
        ) {
            let kind = if is_part { Kind::Part } else { Kind::Whole };
            let file = written(&text, kind);
            prop_assert_eq!(file.iter().position(|byte| *byte == b'\n'), Some(file.len() - 1));
            prop_assert!(std::str::from_utf8(&file).is_ok() && !file.contains(&0));
            let line = parse(&file[..file.len() - 1]).expect("a line");
            prop_assert_eq!(&*line.text, &*text);
            prop_assert_eq!((line.time, line.writer, line.kind), (TIME, "1", kind));
        }
    }
}
