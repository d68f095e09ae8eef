//! The keys of `[proxy]` in `apps/NAME.toml` that are about its instances: when one is asked again, left alone, and which
//! connections to it are kept.

use super::schema::Kind::{Statuses, Whole};
use super::schema::{Key, Kind, Least, key, up_to};
use super::site_keys::HOUR;

/// Of a hundred.
const SHARE: Kind = Whole { least: 0, most: 100 };

pub(super) const SERVICE: &[Key] = &[
    key(
        "proxy.retry.attempts",
        Whole { least: 1, most: 10 },
        "3",
        "1",
        "How often a request is tried in all, where trying again does no harm.",
    ),
    key(
        "proxy.retry.statuses",
        Statuses { least: 502, most: 504 },
        "[]",
        "[503]",
        "Answers after which it is tried with another instance, too.",
    ),
    key(
        "proxy.retry.budget",
        Whole { least: 0, most: 1000 },
        "20",
        "50",
        "For each hundred requests, so many that an instance may have seen are tried again.",
    ),
    key(
        "proxy.retry.budget_per_second",
        Whole { least: 0, most: 10_000 },
        "3",
        "10",
        "So many more each second.",
    ),
    key(
        "proxy.eject.failures",
        Whole { least: 0, most: 1000 },
        "5",
        "3",
        "After so many failures in a row an instance is not asked for a while. 0: never.",
    ),
    key(
        "proxy.eject.statuses",
        Statuses { least: 500, most: 599 },
        "[]",
        "[502]",
        "Answers that are failures, too.",
    ),
    key(
        "proxy.eject.backoff",
        up_to(HOUR),
        "\"500ms\"",
        "\"2s\"",
        "For how long it is not asked first; twice as long each next time. At least 10 ms.",
    ),
    key("proxy.eject.max_backoff", up_to(HOUR), "\"30s\"", "\"1m\"", "For how long at most."),
    key(
        "proxy.eject.panic",
        SHARE,
        "0",
        "50",
        "If less than so many of a hundred instances were left, all are asked.",
    ),
    key(
        "proxy.pool.idle_time",
        Kind::Time { least: Least::Zero, most: HOUR, whole: false },
        "\"4s\"",
        "\"1m\"",
        "How long an idle connection to an instance is kept: less than the app waits itself. 0s: not at all.",
    ),
    key(
        "proxy.pool.size",
        Whole { least: 0, most: 65_536 },
        "2048",
        "64",
        "How many of them each thread of the proxy keeps to one instance.",
    ),
    key(
        "proxy.pool.requests",
        Whole { least: 0, most: 1_000_000_000 },
        "0",
        "1000",
        "After how many requests one is closed. 0: never.",
    ),
];
