//! A worker's idle connections to targets.

use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;
use crate::target::Target;
use crate::upstream::Upstream;

#[derive(Debug)]
struct Idle {
    upstream: Upstream,
    since: Instant,
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
    pub(crate) fn take(&self, target: &Target, now: Instant, surely: bool) -> Option<Upstream> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(&target.number)?;
        loop {
            let Idle { upstream, since } = idle.pop()?;
            if now.saturating_duration_since(since) >= limits::POOL_TIME {
                // The ones below are older still.
                idle.clear();
                return None;
            }
            if upstream.is_silent() && (!surely || upstream.is_silent_now()) {
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection for the next request, unless the target is retired.
    pub(crate) fn put(&self, target: &Target, upstream: Upstream, now: Instant) {
        if target.is_retired() {
            return;
        }
        let mut all = self.idle.borrow_mut();
        if all.is_empty() {
            self.filled.notify_one();
        }
        let idle = all.entry(target.number).or_default();
        if idle.len() < limits::POOL_SIZE {
            idle.push(Idle { upstream, since: now });
        }
    }

    /// Closes the connections to targets that are not `live` any more.
    pub(crate) fn keep(&self, live: impl Fn(u64) -> bool) {
        self.idle.borrow_mut().retain(|&number, _| live(number));
    }

    /// Closes the connections that are too old.
    pub(crate) fn expire(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, idle| {
            let young = |i: &Idle| now.saturating_duration_since(i.since) < limits::POOL_TIME;
            idle.retain(young);
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
