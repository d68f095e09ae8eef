//! From when on: a span such as `10m`, or a time in UTC, whole or without its end.

use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::scribe::{ago, shown};
use crate::config::parse_time;

/// What may be left out: it is the earliest it can be.
const ENDS: [&str; 4] = ["", "Z", ":00Z", "T00:00:00Z"];

/// A time as a line has it; lines that sort before it are too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Since(pub(crate) String);

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(span) = parse_time(text) {
            return Ok(Self(ago(span)));
        }
        let wrong = "write a span such as 10m, 2h or 3d, or a time such as 2026-11-22T08:00:00Z, \
                     2026-11-22 08:00 or 2026-11-22 (UTC)";
        let text = text.replacen(' ', "T", 1);
        let times = ENDS.iter().map(|end| OffsetDateTime::parse(&format!("{text}{end}"), &Rfc3339));
        times.flatten().next().map(|time| Self(shown(time))).ok_or(wrong)
    }
}

/// The earliest there is.
impl Default for Since {
    fn default() -> Self {
        Self(shown(OffsetDateTime::UNIX_EPOCH + Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o11_times_may_be_written_shortly() {
        let read = |text: &str| text.parse::<Since>().map(|since| since.0);
        for (text, time) in [
            ("2026-11-22T08:09:10.123Z", "2026-11-22T08:09:10.123Z"),
            ("2026-11-22T08:09:10+02:00", "2026-11-22T06:09:10.000Z"),
            ("2026-11-22 08:09:10", "2026-11-22T08:09:10.000Z"),
            ("2026-11-22 08:09", "2026-11-22T08:09:00.000Z"),
            ("2026-11-22", "2026-11-22T00:00:00.000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(time), "{text}");
        }
        let (then, now) = (read("10m").expect("a span"), ago(Duration::ZERO));
        assert!(then < now && then > ago(Duration::from_mins(11)));
        for bad in ["", "x", "10", "2026", "2026-13-01"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
