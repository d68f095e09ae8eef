//! `[log]`, in `bootctl.toml` for all apps and in an app's file for one.

use std::time::Duration;

use init_wire::{Log, WhenFull};

use super::problem::Fault;
use super::reader::{Field, Section};
use crate::logs::keeping::{AllLogs, AppLog, Changes, Compress};

const OF_ALL: &[&str] = &["dir", "max_size", "max_age", "keep", "compress", "console"];
const OF_ONE: &[&str] =
    &["capture", "buffer", "when_full", "max_size", "max_age", "keep", "compress"];

const SIZES: (u64, u64) = (64 << 10, 1 << 40);
/// What init keeps of a stream.
const BUFFERS: (u64, u64) = (4 << 10, 16 << 20);
const YOUNGEST: Duration = Duration::from_mins(1);
const MOST_KEPT: u32 = 1000;

/// Of `bootctl.toml`.
pub(super) fn all(section: &Section<'_>) -> AllLogs {
    section.expect(OF_ALL);
    let default = AllLogs::default();
    AllLogs {
        dir: section.field("dir").and_then(|field| folder(&field)),
        keeping: changes(section).to(&default.keeping),
        console: section.field("console").and_then(|field| field.bool()),
    }
}

/// Of an app's file.
pub(super) fn one(section: &Section<'_>) -> AppLog {
    section.expect(OF_ONE);
    let default = Log::default();
    let bytes = section.field("buffer").and_then(|field| size(&field, BUFFERS));
    let ways = [WhenFull::Drop, WhenFull::Wait];
    let when_full = section.field("when_full").and_then(|f| f.choice(&["drop", "wait"], &ways));
    let log = Log {
        bytes: bytes.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(default.bytes),
        when_full: when_full.unwrap_or(default.when_full),
    };
    let is_captured = section.field("capture").and_then(|field| field.bool()).unwrap_or(true);
    AppLog { capture: is_captured.then_some(log), changes: changes(section) }
}

fn changes(section: &Section<'_>) -> Changes {
    let ways = [Compress::Gzip, Compress::Zstd, Compress::None];
    let compress = section.field("compress");
    Changes {
        max_size: section.field("max_size").and_then(|field| size(&field, SIZES)),
        max_age_ms: section.field("max_age").and_then(|field| age(&field)),
        keep: section.field("keep").and_then(|field| field.number(0..=MOST_KEPT)),
        compress: compress.and_then(|field| field.choice(&["gzip", "zstd", "none"], &ways)),
    }
}

fn folder(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good = text.starts_with('/') && !text.contains('\0');
    if !good {
        let instead = "write an absolute path, such as \"/var/log/bootctl\"";
        field.report(Fault::Form { value: text.clone(), instead });
    }
    good.then_some(text)
}

fn age(field: &Field<'_>) -> Option<u64> {
    let time = field.duration()?;
    if time < YOUNGEST {
        let instead = "use a minute or more, such as \"12h\" or \"7d\"";
        field.report(Fault::Form { value: format!("{time:?}"), instead });
    }
    u64::try_from(time.as_millis()).ok()
}

fn size(field: &Field<'_>, (least, most): (u64, u64)) -> Option<u64> {
    let text = field.string()?;
    match parse_size(&text) {
        Some(size) if (least..=most).contains(&size) => Some(size),
        Some(_) if most == BUFFERS.1 => {
            let instead = "use a size from \"4K\" to \"16M\"";
            field.report(Fault::Form { value: text, instead });
            None
        }
        Some(_) => {
            field.report(Fault::Form { value: text, instead: "use a size from \"64K\" to \"1T\"" });
            None
        }
        None => {
            let instead = "write a number with its unit: \"64K\", \"10M\" or \"1G\"";
            field.report(Fault::Form { value: text, instead });
            None
        }
    }
}

/// A number of bytes; units are powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let shift = match unit.trim() {
        "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o12_sizes_have_units() {
        assert_eq!(parse_size("10M"), Some(10 << 20));
        assert_eq!(parse_size("64 K"), Some(64 << 10));
        assert_eq!(parse_size("0B"), Some(0));
        for bad in ["", "10", "M", "-1M", "1.5M", "1m", "99999999999T", "ü"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
