//! The date, as a line of answers whose target has not said it (RFC 9110, section 6.6.1).

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

const LENGTH: usize = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".len();

/// The line of the last second that was asked for. A worker has its own.
#[derive(Debug)]
pub(crate) struct Dates {
    second: Cell<u64>,
    line: Cell<[u8; LENGTH]>,
}

impl Default for Dates {
    fn default() -> Self {
        Dates { second: Cell::new(0), line: Cell::new(written(0)) }
    }
}

impl Dates {
    /// The line of now. What the clock tells without being asked twice is as good as a second can be.
    pub(crate) fn line(&self) -> [u8; LENGTH] {
        let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
        self.at(u64::try_from(now).unwrap_or(0))
    }

    fn at(&self, second: u64) -> [u8; LENGTH] {
        if second != self.second.replace(second) {
            self.line.set(written(second));
        }
        self.line.get()
    }
}

#[cold]
fn written(second: u64) -> [u8; LENGTH] {
    let mut line = *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    // What no four digits can tell is none of our time.
    if let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(second.min(253_402_300_799)))
        && let Some(place) = line.get_mut(6..LENGTH - 2)
    {
        place.copy_from_slice(httpdate::fmt_http_date(time).as_bytes());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_line() {
        let dates = Dates::default();
        for (second, told) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let line = dates.at(second);
            assert_eq!(std::str::from_utf8(&line).unwrap(), format!("Date: {told}\r\n"));
        }
    }
}
