//! Pieces of a stream as lines, one JSON object each.

use std::time::{Duration, SystemTime};

use init_wire::LogLine;

use super::output::line;
use crate::clock::rfc3339;
use crate::output::ring::Piece;

/// The longest line that is one object.
const LONGEST: usize = 16 * 1024;

/// Lines in the making.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    offset: u64,
    millis: u64,
}

impl Lines {
    /// The lines that end in `piece`, before which so many bytes are gone.
    pub(super) fn add(&mut self, piece: &Piece, missed: u64) -> Vec<u8> {
        let mut found = Vec::new();
        if missed > 0 {
            self.flush(true, &mut found);
            line(&LogLine::Missed { missed, offset: piece.mark.offset }, &mut found);
        }
        let mut offset = piece.mark.offset;
        for part in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.is_empty() {
                (self.offset, self.millis) = (offset, piece.mark.millis);
            }
            offset += part.len() as u64;
            match part.strip_suffix(b"\n") {
                Some(end) => {
                    self.take(end, &mut found);
                    self.flush(false, &mut found);
                }
                None => self.take(part, &mut found),
            }
        }
        found
    }

    /// Bytes of a line whose end has not come.
    pub(super) fn held(&self) -> u64 {
        self.begun.len() as u64
    }

    /// What has come of a line that will have no end.
    pub(super) fn rest(mut self) -> Vec<u8> {
        let mut found = Vec::new();
        if !self.begun.is_empty() {
            self.flush(true, &mut found);
        }
        found
    }

    fn take(&mut self, mut bytes: &[u8], found: &mut Vec<u8>) {
        while self.begun.len() + bytes.len() > LONGEST {
            let (now, later) = bytes.split_at(LONGEST - self.begun.len());
            self.begun.extend_from_slice(now);
            let cut = self.begun.split_off(whole(&self.begun));
            let next = self.offset + self.begun.len() as u64;
            self.flush(true, found);
            (self.offset, self.begun) = (next, cut);
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
    }

    fn flush(&mut self, partial: bool, found: &mut Vec<u8>) {
        if partial && self.begun.is_empty() {
            return;
        }
        let time = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(self.millis));
        let text = String::from_utf8_lossy(&self.begun).into_owned();
        line(&LogLine::Line { offset: self.offset, time, text, partial }, found);
        self.begun.clear();
    }
}

/// How many of these bytes do not belong to a character whose end is not among them.
fn whole(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
    let end = bytes.len() - last;
    // What cannot become one either is left where it is.
    let may_go_on = bytes.get(end..).is_some_and(|rest| {
        std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none())
    });
    if may_go_on { end } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::ring::Mark;

    fn lines(pieces: &[(u64, &[u8], u64)]) -> Vec<LogLine> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for (offset, bytes, missed) in pieces {
            let mark = Mark { offset: *offset, position: 0, millis: 0 };
            all.extend(lines.add(&Piece { mark, bytes: bytes.to_vec() }, *missed));
        }
        all.extend(lines.rest());
        String::from_utf8(all).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    fn text(offset: u64, text: &str, partial: bool) -> LogLine {
        let time = "1970-01-01T00:00:00.000Z".into();
        LogLine::Line { offset, time, text: text.into(), partial }
    }

    #[test]
    fn z06_lines_are_put_together_from_pieces() {
        let found = lines(&[(0, b"a\nb", 0), (3, b"c\n\nd", 0)]);
        let expected =
            [text(0, "a", false), text(2, "bc", false), text(5, "", false), text(6, "d", true)];
        assert_eq!(found, expected);
    }

    #[test]
    fn z06_a_gap_is_said_with_its_size() {
        let found = lines(&[(0, b"a", 0), (100, b"b\n", 99)]);
        let missed = LogLine::Missed { missed: 99, offset: 100 };
        assert_eq!(found, [text(0, "a", true), missed, text(100, "b", false)]);
    }

    #[test]
    fn z06_a_line_without_end_comes_in_parts() {
        let long = vec![b'x'; 40 * 1024];
        let found = lines(&[(0, &long, 0), (40 * 1024, b"\n", 0)]);
        let offsets: Vec<_> = found
            .iter()
            .map(|line| match line {
                LogLine::Line { offset, text, partial, .. } => (*offset, text.len(), *partial),
                LogLine::Missed { .. } => panic!("nothing is missed"),
            })
            .collect();
        let (k, last) = (1024, 8 * 1024);
        assert_eq!(
            offsets,
            [(0, 16 * k, true), (16 * k as u64, 16 * k, true), (32 * k as u64, last, false)]
        );
    }

    #[test]
    fn z06_no_part_of_a_long_line_ends_within_a_character() {
        for begin in ["", "a", "ab", "abc"] {
            let long = format!("{begin}{}", "\u{20ac}\u{1f600}\u{e4}".repeat(5000));
            // However the pieces come.
            for piece in [4096, 16 * 1024, long.len()] {
                let offsets = (0..).step_by(piece);
                let pieces = offsets.zip(long.as_bytes().chunks(piece));
                let pieces: Vec<_> = pieces.map(|(offset, bytes)| (offset, bytes, 0)).collect();
                let (mut all, mut next) = (String::new(), 0);
                for line in lines(&pieces) {
                    let LogLine::Line { offset, text, .. } = line else { panic!("none is missed") };
                    assert_eq!(offset, next);
                    next += text.len() as u64;
                    all.push_str(&text);
                }
                assert!(all == long, "{begin:?} in pieces of {piece}");
            }
        }
        // What never becomes one does not grow.
        let odd = [b"\xf0".repeat(20_000), b"\x80".repeat(20_000)].concat();
        let found = lines(&[(0, &odd, 0)]);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn z06_what_is_not_text_is_shown_as_far_as_it_is() {
        assert_eq!(lines(&[(0, b"a\xff\0b\n", 0)]), [text(0, "a\u{fffd}\0b", false)]);
    }
}
