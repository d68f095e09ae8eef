//! What of a file a request asks for, by what its client has already (RFC 9110, 13.2.2).
//!
//! ```text
//!   If-Match, or else If-Unmodified-Since ──no──▶ 412
//!   If-None-Match, or else If-Modified-Since ──no──▶ 304
//!   Range, if If-Range is so ──▶ 206, 416
//!   ──▶ 200
//! ```

use super::range::{self, Asked, Part};
use super::validator::{self, Validator};
use crate::h1::request::RequestHead;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Whole,
    Part(Part),
    /// It has it.
    Unchanged,
    /// It has another one.
    Failed,
    /// There is no such part.
    Beyond,
}

/// Judges a request for a file of this size. `to_head`: a part is not asked for.
pub(crate) fn judge(
    head: &[u8],
    request: &RequestHead,
    file: &Validator,
    size: u64,
    to_head: bool,
) -> Verdict {
    let lines = |name: &'static [u8]| {
        let is = move |found: &[u8]| found.eq_ignore_ascii_case(name);
        let fields = request.fields.iter().filter(move |field| is(field.name.of(head)));
        fields.map(|field| field.value.of(head)).peekable()
    };
    // A date that is none, or of which there are two, says nothing.
    let date = |name| {
        let mut dates = lines(name);
        let date = dates.next().and_then(validator::seconds);
        date.filter(|_| dates.next().is_none())
    };
    let mut wanted = lines(b"if-match");
    if wanted.peek().is_some() {
        if !wanted.any(|list| file.is_in(list, true)) {
            return Verdict::Failed;
        }
    } else if date(b"if-unmodified-since").is_some_and(|since| file.changed > since) {
        return Verdict::Failed;
    }
    let mut known = lines(b"if-none-match");
    if known.peek().is_some() {
        if known.any(|list| file.is_in(list, false)) {
            return Verdict::Unchanged;
        }
    } else if date(b"if-modified-since").is_some_and(|since| file.changed <= since) {
        return Verdict::Unchanged;
    }
    let mut ranges = lines(b"range");
    let (Some(range), None, false) = (ranges.next(), ranges.next(), to_head) else {
        return Verdict::Whole;
    };
    let mut conditions = lines(b"if-range");
    if conditions.peek().is_some() && !conditions.all(|condition| is_same(condition, file)) {
        return Verdict::Whole;
    }
    match range::read(range, size) {
        Asked::Nothing => Verdict::Whole,
        Asked::Part(part) => Verdict::Part(part),
        Asked::Beyond => Verdict::Beyond,
    }
}

/// Whether a part fits what the client has: by one tag, or by the very date.
fn is_same(condition: &[u8], file: &Validator) -> bool {
    if condition.ends_with(b"\"") {
        return condition == file.tag.as_bytes();
    }
    validator::seconds(condition) == Some(file.changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::request::Progress;

    fn verdict(fields: &str) -> Verdict {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut request = RequestHead::default();
        assert!(matches!(request.advance(head.as_bytes()), Ok(Progress::Complete)), "{head}");
        let file = Validator::new((784_111_777, 0), 10, 1);
        assert_eq!(file.tag, "\"2ebc98a1.0-a-1\"");
        judge(head.as_bytes(), &request, &file, 10, false)
    }

    const TAG: &str = "\"2ebc98a1.0-a-1\"";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn what_the_client_has() {
        let part = Verdict::Part(Part { first: 2, last: 5 });
        for (fields, expected) in [
            (String::new(), Verdict::Whole),
            (format!("If-None-Match: {TAG}\r\n"), Verdict::Unchanged),
            (format!("If-None-Match: W/{TAG}\r\n"), Verdict::Unchanged),
            (format!("If-None-Match: \"x\"\r\nIf-None-Match: {TAG}\r\n"), Verdict::Unchanged),
            ("If-None-Match: *\r\n".into(), Verdict::Unchanged),
            ("If-None-Match: \"x\"\r\n".into(), Verdict::Whole),
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {LATER}\r\n"), Verdict::Whole),
            (format!("If-Modified-Since: {DATE}\r\n"), Verdict::Unchanged),
            (format!("If-Modified-Since: {LATER}\r\n"), Verdict::Unchanged),
            (format!("If-Modified-Since: {EARLIER}\r\n"), Verdict::Whole),
            ("If-Modified-Since: soon\r\n".into(), Verdict::Whole),
            (format!("If-Match: {TAG}\r\n"), Verdict::Whole),
            (format!("If-Match: W/{TAG}\r\n"), Verdict::Failed),
            ("If-Match: *\r\n".into(), Verdict::Whole),
            ("If-Match: \"x\"\r\n".into(), Verdict::Failed),
            (format!("If-Unmodified-Since: {DATE}\r\n"), Verdict::Whole),
            (format!("If-Unmodified-Since: {EARLIER}\r\n"), Verdict::Failed),
            (format!("If-Match: {TAG}\r\nIf-Unmodified-Since: {EARLIER}\r\n"), Verdict::Whole),
            (format!("If-None-Match: {TAG}\r\nRange: bytes=2-5\r\n"), Verdict::Unchanged),
            ("Range: bytes=2-5\r\n".into(), part),
            ("Range: bytes=10-\r\n".into(), Verdict::Beyond),
            ("Range: bytes=0-0,2-3\r\n".into(), Verdict::Whole),
            ("Range: bytes=2-5\r\nRange: bytes=1-2\r\n".into(), Verdict::Whole),
            (format!("Range: bytes=2-5\r\nIf-Range: {TAG}\r\n"), part),
            (format!("Range: bytes=2-5\r\nIf-Range: W/{TAG}\r\n"), Verdict::Whole),
            ("Range: bytes=2-5\r\nIf-Range: \"x\"\r\n".into(), Verdict::Whole),
            (format!("Range: bytes=2-5\r\nIf-Range: {DATE}\r\n"), part),
            (format!("Range: bytes=2-5\r\nIf-Range: {LATER}\r\n"), Verdict::Whole),
            (format!("Range: bytes=10-\r\nIf-Range: {EARLIER}\r\n"), Verdict::Whole),
        ] {
            assert_eq!(verdict(&fields), expected, "{fields}");
        }
    }
}
