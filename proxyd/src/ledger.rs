//! What the requests of a service share over all workers, and over all pictures of it: whose turn
//! it is, what may be spent on sending again, and who waits.
//!
//! Nothing of it is written to by a request for a service without settings, but for one in
//! sixty-four.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use proxyd_wire as wire;

use crate::budget::Budget;
use crate::queue::Queue;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) queue: Arc<Queue>,
    /// Of the round robin.
    turns: AtomicU64,
    /// Of the canary's share.
    shares: AtomicU64,
    budget: Mutex<Budget>,
    opened: Instant,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        Ledger {
            queue: Arc::default(),
            turns: AtomicU64::new(0),
            shares: AtomicU64::new(0),
            budget: Mutex::default(),
            opened: Instant::now(),
        }
    }

    pub(crate) fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_share(&self) -> u64 {
        self.shares.fetch_add(1, Ordering::Relaxed)
    }

    /// A request has come. Instead of counting each, one in sixty-four counts for all of them.
    pub(crate) fn count(&self, random: u64, rule: &wire::Retry) {
        if random >> 58 == 0 {
            self.budget().earn(64, rule);
        }
    }

    /// Whether a request that a target may have seen may be sent again.
    pub(crate) fn may_repeat(&self, rule: &wire::Retry) -> bool {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.budget().spend(now, rule)
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
