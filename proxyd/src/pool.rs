//! A worker's idle connections to targets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;
use crate::settings::Settings;
use crate::target::Target;
use crate::upstream::Upstream;

/// A connection to a target that may serve several requests.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) upstream: Upstream,
    /// Requests that it has served.
    served: u32,
}

impl Line {
    pub(crate) fn new(upstream: Upstream) -> Line {
        Line { upstream, served: 0 }
    }
}

#[derive(Debug)]
struct Idle {
    /// It is taken and put back with each request, and moved several times on the way.
    line: Box<Line>,
    until: Instant,
}

/// Idle connections by the target's number; the one used last is used next.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>, RandomState>>,
    /// Tells whoever closes old ones that there is something to do again.
    filled: Notify,
}

impl Pool {
    /// A connection that is young and silent. `surely`: ask the kernel, because the request
    /// could not be sent twice.
    pub(crate) fn take(&self, target: &Target, now: Instant, surely: bool) -> Option<Box<Line>> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(&target.number)?;
        loop {
            let Idle { line, until } = idle.pop()?;
            if now < until
                && line.upstream.socket.is_silent()
                && (!surely || line.upstream.socket.is_silent_now())
            {
                return Some(line);
            }
        }
    }

    /// Keeps a connection that has served one more request for the next one, unless the target is
    /// retired. `promised`: for how many seconds the target said that it would keep it.
    pub(crate) fn put(
        &self,
        target: &Target,
        mut line: Box<Line>,
        promised: Option<u64>,
        (settings, now): (&Settings, Instant),
    ) {
        line.served = line.served.saturating_add(1);
        let rule = &settings.wire.pool;
        let worn = rule.requests != 0 && line.served >= rule.requests;
        let promised = promised
            .map(|seconds| Duration::from_secs(seconds).saturating_sub(limits::POOL_MARGIN));
        let time = promised.map_or(settings.pool_time, |time| time.min(settings.pool_time));
        if worn || time.is_zero() || target.is_retired() {
            return;
        }
        let mut all = self.idle.borrow_mut();
        if all.is_empty() {
            self.filled.notify_one();
        }
        let idle = all.entry(target.number).or_default();
        if (idle.len() as u64) < u64::from(rule.size) {
            idle.push(Idle { line, until: now + time });
        }
    }

    /// Closes the connections to targets that are not `live` any more.
    pub(crate) fn keep(&self, live: impl Fn(u64) -> bool) {
        self.idle.borrow_mut().retain(|&number, _| live(number));
    }

    /// Closes the connections that are too old.
    pub(crate) fn expire(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| now < idle.until);
            !idle.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Returns once there is a connection again.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
