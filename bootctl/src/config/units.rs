//! Numbers that people write with a unit: sizes and shares of processors.
//!
//! Times are read where they are a field's; see [`super::reader`].

/// The most bytes that mean anything: beyond an exbibyte a size is a mistake.
const LARGEST: u64 = 1 << 60;
/// The most processors that an app may have, in thousandths: more than a machine has.
const MOST_PROCESSORS: u64 = 4096 * 1000;
/// The least that the kernel takes, in thousandths of a processor.
const LEAST_PROCESSORS: u64 = 10;

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
