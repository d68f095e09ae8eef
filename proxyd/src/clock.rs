//! When what a worker waits for is over.
//!
//! Deadlines are many and hardly ever met: each message moves its own. So they are kept here, and not with
//! the runtime, which would look at its timers and at the time whenever it waits for events. One
//! descriptor becomes readable when the first of them is due; between two deadlines nothing is asked
//! and nobody is woken. They are rounded up to a tick, so that those close to each other are one event.
//!
//! The runtime has no timers of its own: in a worker's tasks `tokio::time::sleep` and its like panic.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::Result;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::time::Instant;

use crate::limits;
use crate::reactor::{Lane, Want, Watch};

thread_local! {
    static CLOCK: Clock = Clock {
        start: Instant::now(),
        waiting: RefCell::default(),
        last: Cell::new(0),
        rung: Cell::new(0),
        armed: Cell::new(u64::MAX),
        bell: RefCell::default(),
    };
}

/// Which tick, and the how manieth to wait for one.
type Key = (NonZeroU64, u64);

/// A worker's own.
struct Clock {
    start: Instant,
    waiting: RefCell<BTreeMap<Key, Waker>>,
    last: Cell<u64>,
    /// Whoever waited for this tick, or one before it, has been woken.
    rung: Cell<u64>,
    /// The tick that the bell rings at.
    armed: Cell<u64>,
    bell: RefCell<Weak<Bell>>,
}

impl Clock {
    /// The first tick that is not before a moment.
    fn tick(&self, moment: Instant) -> u64 {
        let nanos = moment.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos.div_ceil(limits::TICK.as_nanos())).unwrap_or(u64::MAX)
    }

    fn wait(&self, until: Instant, waker: &Waker) -> Key {
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        // The bell has not rung for it.
        let tick = NonZeroU64::MIN.saturating_add(self.rung.get());
        let tick = NonZeroU64::new(self.tick(until)).map_or(tick, |until| until.max(tick));
        let key = (tick, number);
        self.waiting.borrow_mut().insert(key, waker.clone());
        if tick.get() < self.armed.get() {
            self.arm(tick.get(), Instant::now());
        }
        key
    }

    /// Has the bell ring at a tick.
    fn arm(&self, tick: u64, now: Instant) {
        let Some(bell) = self.bell.borrow().upgrade() else { return };
        let tick_nanos = u64::try_from(limits::TICK.as_nanos()).unwrap_or(u64::MAX);
        let moment = Duration::from_nanos(tick.saturating_mul(tick_nanos));
        // Nothing at all would be never.
        let left = moment.saturating_sub(now.saturating_duration_since(self.start));
        let left = left.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        // The descriptor is one, and the time is none that the kernel refuses.
        let _ = timerfd_settime(&bell.timer, TimerfdTimerFlags::empty(), &once);
        self.armed.set(tick);
    }

    /// Wakes whose time has come, and has the bell ring for who is next.
    fn ring(&self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.start).as_nanos() / limits::TICK.as_nanos();
        let tick = u64::try_from(passed).unwrap_or(u64::MAX).max(self.rung.get());
        self.rung.set(tick);
        let next = loop {
            let mut waiting = self.waiting.borrow_mut();
            match waiting.first_entry() {
                Some(first) if first.key().0.get() <= tick => {
                    let waker = first.remove();
                    // Whoever is woken may wait for something else at once.
                    drop(waiting);
                    waker.wake();
                }
                first => break first.map(|first| first.key().0.get()),
            }
        };
        self.armed.set(u64::MAX);
        if let Some(next) = next {
            self.arm(next, now);
        }
    }
}

/// What wakes the tasks of this thread, while somebody has it ring.
#[derive(Debug)]
pub(crate) struct Bell {
    watch: Watch,
    timer: OwnedFd,
}

impl Bell {
    /// Hangs it up, in this thread.
    pub(crate) fn hang() -> Result<Rc<Bell>> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let bell = Rc::new(Bell { watch: Watch::over(timer.as_fd(), Lane::First)?, timer });
        CLOCK.with(|clock| *clock.bell.borrow_mut() = Rc::downgrade(&bell));
        Ok(bell)
    }

    /// Rings for as long as there are tasks.
    pub(crate) async fn ring(self: Rc<Self>) {
        CLOCK.with(Clock::ring);
        loop {
            poll_fn(|cx| self.watch.poll(Want::Read, cx)).await;
            // How often it rang does not matter, and to set it anew is to take that back: it need not be read.
            self.watch.is_not_so(Want::Read);
            CLOCK.with(Clock::ring);
        }
    }
}

/// A moment that one task waits for.
#[derive(Debug)]
pub(crate) struct Alarm {
    until: Instant,
    /// Where it is waited for.
    key: Option<Key>,
}

impl Alarm {
    pub(crate) fn new(until: Instant) -> Alarm {
        Alarm { until, key: None }
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn set(&mut self, until: Instant) {
        self.cancel();
        self.until = until;
    }

    /// Ready when it is over. Until then it is always the same task that asks.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        CLOCK.with(|clock| {
            if self.key.is_some_and(|key| key.0.get() > clock.rung.get()) {
                return Poll::Pending;
            }
            self.key = None;
            if Instant::now() >= self.until {
                return Poll::Ready(());
            }
            self.key = Some(clock.wait(self.until, cx.waker()));
            Poll::Pending
        })
    }

    fn cancel(&mut self) {
        if let Some(key) = self.key.take() {
            // At the end of its thread there is nobody to be told any more.
            let _ = CLOCK.try_with(|clock| clock.waiting.borrow_mut().remove(&key));
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Returns after so long.
pub(crate) async fn sleep(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// Returns at this moment.
pub(crate) async fn sleep_until(until: Instant) {
    let mut alarm = Alarm::new(until);
    poll_fn(|cx| alarm.poll(cx)).await;
}

/// What a future brings, or `None` if that takes longer.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut alarm = Alarm::new(Instant::now() + time);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.poll(cx).map(|()| None),
    })
    .await
}

#[cfg(test)]
pub(crate) mod tests {
    use std::future::pending;

    use tokio::task::spawn_local;

    use super::*;
    use crate::executor;

    /// Runs a test as a worker runs.
    pub(crate) fn with_clock<T>(test: impl Future<Output = T>) -> T {
        executor::run(async {
            spawn_local(Bell::hang().unwrap().ring());
            test.await
        })
        .unwrap()
    }

    fn waiting() -> usize {
        CLOCK.with(|clock| clock.waiting.borrow().len())
    }

    #[test]
    fn each_is_woken_in_its_time() {
        let ms = Duration::from_millis;
        let begun = Instant::now();
        let ended = with_clock(async {
            let times = [90, 10, 50, 11, 0, 50].map(|time| {
                spawn_local(async move {
                    sleep(ms(time)).await;
                    (time, begun.elapsed())
                })
            });
            let mut ended = Vec::new();
            for time in times {
                ended.push(time.await.unwrap());
            }
            ended
        });
        for (time, took) in ended {
            assert!((ms(time)..ms(time + 2000)).contains(&took), "{time} ms took {took:?}");
        }
        assert_eq!(waiting(), 0);
    }

    #[test]
    fn what_is_over_in_time_leaves_nothing() {
        with_clock(async {
            assert_eq!(within(Duration::from_hours(1), async { 7 }).await, Some(7));
            assert_eq!(within(Duration::from_millis(1), pending::<()>()).await, None);
            let mut alarm = Alarm::new(Instant::now() + Duration::from_hours(1));
            assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx).is_pending())).await);
            assert_eq!(waiting(), 1);
            // Nearer than what the bell is set for.
            alarm.set(Instant::now() + Duration::from_millis(5));
            assert_eq!(waiting(), 0);
            poll_fn(|cx| alarm.poll(cx)).await;
        });
        assert_eq!(waiting(), 0);
    }
}
