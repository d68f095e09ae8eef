//! The door: whether clients are let in yet.
//!
//! A proxy that is told its routes by somebody must not answer before it knows them: a client that
//! comes early waits in the kernel's queue, and is not told that there is nothing for it. The door
//! opens once and does not close again; what ends a proxy is a signal.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Where workers wait before they accept.
#[derive(Debug)]
pub(crate) struct Door {
    open: watch::Sender<bool>,
    /// How many workers accept, or do not need to any more.
    inside: watch::Sender<usize>,
    workers: usize,
}

impl Door {
    pub(crate) fn new(workers: usize, open: bool) -> Door {
        Door { open: watch::Sender::new(open), inside: watch::Sender::new(0), workers }
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Lets clients in; returns when every worker accepts, `false` if some did not in time.
    pub(crate) async fn open(&self, within: Duration) -> bool {
        self.unlock();
        let mut inside = self.inside.subscribe();
        let all = inside.wait_for(|inside| *inside >= self.workers);
        timeout(within, all).await.is_ok()
    }

    /// Lets clients in; does not wait until anybody accepts.
    pub(crate) fn unlock(&self) {
        self.open.send_replace(true);
    }

    /// Returns once it is open.
    pub(crate) async fn opened(&self) {
        // The sender is in `self`: it cannot be gone.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// A worker accepts, or will not any more because it was told to stop before.
    pub(crate) fn pass(&self) {
        self.inside.send_modify(|inside| *inside += 1);
    }
}
