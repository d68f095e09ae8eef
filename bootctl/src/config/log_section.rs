//! `[log]`, in `bootctl.toml` for all apps and in an app's file for one.

use std::time::Duration;

use init_wire::{Log, WhenFull};

use super::reader::{Field, Section};
use crate::logs::keeping::{AllLogs, AppLog, Changes, Compress};

const YOUNGEST: Duration = Duration::from_mins(1);

/// Of `bootctl.toml`.
pub(super) fn all(section: &Section<'_>) -> AllLogs {
    let default = AllLogs::default();
    AllLogs {
        dir: section.get("dir", folder),
        keeping: changes(section).to(&default.keeping),
        console: section.get("console", Field::bool),
    }
}

/// Of an app's file.
pub(super) fn one(section: &Section<'_>) -> AppLog {
    let default = Log::default();
    let bytes = section.get("buffer", Field::size);
    let when_full = match section.get("when_full", Field::choice).as_deref() {
        Some("wait") => WhenFull::Wait,
        Some(_) | None => WhenFull::Drop,
    };
    let log = Log {
        bytes: bytes.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(default.bytes),
        when_full,
    };
    let is_captured = section.get("capture", Field::bool).unwrap_or(true);
    AppLog { capture: is_captured.then_some(log), changes: changes(section) }
}

fn changes(section: &Section<'_>) -> Changes {
    Changes {
        max_size: section.get("max_size", Field::size),
        max_age_ms: section.get("max_age", age),
        keep: section.get("keep", Field::number),
        compress: section.get("compress", compress),
    }
}

fn compress(field: &Field<'_>) -> Option<Compress> {
    Some(match field.choice()?.as_str() {
        "zstd" => Compress::Zstd,
        "none" => Compress::None,
        _ => Compress::Gzip,
    })
}

fn folder(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good = text.starts_with('/') && !text.contains('\0');
    if !good {
        let instead = "write an absolute path, such as \"/var/log/bootctl\"";
        field.form(&text, instead);
    }
    good.then_some(text)
}

fn age(field: &Field<'_>) -> Option<u64> {
    let time = field.duration()?;
    if time < YOUNGEST {
        let instead = "use a minute or more, such as \"12h\" or \"7d\"";
        field.form(&format!("{time:?}"), instead);
    }
    u64::try_from(time.as_millis()).ok()
}
