//! Requests that do not end by themselves: tunnels, and answers that are streams of events or the messages of a call. And
//! those whose answer is longer than the time that its target is given to finish.
//!
//! A target that is retired, and a proxy that drains, wait for other requests until they are
//! answered. A stream is counted apart, goes on for a grace of its own, and is then told to end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::time::Instant;

use crate::clock::sleep;
use crate::target::Target;
use crate::worker::{Claim, Worker};

/// A stream, counted; dropping it counts it out. It is dropped before its claim.
#[derive(Debug)]
pub(crate) struct Stream {
    target: Arc<Target>,
    worker: Rc<Worker>,
}

impl Stream {
    pub(crate) fn of(claim: &Claim) -> Stream {
        let stream = Stream { target: Arc::clone(&claim.target), worker: Rc::clone(&claim.worker) };
        stream.target.begin_stream();
        stream.worker.begin_stream();
        if stream.target.is_retired() {
            stream.worker.tell_drained();
        }
        stream
    }

    /// Returns when it has to end: some time after its target was retired, or the proxy was told to stop.
    pub(crate) async fn over(&self) {
        let retired = async {
            self.target.retired().await;
            sleep(self.target.stream_grace()).await;
        };
        let drained = async {
            self.worker.drained().await;
            sleep(self.worker.stream_grace).await;
        };
        select! {
            () = retired => {}
            () = drained => {}
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.target.end_stream();
        self.worker.end_stream();
    }
}

/// An answer that does not come in one piece, counted; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct LongAnswer<'a> {
    claim: &'a Claim,
    until: Option<Instant>,
}

impl<'a> LongAnswer<'a> {
    pub(crate) fn of(claim: &'a Claim) -> LongAnswer<'a> {
        claim.target.begin_answer();
        claim.worker.begin_stream();
        LongAnswer { claim, until: None }
    }

    /// Whether it has to end, as far as it is asked between two pieces of it.
    pub(crate) fn is_over(&mut self) -> bool {
        let (target, worker) = (&self.claim.target, &self.claim.worker);
        let grace: Duration = match (target.is_retired(), worker.draining.get()) {
            (true, _) => target.stream_grace(),
            (false, true) => worker.stream_grace,
            (false, false) => return false,
        };
        let now = Instant::now();
        *self.until.get_or_insert(now + grace) <= now
    }
}

impl Drop for LongAnswer<'_> {
    fn drop(&mut self) {
        self.claim.target.end_answer();
        self.claim.worker.end_stream();
    }
}
