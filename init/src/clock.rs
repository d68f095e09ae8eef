//! The two clocks, read once an event and handed to the core.

use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A moment: by the clock that never jumps, which all waiting uses, and by the one people read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Moment {
    /// For deadlines.
    #[serde(with = "mono")]
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
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let year = u16::try_from(at.year()).unwrap_or_default();
    for (mut number, place) in [
        (year, 0..4),
        (u8::from(at.month()).into(), 5..7),
        (at.day().into(), 8..10),
        (at.hour().into(), 11..13),
        (at.minute().into(), 14..16),
        (at.second().into(), 17..19),
        (at.millisecond(), 20..23),
    ] {
        for digit in text.get_mut(place).into_iter().flatten().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
    }
    std::str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// Moments of the clock that never jumps, written as nanoseconds of the kernel's `CLOCK_MONOTONIC`:
/// all processes of a machine have the same one.
pub mod mono {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    use nix::time::{ClockId, clock_gettime};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// One moment by both ways to tell it.
    fn anchor() -> (Instant, u64) {
        static ANCHOR: OnceLock<(Instant, u64)> = OnceLock::new();
        *ANCHOR.get_or_init(|| {
            let kernel = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
            let nanos = kernel.unwrap_or_default().as_nanos();
            (Instant::now(), u64::try_from(nanos).unwrap_or(u64::MAX))
        })
    }

    fn to_nanos(at: Instant) -> u64 {
        let (anchor, nanos) = anchor();
        let part = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        match at.checked_duration_since(anchor) {
            Some(after) => nanos.saturating_add(part(after)),
            None => nanos.saturating_sub(part(anchor.duration_since(at))),
        }
    }

    fn of_nanos(at: u64) -> Instant {
        let (anchor, nanos) = anchor();
        let found = match at.checked_sub(nanos) {
            Some(after) => anchor.checked_add(Duration::from_nanos(after)),
            None => anchor.checked_sub(Duration::from_nanos(nanos - at)),
        };
        found.unwrap_or(anchor)
    }

    /// Writes one.
    pub fn serialize<S: Serializer>(at: &Instant, to: S) -> Result<S::Ok, S::Error> {
        to_nanos(*at).serialize(to)
    }

    /// Reads one.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
        u64::deserialize(from).map(of_nanos)
    }

    /// One that may not be there.
    pub mod maybe {
        use super::{
            Deserialize, Deserializer, Instant, Serialize, Serializer, of_nanos, to_nanos,
        };

        /// Writes it.
        pub fn serialize<S: Serializer>(at: &Option<Instant>, to: S) -> Result<S::Ok, S::Error> {
            at.map(to_nanos).serialize(to)
        }

        /// Reads it.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Instant>, D::Error> {
            Option::<u64>::deserialize(from).map(|at| at.map(of_nanos))
        }
    }

    /// Several.
    pub mod all {
        use std::collections::VecDeque;

        use super::{Deserialize, Deserializer, Instant, Serializer, of_nanos, to_nanos};

        /// Writes them.
        pub fn serialize<S: Serializer>(all: &VecDeque<Instant>, to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(all.iter().map(|at| to_nanos(*at)))
        }

        /// Reads them.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<VecDeque<Instant>, D::Error> {
            Vec::<u64>::deserialize(from).map(|all| all.into_iter().map(of_nanos).collect())
        }
    }
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
