//! The parts of an app's `[proxy]` that are about its instances.

use std::time::Duration;

use proxyd_wire::{Eject, Pool, Retry};

use super::reader::{Field, Section};

/// The shortest time that an instance is left alone: the proxy counts no shorter one.
const LEAST_BACKOFF: Duration = Duration::from_millis(10);

pub(super) fn retry(section: &Section<'_>) -> Retry {
    let default = Retry::default();
    let number = |name, default| section.get(name, Field::number).unwrap_or(default);
    Retry {
        attempts: number("attempts", default.attempts),
        statuses: section.get("statuses", Field::statuses).unwrap_or_default(),
        budget_percent: number("budget", default.budget_percent),
        budget_per_s: number("budget_per_second", default.budget_per_s),
    }
}

pub(super) fn eject(section: &Section<'_>) -> Eject {
    let default = Eject::default();
    let number = |name, default| section.get(name, Field::number).unwrap_or(default);
    let (first, most) = (section.get("backoff", backoff), section.get("max_backoff", backoff));
    let (first, most) = (first.unwrap_or(LEAST_BACKOFF), most.unwrap_or(LEAST_BACKOFF));
    if most < first
        && let Some(field) = section.field("max_backoff").or_else(|| section.field("backoff"))
    {
        let text = field.text().unwrap_or_default().to_owned();
        field.form(
            &text,
            "`backoff` may not be longer than `max_backoff`, which is 30s without a word",
        );
    }
    Eject {
        failures: number("failures", default.failures),
        statuses: section.get("statuses", Field::statuses).unwrap_or_default(),
        backoff_ms: millis(first),
        max_backoff_ms: millis(most),
        panic: number("panic", default.panic),
    }
}

fn backoff(field: &Field<'_>) -> Option<Duration> {
    let time = field.duration()?;
    if time < LEAST_BACKOFF {
        field.form(field.text().unwrap_or_default(), "use at least 10ms");
    }
    Some(time)
}

pub(super) fn pool(section: &Section<'_>) -> Pool {
    let default = Pool::default();
    let number = |name, default| section.get(name, Field::number).unwrap_or(default);
    Pool {
        idle_ms: section.get("idle_time", Field::duration).map_or(default.idle_ms, millis),
        size: number("size", default.size),
        requests: number("requests", default.requests),
    }
}

/// The schema allows for an hour at most.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
