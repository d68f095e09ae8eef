//! How often each client may come, counted over all workers.
//!
//! Counters are in parts with a lock each, held for one look; a client is a keyed hash of what it is
//! known by, so that nobody can choose to fall together with another.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proxyd_wire as wire;
use thiserror::Error;
use tokio::time::Instant;

use super::bucket::Bucket;
use crate::h1::syntax;
use crate::limits;

/// Who is counted together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum By {
    Client,
    /// By the value of this field; by address where there is none.
    Header(String),
}

/// The limit of a route, and all its counters.
#[derive(Debug)]
pub(super) struct RateLimit {
    wire: wire::RateLimit,
    pub(super) by: By,
    bucket: Bucket,
    since: Instant,
    hash: RandomState,
    parts: Vec<Mutex<Part>>,
}

/// What is no limit.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotALimit {
    #[error("requests is 0: write at least 1; for no requests at all, use `deny`")]
    Requests,
    #[error("per_s is {0}: write seconds from 1 to 86400")]
    Seconds(u32),
    #[error("burst is 0: write at least 1, or leave it out")]
    Burst,
    #[error("key is `{0}`: write `client`, or `header` and a field's name, as in header X-Api-Key")]
    Key(String),
}

impl NotALimit {
    pub(crate) fn key(&self) -> &'static str {
        match self {
            NotALimit::Requests => "requests",
            NotALimit::Seconds(_) => "per_s",
            NotALimit::Burst => "burst",
            NotALimit::Key(_) => "key",
        }
    }
}

impl RateLimit {
    pub(super) fn new(wire: wire::RateLimit) -> Result<RateLimit, Vec<NotALimit>> {
        let mut wrong = Vec::new();
        if wire.requests == 0 {
            wrong.push(NotALimit::Requests);
        }
        if !(1..=86_400).contains(&wire.per_s) {
            wrong.push(NotALimit::Seconds(wire.per_s));
        }
        if wire.burst == Some(0) {
            wrong.push(NotALimit::Burst);
        }
        let by = match wire.key.split_once(' ') {
            None if wire.key == "client" => Some(By::Client),
            Some(("header", name)) if syntax::is_token(name.as_bytes()) => {
                Some(By::Header(name.to_owned()))
            }
            _ => None,
        };
        if by.is_none() {
            wrong.push(NotALimit::Key(wire.key.chars().take(200).collect()));
        }
        match by {
            Some(by) if wrong.is_empty() => Ok(RateLimit {
                bucket: Bucket::new(wire.requests, wire.per_s, wire.burst.unwrap_or(wire.requests)),
                wire,
                by,
                since: Instant::now(),
                hash: RandomState::new(),
                parts: (0..limits::RATE_PARTS).map(|_| Mutex::default()).collect(),
            }),
            _ => Err(wrong),
        }
    }

    /// Whether both count the same.
    pub(super) fn is_like(&self, other: &RateLimit) -> bool {
        self.wire == other.wire
    }

    /// Counts a client; an error is how long it has to wait.
    pub(super) fn count(&self, client: &Counted<'_>, now: Instant) -> Result<(), Duration> {
        let hash = match client {
            Counted::Address(IpAddr::V4(address)) => self.hash.hash_one(address),
            // Whoever has one address of a /64 has them all.
            Counted::Address(IpAddr::V6(address)) => self.hash.hash_one(address.to_bits() >> 64),
            Counted::Value(value) => self.hash.hash_one(value),
        };
        let now = now.saturating_duration_since(self.since).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let which = usize::try_from(hash >> 48).unwrap_or(0) % limits::RATE_PARTS;
        let Some(part) = self.parts.get(which) else { return Ok(()) };
        part.lock().unwrap_or_else(PoisonError::into_inner).count(self.bucket, hash, now)
    }
}

/// What a client is counted by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted<'a> {
    Address(IpAddr),
    Value(&'a [u8]),
}

/// When the bucket of each client is full again.
#[derive(Debug, Default)]
struct Part(HashMap<u64, u64>);

impl Part {
    fn count(&mut self, bucket: Bucket, client: u64, now: u64) -> Result<(), Duration> {
        if let Some(full) = self.0.get_mut(&client) {
            *full = bucket.take(*full, now)?;
            return Ok(());
        }
        if self.0.len() >= limits::RATE_CLIENTS {
            self.make_room(now);
        }
        self.0.insert(client, bucket.take(0, now)?);
        Ok(())
    }

    /// A full bucket need not be remembered. If all are in use, those that are full first go: so many
    /// at once that what this costs is little for each.
    fn make_room(&mut self, now: u64) {
        self.0.retain(|_, full| *full > now);
        if self.0.len() < limits::RATE_CLIENTS {
            return;
        }
        let mut times: Vec<u64> = self.0.values().copied().collect();
        let (_, &mut quarter, _) = times.select_nth_unstable(limits::RATE_CLIENTS / 4);
        self.0.retain(|_, full| *full > quarter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> wire::RateLimit {
        wire::RateLimit { requests: 1, per_s: 10, burst: Some(2), key: "client".into() }
    }

    #[test]
    fn each_client_has_a_bucket() {
        let limit = RateLimit::new(wire()).unwrap();
        let now = Instant::now();
        let count = |text: &str| limit.count(&Counted::Address(text.parse().unwrap()), now).is_ok();
        assert!(count("10.0.0.1") && count("10.0.0.1") && !count("10.0.0.1"));
        assert!(count("10.0.0.2"));
        assert!(count("2001:db8::1") && count("2001:db8::ffff:2") && !count("2001:db8::3"));
        assert!(count("2001:db8:0:1::1"));
        assert!(limit.count(&Counted::Value(b"x"), now).is_ok());
    }

    #[test]
    fn odd_limits_are_told() {
        let odd = wire::RateLimit { requests: 0, per_s: 0, burst: Some(0), key: "cookie".into() };
        let wrong = RateLimit::new(odd).unwrap_err();
        let keys: Vec<_> = wrong.iter().map(NotALimit::key).collect();
        assert_eq!(keys, ["requests", "per_s", "burst", "key"]);
        for bad in ["header", "header ", "header a b", "Client", ""] {
            assert!(
                RateLimit::new(wire::RateLimit { key: bad.into(), ..wire() }).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_crowd_is_bounded_and_the_oldest_are_forgotten() {
        let bucket = Bucket::new(1, 1000, 1);
        let mut part = Part::default();
        for client in 0..20_000_u64 {
            part.count(bucket, client, 1 + client).unwrap();
            assert!(part.0.len() <= limits::RATE_CLIENTS);
        }
        assert!(part.count(bucket, 19_999, 20_001).is_err(), "the last is remembered");
        assert!(part.count(bucket, 0, 20_001).is_ok(), "the first is not");
        // Those who might come again anyway are the first to go.
        let mut part = Part::default();
        for client in 0..limits::RATE_CLIENTS as u64 {
            part.count(Bucket::new(1, 1, 1), client, 1).unwrap();
        }
        part.count(bucket, u64::MAX, 2_000_000_000).unwrap();
        assert_eq!(part.0.len(), 1);
    }
}
