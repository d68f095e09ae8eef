//! The two clocks, read once an event and handed to the core.

use std::time::{Instant, SystemTime};

use time::OffsetDateTime;

/// A moment: by the clock that never jumps, which all waiting uses, and by the one people read.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For deadlines.
    pub mono: Instant,
    /// For people.
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }
}

/// Milliseconds since 1970, by the clock that people read.
#[must_use]
pub fn millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds. Each look at a job shows two or three of these.
#[must_use]
pub fn rfc3339(wall: SystemTime) -> String {
    let at = OffsetDateTime::from(wall);
    let mut text = String::with_capacity("2001-09-09T01:46:40.123Z".len());
    let year = u16::try_from(at.year()).unwrap_or_default();
    for (number, width, mark) in [
        (year, 4, '-'),
        (u8::from(at.month()).into(), 2, '-'),
        (at.day().into(), 2, 'T'),
        (at.hour().into(), 2, ':'),
        (at.minute().into(), 2, ':'),
        (at.second().into(), 2, '.'),
        (at.millisecond(), 3, 'Z'),
    ] {
        for place in (0..width).rev() {
            let digit = number / 10_u16.pow(place) % 10;
            text.extend(char::from_digit(digit.into(), 10));
        }
        text.push(mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_123);
        assert_eq!(rfc3339(at), "2001-09-09T01:46:40.123Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
