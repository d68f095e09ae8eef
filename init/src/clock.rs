//! The two clocks, read once an event and handed to the core.

use std::time::{Instant, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

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

const RFC3339_MS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn rfc3339(wall: SystemTime) -> String {
    OffsetDateTime::from(wall).format(RFC3339_MS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_123);
        assert_eq!(rfc3339(at), "2001-09-09T01:46:40.123Z");
    }
}
