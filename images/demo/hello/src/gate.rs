//! Who is inside: bounds the connections, counts the requests, and tells when all is quiet.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Connections served at once; the next one waits in the listener's backlog.
const MOST: usize = 256;

/// The gate that every connection and every request passes.
#[derive(Default)]
pub(crate) struct Gate {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Default)]
struct Inside {
    connections: usize,
    requests: usize,
    closed: bool,
}

/// A request that is being answered, for as long as this value lives.
pub(crate) struct Flight<'a>(&'a Gate);

impl Gate {
    /// Waits for room for one more connection, and takes it.
    pub(crate) fn enter(&self) {
        let full = |inside: &mut Inside| inside.connections >= MOST;
        let waited = self.changed.wait_while(self.lock(), full);
        waited.unwrap_or_else(PoisonError::into_inner).connections += 1;
    }

    /// A connection is over.
    pub(crate) fn leave(&self) {
        self.lock().connections -= 1;
        self.changed.notify_all();
    }

    /// A request has arrived.
    pub(crate) fn request(&self) -> Flight<'_> {
        self.lock().requests += 1;
        Flight(self)
    }

    /// From now on each connection ends with its next answer. Tells how many are owed.
    pub(crate) fn close(&self) -> usize {
        let mut inside = self.lock();
        inside.closed = true;
        inside.requests
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Returns when no request is being answered.
    pub(crate) fn wait_until_quiet(&self) {
        let busy = |inside: &mut Inside| inside.requests > 0;
        drop(self.changed.wait_while(self.lock(), busy));
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.lock().requests -= 1;
        self.0.changed.notify_all();
    }
}
