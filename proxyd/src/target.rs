//! A target: an address, and who is using it.
//!
//! The use is one word, so that "is it retired?", "has it room?" and "count me in" are one step: once
//! a target is retired, no claim on it can begin, on whatever thread, and the count only falls. How it
//! is doing is in that word, too: who finds it well has nothing else to look at.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proxyd_wire as wire;
use thiserror::Error;
use tokio::sync::Notify;

use crate::health::{Record, Sight, Standing};
use crate::queue::Queue;

/// Where a target listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An address that is none.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not an address of a target: write tcp:HOST:PORT with a numeric host and a port \
     from 1, such as tcp:127.0.0.1:9000, or unix:/PATH"
)]
pub(crate) struct NotAnAddress(String);

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, NotAnAddress> {
        let wrong = || NotAnAddress(text.chars().take(200).collect());
        match text.split_once(':') {
            Some(("tcp", address)) => {
                let address: SocketAddr = address.parse().map_err(|_| wrong())?;
                let multicast = match address.ip() {
                    IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
                    IpAddr::V6(ip) => ip.is_multicast(),
                };
                if address.port() == 0 || multicast || address.ip().is_unspecified() {
                    return Err(wrong());
                }
                Ok(Address::Tcp(address))
            }
            // 107 is what fits into the kernel's sockaddr_un.
            Some(("unix", path))
                if path.starts_with('/') && path.len() <= 107 && !path.contains('\0') =>
            {
                Ok(Address::Unix(PathBuf::from(path)))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp:{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const RETIRED: u64 = 1 << 63;
const EJECTED: u64 = 1 << 62;
const SUSPECT: u64 = 1 << 61;
const COUNT: u64 = SUSPECT - 1;

/// One look at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look(u64);

impl Look {
    pub(crate) fn is_retired(self) -> bool {
        self.0 & RETIRED != 0
    }

    pub(crate) fn is_ejected(self) -> bool {
        self.0 & EJECTED != 0
    }

    pub(crate) fn in_flight(self) -> u64 {
        self.0 & COUNT
    }

    fn sight(self) -> Sight {
        match (self.0 & EJECTED, self.0 & SUSPECT) {
            (0, 0) => Sight::Well,
            (0, _) => Sight::Suspect,
            _ => Sight::Ejected,
        }
    }
}

/// A target. Its identity is its number: one that is replaced under the same name is another.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) number: u64,
    /// `SERVICE/NAME`, for the log.
    pub(crate) label: String,
    pub(crate) address: Address,
    /// Who waits until there is room.
    pub(crate) queue: Arc<Queue>,
    /// The requests in flight; the bit that says that there will be no more; how it is doing.
    claims: AtomicU64,
    /// From when on an ejected one may be tried, by its own clock; the rest is in the record.
    due: AtomicU64,
    record: Mutex<Record>,
    /// Of the requests in flight, the streams.
    streams: AtomicU64,
    /// Of the others, those whose answer has begun and goes on.
    answers: AtomicU64,
    /// How long streams go on once it is retired, in milliseconds.
    stream_grace: AtomicU64,
    retirement: Notify,
    /// Where its clock starts.
    made: Instant,
}

impl Target {
    pub(crate) fn new(number: u64, label: String, address: Address, queue: Arc<Queue>) -> Target {
        Target {
            number,
            label,
            address,
            queue,
            claims: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            record: Mutex::default(),
            streams: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            stream_grace: AtomicU64::new(0),
            retirement: Notify::new(),
            made: Instant::now(),
        }
    }

    /// Counts a request in, unless the target is retired or has as many as `bound`. Whether it is
    /// ejected is for the caller to mind.
    pub(crate) fn claim(&self, bound: u64) -> Option<Sight> {
        let claimed =
            |claims| (claims & RETIRED == 0 && claims & COUNT < bound).then_some(claims + 1);
        let before = self.claims.fetch_update(Ordering::SeqCst, Ordering::SeqCst, claimed);
        before.ok().map(|before| Look(before).sight())
    }

    /// Counts a request out, and tells who waits. `true` if none is left of a retired target but
    /// streams.
    pub(crate) fn release(&self) -> bool {
        let released = |claims| if claims & COUNT == 0 { None } else { Some(claims - 1) };
        let before = self.claims.fetch_update(Ordering::SeqCst, Ordering::SeqCst, released);
        self.queue.call();
        before.is_ok_and(|before| before & RETIRED != 0 && (before & COUNT) - 1 <= self.streams())
    }

    /// From now on no request is counted in, and streams have so long.
    pub(crate) fn retire(&self, stream_grace: Duration) {
        let grace = u64::try_from(stream_grace.as_millis()).unwrap_or(u64::MAX);
        self.stream_grace.store(grace, Ordering::SeqCst);
        self.claims.fetch_or(RETIRED, Ordering::SeqCst);
        self.retirement.notify_waiters();
    }

    /// Returns once it is retired.
    pub(crate) async fn retired(&self) {
        let mut told = pin!(self.retirement.notified());
        // In line before the look, so that it is not missed.
        told.as_mut().enable();
        if !self.is_retired() {
            told.await;
        }
    }

    pub(crate) fn stream_grace(&self) -> Duration {
        Duration::from_millis(self.stream_grace.load(Ordering::SeqCst))
    }

    pub(crate) fn begin_stream(&self) {
        self.streams.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end_stream(&self) {
        self.streams.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn begin_answer(&self) {
        self.answers.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end_answer(&self) {
        self.answers.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn streams(&self) -> u64 {
        self.streams.load(Ordering::SeqCst)
    }

    /// Requests in flight that are no streams.
    pub(crate) fn plain(&self) -> u64 {
        self.in_flight().saturating_sub(self.streams())
    }

    /// Of those, the ones whose answer has begun and goes on.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    pub(crate) fn look(&self) -> Look {
        Look(self.claims.load(Ordering::SeqCst))
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.look().is_retired()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.look().in_flight()
    }

    /// Retired, and nobody is using it any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.claims.load(Ordering::SeqCst) & (RETIRED | COUNT) == RETIRED
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether an ejected one may be tried now.
    pub(crate) fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) <= self.now()
    }

    /// From when on an ejected one may be tried, unless it is being tried.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let due = self.due.load(Ordering::Relaxed);
        (due != u64::MAX).then(|| self.made.checked_add(Duration::from_millis(due))).flatten()
    }

    /// Takes the right to try an ejected one; `false`: it is not the time, or somebody has it.
    pub(crate) fn try_out(&self) -> bool {
        self.is_due() && self.note(Record::try_out)
    }

    /// The right to try is given back.
    pub(crate) fn untold(&self) {
        self.note(Record::untold);
    }

    /// A request that found it so came to nothing.
    pub(crate) fn failed(&self, sight: Sight, rule: &wire::Eject) {
        self.note(|record, now| record.failed(now, sight, rule));
    }

    /// A request that found it so was answered.
    pub(crate) fn answered(&self, sight: Sight) {
        self.note(|record, now| record.answered(now, sight));
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record, and shows what is to be seen of it without its lock.
    fn note<R>(&self, change: impl FnOnce(&mut Record, u64) -> R) -> R {
        let mut record = self.record();
        let result = change(&mut record, self.now());
        let (bits, due) = match record.standing {
            Standing::Well if record.failures == 0 => (0, u64::MAX),
            Standing::Well => (SUSPECT, u64::MAX),
            Standing::Ejected { until } => (EJECTED, until),
            Standing::Trial => (EJECTED, u64::MAX),
        };
        self.due.store(due, Ordering::Relaxed);
        let shown = |claims| Some(claims & !(EJECTED | SUSPECT) | bits);
        let _ = self.claims.fetch_update(Ordering::SeqCst, Ordering::SeqCst, shown);
        result
    }

    /// With the settings that it was put with.
    pub(crate) fn view(&self, wire: &wire::Target) -> wire::TargetView {
        let record = self.record().clone();
        let look = self.look();
        let until = match record.standing {
            Standing::Ejected { until } => self.in_unix_time(until),
            Standing::Well | Standing::Trial => None,
        };
        wire::TargetView {
            address: wire.address.clone(),
            weight: wire.weight,
            max_in_flight: wire.max_in_flight,
            group: wire.group,
            in_flight: look.in_flight(),
            streams: self.streams(),
            retired: look.is_retired(),
            state: record.view(),
            failures: record.failures,
            ejected_until_ms: until,
        }
    }

    /// A moment of its own clock in milliseconds since 1970.
    fn in_unix_time(&self, moment: u64) -> Option<u64> {
        let made = SystemTime::now().checked_sub(self.made.elapsed())?;
        let since = made.checked_add(Duration::from_millis(moment))?.duration_since(UNIX_EPOCH);
        u64::try_from(since.ok()?.as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["tcp:127.0.0.1:9000", "tcp:[::1]:9000", "unix:/run/app.sock"] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "127.0.0.1:9000",
            "tcp:localhost:80",
            "tcp:127.0.0.1",
            "tcp:127.0.0.1:0",
            "tcp:127.0.0.1:65536",
            "tcp:0.0.0.0:80",
            "tcp:224.0.0.1:80",
            "unix:",
            "unix:relative",
            "http:127.0.0.1:80",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Address::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }
    fn target() -> Target {
        let address = Address::parse("unix:/x").unwrap();
        Target::new(1, "s/t".into(), address, Arc::default())
    }

    #[test]
    fn it_shows_how_it_is_doing() {
        let target = target();
        let rule = wire::Eject {
            failures: 2,
            backoff_ms: 60_000,
            max_backoff_ms: 60_000,
            ..wire::Eject::default()
        };
        assert_eq!(target.claim(9), Some(Sight::Well));
        target.failed(Sight::Well, &rule);
        assert_eq!(target.claim(9), Some(Sight::Suspect));
        target.failed(Sight::Suspect, &rule);
        assert!(target.look().is_ejected() && !target.is_due() && !target.try_out());
        assert_eq!((target.in_flight(), target.claim(2)), (2, None));
        let view = target.view(&wire::Target::at("unix:/x"));
        assert_eq!((view.state, view.failures), (wire::Health::Ejected, 2));
        let left = u128::from(view.ejected_until_ms.unwrap())
            - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!((50_000..=60_001).contains(&left), "{left}");
        target.retire(Duration::ZERO);
        assert_eq!(target.claim(9), None);
        assert!(!target.release() && target.release() && target.is_drained());
    }

    #[test]
    fn one_tries_at_a_time() {
        let target = target();
        let rule = wire::Eject { failures: 1, backoff_ms: 10, ..wire::Eject::default() };
        target.failed(Sight::Well, &rule);
        while !target.try_out() {
            std::thread::yield_now();
        }
        assert!(!target.is_due() && !target.try_out());
        target.untold();
        assert!(target.try_out());
        target.answered(Sight::Trial);
        assert_eq!(target.claim(1), Some(Sight::Well));
    }
}
