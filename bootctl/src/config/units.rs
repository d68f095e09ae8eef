//! Numbers that people write with a unit: times, sizes, shares, and shares of processors.

use std::time::Duration;

/// What a time looks like.
pub(crate) const TIME: &str = "a time in quotes, such as \"10s\" or \"500ms\"";
/// What a size looks like.
pub(crate) const SIZE: &str = "a size in quotes, such as \"256M\"";

/// The most bytes that mean anything: beyond an exbibyte a size is a mistake.
const LARGEST: u64 = 1 << 60;
/// The most processors that an app may have, in thousandths: more than a machine has.
const MOST_PROCESSORS: u64 = 4096 * 1000;
/// The least that the kernel takes, in thousandths of a processor.
const LEAST_PROCESSORS: u64 = 10;

/// At most a year: beyond that a time is a mistake.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let year = Duration::from_hours(24 * 365);
    number.checked_mul(millis).map(Duration::from_millis).filter(|duration| *duration <= year)
}

/// Bytes: `"256M"`, `"1.5G"`, `"64KiB"`, `"4096"`. A unit is a power of 1024 however it is written.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KB" | "KiB" | "k" | "kB" => 10,
        "M" | "MB" | "MiB" => 20,
        "G" | "GB" | "GiB" => 30,
        "T" | "TB" | "TiB" => 40,
        _ => return None,
    };
    let bytes = thousandths(number)?.checked_mul(1 << shift)? / 1000;
    Some(bytes).filter(|bytes| *bytes <= LARGEST)
}

/// A time as it would be written.
pub(crate) fn shown_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let fits = |(length, _): &&(u64, &str)| seconds > 0 && seconds.is_multiple_of(*length);
    match units.iter().find(fits) {
        Some((length, unit)) if time.subsec_nanos() == 0 => format!("{}{unit}", seconds / length),
        Some(_) | None => format!("{}ms", time.as_millis()),
    }
}

/// A size as it would be written.
pub(crate) fn shown_size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let fits = |(shift, _): &&(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(fits) {
        Some((shift, unit)) => format!("\"{}{unit}\"", bytes >> shift),
        None => format!("\"{bytes}\""),
    }
}

/// Thousandths of a processor: `"50%"` is half a one, `"2"` are two, `"1.5"` one and a half.
pub(crate) fn parse_processors(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let share = match unit {
        "" => thousandths(number)?,
        "%" => thousandths(number)? / 100,
        _ => return None,
    };
    Some(share).filter(|share| (LEAST_PROCESSORS..=MOST_PROCESSORS).contains(share))
}

/// Thousandths of a percent: `"12.5%"` is 12,500.
pub(crate) fn parse_share(text: &str) -> Option<u32> {
    match split(text)? {
        (number, "%") => thousandths(number).and_then(|share| u32::try_from(share).ok()),
        _ => None,
    }
}

/// A number and what follows it.
fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text.strip_suffix(rest)?;
    Some((number, rest.trim()))
}

/// A number with at most three decimals, in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) => (whole, decimals),
        None => (text, "0"),
    };
    if !(1..=3).contains(&decimals.len()) {
        return None;
    }
    let decimals: u64 = format!("{decimals:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_time("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_time("7d"), Some(Duration::from_hours(24 * 7)));
        assert_eq!(parse_time("5 m"), Some(Duration::from_mins(5)));
        for bad in ["", "10", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "9000000h", "ü"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_shown_as_they_are_written() {
        for text in ["1d", "36h", "90m", "61s", "1500ms", "0ms"] {
            assert_eq!(parse_time(text).map(shown_time).as_deref(), Some(text));
        }
    }

    #[test]
    fn shares_are_of_a_hundred() {
        for (text, share) in [("50%", 50_000), ("12.5%", 12_500), ("0.05%", 50), ("400 %", 400_000)]
        {
            assert_eq!(parse_share(text), Some(share), "{text}");
        }
        for bad in ["", "%", "50", "-1%", "1.%", ".5%", "1.2345%", "99999999999%", "5%%"] {
            assert_eq!(parse_share(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("64K", 64 << 10),
            ("256M", 256 << 20),
            ("256 MiB", 256 << 20),
            ("1.5G", 3 << 29),
            ("0.125T", 1 << 37),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in
            ["", "M", "-1M", "1,5G", "1.G", ".5G", "1.2345G", "1.5.5G", "256m", "1P", "2000000T"]
        {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        assert_eq!(parse_size(&format!("{}T", u64::MAX)), None);
        assert_eq!(
            [1 << 40, 3 << 19, 4096, 1000].map(shown_size),
            ["\"1T\"", "\"1536K\"", "\"4K\"", "\"1000\""]
        );
    }

    #[test]
    fn processors_are_counted_or_parts_of_one() {
        for (text, share) in [("50%", 500), ("2", 2000), ("1.5", 1500), ("1%", 10), ("250%", 2500)]
        {
            assert_eq!(parse_processors(text), Some(share), "{text}");
        }
        for bad in ["", "%", "0", "0%", "0.5%", "-1", "half", "50 percent", "5000"] {
            assert_eq!(parse_processors(bad), None, "{bad}");
        }
    }
}
