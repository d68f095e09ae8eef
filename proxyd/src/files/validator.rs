//! By what a client tells whether it has a file already: its tag, and when it was changed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that a date of HTTP can be in: the year has four digits.
const LAST: i64 = 253_402_300_799;

/// Both of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validator {
    /// In its quotes.
    pub(crate) tag: String,
    /// In seconds since 1970.
    pub(crate) changed: u64,
}

impl Validator {
    /// A file that is written anew, or another in its place, has another tag; a copy on another machine has, too.
    pub(crate) fn new((seconds, nanoseconds): (i64, i64), size: u64, inode: u64) -> Validator {
        let changed = seconds.clamp(0, LAST).unsigned_abs();
        Validator { tag: format!("\"{seconds:x}.{nanoseconds:x}-{size:x}-{inode:x}\""), changed }
    }

    /// As `Last-Modified` has it.
    pub(crate) fn date(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.changed))
    }

    /// Whether one of the tags of a list is this file's, or any is. `strongly`: byte by byte the same.
    pub(crate) fn is_in(&self, list: &[u8], strongly: bool) -> bool {
        tags(list).any(|told| match told {
            Told::Any => true,
            Told::Tag { opaque, is_weak } => {
                opaque == self.tag.as_bytes() && !(strongly && is_weak)
            }
        })
    }
}

/// A date of HTTP, in seconds since 1970.
pub(crate) fn seconds(date: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(date).ok()?).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

enum Told<'a> {
    Any,
    Tag { opaque: &'a [u8], is_weak: bool },
}

/// The tags of a list, up to the first word that is none.
fn tags(list: &[u8]) -> impl Iterator<Item = Told<'_>> {
    let mut rest = list;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        if let [b'*', behind @ ..] = rest {
            rest = behind;
            return Some(Told::Any);
        }
        let bare = rest.strip_prefix(b"W/").unwrap_or(rest);
        let is_weak = bare.len() < rest.len();
        let inner = bare.strip_prefix(b"\"")?;
        let end = inner.iter().position(|&byte| byte == b'"')?;
        let (opaque, behind) = bare.split_at_checked(end + 2)?;
        rest = behind;
        Some(Told::Tag { opaque, is_weak })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_in_lists() {
        let file = Validator::new((0x10, 0), 2, 3);
        assert_eq!(file.tag, "\"10.0-2-3\"");
        for (list, weakly, strongly) in [
            ("\"10.0-2-3\"", true, true),
            ("W/\"10.0-2-3\"", true, false),
            ("*", true, true),
            ("\"a\", \"10.0-2-3\"", true, true),
            ("\"a,b\",W/\"10.0-2-3\"", true, false),
            ("\"x\" \"10.0-2-3\"", true, true),
            ("\"10.0-2-4\"", false, false),
            ("10.0-2-3", false, false),
            ("w/\"10.0-2-3\"", false, false),
            ("\"10.0-2-3", false, false),
            ("", false, false),
        ] {
            assert_eq!(file.is_in(list.as_bytes(), false), weakly, "{list}");
            assert_eq!(file.is_in(list.as_bytes(), true), strongly, "{list}");
        }
    }

    #[test]
    fn a_tag_tells_files_apart() {
        let file = Validator::new((1, 0), 2, 3);
        for other in [((2, 0), 2, 3), ((1, 1), 2, 3), ((1, 0), 3, 3), ((1, 0), 2, 4)] {
            assert_ne!(file.tag, Validator::new(other.0, other.1, other.2).tag);
        }
    }

    #[test]
    fn dates_that_cannot_be_told_are_the_nearest() {
        let date = |seconds| Validator::new((seconds, 0), 0, 0).date();
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(i64::MIN), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(seconds(b"Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds(b"Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds(b"yesterday"), None);
        assert_eq!(seconds(b"\xff"), None);
    }
}
