//! The state where threads meet: changes come in here, workers take pictures from here.
//!
//! The data path takes no lock: it compares one number, and fetches a new picture only when the
//! number has grown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxyd_wire as wire;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::acme::Board;
use crate::door::Door;
use crate::gauges::Gauges;
use crate::limits;
use crate::meter::Meter;
use crate::state::State;
use crate::table::Table;
use crate::target::Target;

/// The state, and who has seen it.
#[derive(Debug)]
pub(crate) struct Registry {
    state: Mutex<State>,
    /// The picture that was asked for last.
    table: Mutex<Arc<Table>>,
    /// The state's version, to be compared without the lock.
    version: AtomicU64,
    changed: watch::Sender<u64>,
    /// By worker, the version for which it has closed what it no longer needs.
    seen: Vec<AtomicU64>,
    /// A worker has seen a change, or a retired target is drained.
    moved: Notify,
    /// Whether clients are let in.
    pub(crate) door: Door,
    pub(crate) gauges: Arc<Gauges>,
    /// How certificates stand that are obtained.
    pub(crate) acme: Board,
    /// Of requests that no route is for.
    pub(crate) unrouted: Meter,
    pub(crate) begun: Instant,
}

impl Registry {
    pub(crate) fn new(workers: usize, open: bool) -> Registry {
        Registry {
            state: Mutex::default(),
            table: Mutex::default(),
            version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            seen: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            moved: Notify::new(),
            door: Door::new(workers, open),
            gauges: Arc::default(),
            acme: Board::default(),
            unrouted: Meter::default(),
            begun: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the state; workers see it from here on, at the latest when they are asked next.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        state.forget_drained();
        let version = state.version();
        if self.version.swap(version, Ordering::AcqRel) != version {
            self.changed.send_replace(version);
        }
        let waited_for = state.waited_for();
        drop(state);
        for queue in waited_for {
            queue.call();
        }
        result
    }

    /// Waits until a change that is under way can be seen as a whole.
    pub(crate) fn settle(&self) {
        drop(self.lock());
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// That of what is wanted.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation()
    }

    /// The present picture. It is made once, by the worker who asks first.
    pub(crate) fn table(&self) -> Arc<Table> {
        let mut last = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if last.version != self.version() {
            *last = Arc::new(self.lock().table());
        }
        Arc::clone(&last)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A worker holds nothing any more of what this version gave up.
    pub(crate) fn saw(&self, worker: usize, version: u64) {
        if let Some(seen) = self.seen.get(worker) {
            seen.fetch_max(version, Ordering::AcqRel);
        }
        self.moved.notify_waiters();
    }

    /// A retired target is drained.
    pub(crate) fn drained(&self) {
        self.moved.notify_waiters();
    }

    /// Waits until every worker saw this version; `false` if some did not in time.
    pub(crate) async fn seen_by_all(&self, version: u64, within: Duration) -> bool {
        let seen = || self.seen.iter().all(|seen| seen.load(Ordering::Acquire) >= version);
        self.wait_until(seen, within).await
    }

    /// Waits until the targets' requests are answered, and their streams are over where there is a time
    /// for that, too; what is left in flight when the time is over.
    pub(crate) async fn drain(
        &self,
        targets: &[Arc<Target>],
        within: Duration,
        streams_within: Option<Duration>,
    ) -> wire::Drained {
        let begun = Instant::now();
        self.wait_until(|| targets.iter().all(|target| target.plain() == 0), within).await;
        if let Some(time) = streams_within {
            // One that does not agree to its close is cut by then.
            let last = time + limits::CLOSE_TIME + limits::CHANGE_SEEN_TIME;
            let time = last.saturating_sub(begun.elapsed());
            self.wait_until(|| targets.iter().all(|target| target.is_drained()), time).await;
        }
        let sum = |count: fn(&Target) -> u64| targets.iter().map(|target| count(target)).sum();
        let (left, answers, streams): (u64, u64, u64) =
            (sum(Target::plain), sum(Target::answers), sum(Target::streams));
        // An answer that is longer than the grace goes on as a stream does.
        let answers = answers.min(left);
        wire::Drained { left: left - answers, streams: streams + answers }
    }

    async fn wait_until(&self, reached: impl Fn() -> bool, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // In line before the look, so that no move between the two is missed.
            moved.as_mut().enable();
            if reached() {
                return true;
            }
            if timeout_at(deadline, moved).await.is_err() {
                return reached();
            }
        }
    }
}
