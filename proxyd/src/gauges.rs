//! What is true of the process at this moment, for whoever watches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Clients' connections over all workers.
    clients: AtomicUsize,
    /// Lines that the access log could not take.
    pub(crate) lines_lost: AtomicU64,
    /// What is wanted is not on the disk, because it cannot be written there.
    pub(crate) snapshot_failing: AtomicBool,
    /// Handshakes of TLS, by how they ended.
    pub(crate) handshakes: Handshakes,
    /// It has been told to stop.
    pub(crate) draining: AtomicBool,
}

/// Handshakes that have ended since the process began.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pub(crate) full: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// What those that did not fail took, in all.
    pub(crate) micros: AtomicU64,
}

impl Handshakes {
    pub(crate) fn count(&self, resumed: bool, took: Duration) {
        let counter = if resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Gauges {
    /// Counts a client's connection, until what is returned is dropped.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        self.clients.fetch_add(1, Ordering::Relaxed);
        Client(Arc::clone(self))
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(crate) struct Client(Arc<Gauges>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
