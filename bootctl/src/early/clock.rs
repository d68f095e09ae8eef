//! The time, where the machine has no clock that knows it: never before this program was made, nor before what
//! this machine has seen already.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use tracing::{error, info};

use super::seed;

/// The machine's own clock, in seconds since 1970.
const RTC: &str = "/sys/class/rtc/rtc0/since_epoch";
/// Nothing of this was made before: for a program whose file has lost its date.
const EARLIEST: Duration = Duration::from_secs(1_790_000_000);
/// A file that claims to be of a later time than this, in the year 2100, has no date either.
const LATEST: Duration = Duration::from_hours(1_139_568);

/// What the clock is to be set to, if it is wrong: a machine's own clock where it can be right, else the time
/// before which it cannot be.
fn better(now: Duration, rtc: Option<Duration>, known: &[Duration]) -> Option<Duration> {
    let floor = known.iter().filter(|time| **time < LATEST).max().copied();
    let floor = floor.unwrap_or_default().max(EARLIEST);
    if now >= floor {
        return None;
    }
    Some(rtc.filter(|rtc| *rtc >= floor && *rtc < LATEST).unwrap_or(floor))
}

/// Sets it, if it is wrong.
pub(super) fn mend() {
    let known: Vec<Duration> = [std::env::current_exe().ok(), Some(seed::FILE.into())]
        .into_iter()
        .flatten()
        .filter_map(|path| written(&path))
        .collect();
    let rtc = fs::read_to_string(RTC).ok().and_then(|text| text.trim().parse().ok());
    let rtc = rtc.map(Duration::from_secs);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(better) = better(now, rtc, &known) else { return };
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(better)) {
        Ok(()) => info!(
            "the clock was at {} s since 1970, which has been for long; it is set to {} s",
            now.as_secs(),
            better.as_secs()
        ),
        Err(errno) => error!("cannot set the clock: {}", errno.desc()),
    }
}

fn written(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_set() {
        let at = |after: u64| EARLIEST + Duration::from_secs(after);
        let none = Duration::ZERO;
        assert_eq!(better(at(9), None, &[at(5), at(8)]), None, "it may be right");
        assert_eq!(better(none, Some(at(20)), &[at(5)]), Some(at(20)), "the machine's own");
        assert_eq!(better(none, Some(at(4)), &[at(5)]), Some(at(5)), "which is wrong, too");
        assert_eq!(better(none, None, &[]), Some(EARLIEST));
        assert_eq!(better(at(9), None, &[LATEST]), None, "a date that makes no sense");
        assert_eq!(better(none, Some(LATEST * 2), &[none]), Some(EARLIEST));
    }
}
