//! A part of a file, as `Range` asks for it (RFC 9110, 14.1.2).
//!
//! Of several parts at once the whole is the answer, which it may be: nothing that browsers do needs them, and putting
//! them together costs more than it saves.

use crate::h1::syntax;

/// Bytes from the first to the last, which is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Part {
    pub(crate) fn len(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// What a `Range` comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It says nothing that is understood here: it is as if it were not there.
    Nothing,
    Part(Part),
    /// There is nothing in that place.
    Beyond,
}

/// Of a file of this size.
pub(crate) fn read(value: &[u8], size: u64) -> Asked {
    read_one(value, size).unwrap_or(Asked::Nothing)
}

fn read_one(value: &[u8], size: u64) -> Option<Asked> {
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut ranges = syntax::list(set);
    let range = ranges.next()?;
    if ranges.next().is_some() {
        return None;
    }
    let at = syntax::find(b'-', range)?;
    let (first, last) = range.split_at_checked(at)?;
    let last = last.get(1..)?;
    let end = size.saturating_sub(1);
    if first.is_empty() {
        let count = number(last)?;
        let first = size.saturating_sub(count);
        return Some(if count == 0 || size == 0 {
            Asked::Beyond
        } else {
            Asked::Part(Part { first, last: end })
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(if first >= size {
        Asked::Beyond
    } else {
        Asked::Part(Part { first, last: last.min(end) })
    })
}

/// What is too large to be told is as large as can be.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let push = |number: u64, digit: &u8| {
        number.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
    };
    Some(digits.iter().fold(0, push))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_of_ten_bytes() {
        let part = |first, last| Asked::Part(Part { first, last });
        for (value, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("Bytes=2-5", part(2, 5)),
            ("bytes= 2-5 ", part(2, 5)),
            ("bytes=2-", part(2, 9)),
            ("bytes=2-99", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=0-", part(0, 9)),
            ("bytes=0-99999999999999999999999999", part(0, 9)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-12", Asked::Beyond),
            ("bytes=99999999999999999999999999-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=0-0,2-3", Asked::Nothing),
            ("bytes=5-2", Asked::Nothing),
            ("bytes=", Asked::Nothing),
            ("bytes=-", Asked::Nothing),
            ("bytes=a-b", Asked::Nothing),
            ("bytes=+1-2", Asked::Nothing),
            ("bytes=1--2", Asked::Nothing),
            ("lines=1-2", Asked::Nothing),
            ("", Asked::Nothing),
        ] {
            assert_eq!(read(value.as_bytes(), 10), expected, "{value}");
        }
        assert_eq!(read(b"bytes=0-", 0), Asked::Beyond);
        assert_eq!(read(b"bytes=-5", 0), Asked::Beyond);
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_file(value in "bytes=[0-9,-]{0,24}", size: u64) {
            if let Asked::Part(part) = read(value.as_bytes(), size) {
                prop_assert!(part.first <= part.last && part.last < size);
                prop_assert!(part.len() >= 1 && part.len() <= size);
            }
        }
    }
}
