//! A line as it is shown: for people, or as JSON for programs.
//!
//! For people it is as in the file, with the app before the writer. On a terminal, colours tell writers apart;
//! and what could do anything to the terminal other than set colours is shown instead of done.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use init_wire::Channel;
use serde::Serialize;

use super::line::{Kind, Line, word};

/// Bright enough on dark and on light ground.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// How lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Plain,
    /// On a terminal; with colours or without.
    Screen {
        has_colours: bool,
    },
    Json,
}

#[derive(Serialize)]
struct Shown<'a> {
    time: &'a str,
    app: &'a str,
    instance: &'a str,
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

impl View {
    pub(crate) fn show(self, app: &str, line: &Line<'_>, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Plain => plain(app, line, out),
            Self::Screen { has_colours } => screen(app, line, has_colours, out),
            Self::Json => json(app, line, out),
        }
    }
}

fn plain(app: &str, line: &Line<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::with_capacity(line.text.len() + 64);
    let writer = format!("{app}.{}", line.writer);
    Line { writer: &writer, ..line.clone() }.write(&mut text);
    out.write_all(&text)
}

fn screen(app: &str, line: &Line<'_>, has_colours: bool, out: &mut impl Write) -> io::Result<()> {
    let sign = match line.kind {
        Kind::Whole => "",
        Kind::Part => "+",
        Kind::Note => "!",
    };
    let stream = format!("{}{sign}", word(line.channel));
    if has_colours {
        let sum = app.bytes().chain(line.writer.bytes());
        let sum = sum.fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let colour = COLOURS.get(sum % COLOURS.len()).copied().unwrap_or(36);
        write!(out, "\x1b[2m{}\x1b[0m \x1b[{colour}m{app}.{}\x1b[0m ", line.time, line.writer)?;
        let is_quiet = line.channel == Channel::Stdout && line.kind != Kind::Note;
        let (begin, end) = if is_quiet { ("\x1b[2m", "\x1b[0m") } else { ("\x1b[31m", "\x1b[0m") };
        write!(out, "{begin}{stream}{end} ")?;
    } else {
        write!(out, "{} {app}.{} {stream} ", line.time, line.writer)?;
    }
    let text = String::from_utf8_lossy(&line.text);
    harmless(&text, has_colours, out)?;
    out.write_all(if has_colours { b"\x1b[0m\n" } else { b"\n" })
}

/// Writes a text without what a terminal would act upon, but for colours and tabs.
fn harmless(text: &str, has_colours: bool, out: &mut impl Write) -> io::Result<()> {
    let mut rest = text.trim_end_matches('\r');
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.write_all(before.as_bytes())?;
        let colour = colour(after);
        match after.split_at_checked(colour) {
            Some((colour, next)) if !colour.is_empty() => {
                if has_colours {
                    out.write_all(colour.as_bytes())?;
                }
                rest = next;
            }
            Some(_) | None => {
                let mut all = after.chars();
                if let Some(control) = all.next() {
                    write!(out, "{}", control.escape_default())?;
                }
                rest = all.as_str();
            }
        }
    }
    out.write_all(rest.as_bytes())
}

/// How long the sequence is that sets a colour, if the text begins with one.
fn colour(text: &str) -> usize {
    let Some(digits) = text.strip_prefix("\x1b[") else { return 0 };
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ';' | ':'));
    rest.strip_prefix('m').map_or(0, |rest| text.len().saturating_sub(rest.len()))
}

fn json(app: &str, line: &Line<'_>, out: &mut impl Write) -> io::Result<()> {
    let text = std::str::from_utf8(&line.text).ok();
    let is_note = line.kind == Kind::Note;
    let shown = Shown {
        time: line.time,
        app,
        instance: line.writer,
        stream: word(line.channel),
        text: text.filter(|_| !is_note),
        base64: text.is_none().then(|| STANDARD.encode(&line.text)),
        note: text.filter(|_| is_note).map(str::to_owned),
        partial: line.kind == Kind::Part,
    };
    serde_json::to_writer(&mut *out, &shown)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::super::line::parse;
    use super::*;

    fn shown(view: View, line: &[u8]) -> String {
        let mut out = Vec::new();
        let line = parse(line).expect("a line");
        view.show("shop.example", &line, &mut out).expect("memory takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn o11_a_line_is_shown_with_its_app() {
        let line = b"2026-11-22T00:40:07.123Z 1 out\\ caf\\xE9";
        assert_eq!(
            shown(View::Plain, line),
            "2026-11-22T00:40:07.123Z shop.example.1 out\\ caf\\xE9\n"
        );
        assert_eq!(
            shown(View::Json, line),
            "{\"time\":\"2026-11-22T00:40:07.123Z\",\"app\":\"shop.example\",\"instance\":\"1\",\
             \"stream\":\"out\",\"base64\":\"Y2Fm6Q==\"}\n"
        );
        let note = shown(View::Json, b"2026-11-22T00:40:07.123Z 1 err! 7 bytes lost");
        assert!(note.contains("\"stream\":\"err\",\"note\":\"7 bytes lost\"}"), "{note}");
    }

    #[test]
    fn what_would_act_upon_the_terminal_is_shown_instead() {
        let line = b"2026-11-22T00:40:07.123Z 1 out \x1b[1;31mred\x1b[0m \x1b]0;t\x07\x1b[2J\tx\r";
        let (bare, coloured) = (false, true);
        assert_eq!(
            shown(View::Screen { has_colours: bare }, line),
            "2026-11-22T00:40:07.123Z shop.example.1 out red \\u{1b}]0;t\\u{7}\\u{1b}[2J\tx\n"
        );
        let text = shown(View::Screen { has_colours: coloured }, line);
        assert!(text.contains("\x1b[1;31mred\x1b[0m \\u{1b}]0;t"), "{text:?}");
    }
}
