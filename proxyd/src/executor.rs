//! What runs the tasks of a worker's thread: in turns, and looks what has come between them.
//!
//! Tasks are tokio's, and so is all that they tell each other by. Descriptors are the [`Reactor`]'s, so that in which
//! order they are told of is ours.

use std::future::{Future, poll_fn};
use std::io::Result;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::task::LocalSet;

use crate::reactor::{Lane, Reactor, Watch};

/// Runs a future, and what it spawns for this thread, until it has come to its end.
pub(crate) fn run<F: Future>(main: F) -> Result<F::Output> {
    let reactor = Reactor::start()?;
    let nudge = Arc::new(Nudge::new()?);
    let _nudged = Watch::over(nudge.bell.as_fd(), Lane::First)?;
    // For what is told to threads that may block.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let _entered = runtime.enter();
    let tasks = LocalSet::new();
    let mut main = pin!(main);
    let mut turn = pin!(tasks.run_until(poll_fn(|cx| {
        reactor.tell();
        main.as_mut().poll(cx)
    })));
    let waker = Waker::from(Arc::clone(&nudge));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = turn.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        let waits = !reactor.has_news() && nudge.lets_sleep();
        reactor.look(waits)?;
        if waits {
            nudge.is_awake();
        }
    }
}

/// Gets a thread to go on that waits for descriptors.
struct Nudge {
    /// There is something to do.
    told: AtomicBool,
    /// The thread waits, or is about to.
    sleeps: AtomicBool,
    bell: EventFd,
}

impl Nudge {
    fn new() -> Result<Nudge> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_value_and_flags(0, flags)?;
        Ok(Nudge { told: AtomicBool::new(false), sleeps: AtomicBool::new(false), bell })
    }

    /// Whether there is nothing to do. Whoever tells of something from now on rings.
    fn lets_sleep(&self) -> bool {
        if self.told.swap(false, Ordering::SeqCst) {
            return false;
        }
        self.sleeps.store(true, Ordering::SeqCst);
        !self.told.swap(false, Ordering::SeqCst)
    }

    fn is_awake(&self) {
        self.sleeps.store(false, Ordering::SeqCst);
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.told.store(true, Ordering::SeqCst);
        if self.sleeps.swap(false, Ordering::SeqCst) {
            // Each time that it rings is told of: it need not be read.
            let _ = self.bell.write(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};
    use tokio::task::{spawn_blocking, spawn_local, yield_now};

    use super::*;

    #[test]
    fn what_another_thread_tells_is_never_missed() {
        let (tell, mut told) = mpsc::channel(1);
        let other = thread::spawn(move || {
            for number in 0..10_000 {
                if number % 100 == 0 {
                    // It sleeps by then.
                    thread::sleep(Duration::from_micros(200));
                }
                tell.blocking_send(number).unwrap();
            }
        });
        let sum = run(async {
            let mut sum = 0;
            while let Some(number) = told.recv().await {
                sum += number;
            }
            sum
        });
        assert_eq!(sum.unwrap(), 9_999 * 10_000 / 2);
        other.join().unwrap();
    }

    #[test]
    fn tasks_take_turns_with_each_other_and_with_threads_that_block() {
        let ended = run(async {
            let (tell, told) = oneshot::channel();
            let busy = spawn_local(async move {
                let mut told = told;
                let mut turns = 0_u64;
                while told.try_recv().is_err() {
                    turns += 1;
                    yield_now().await;
                }
                turns
            });
            let slept = spawn_blocking(|| thread::sleep(Duration::from_millis(20))).await;
            tell.send(()).unwrap();
            (slept.is_ok(), busy.await.unwrap())
        });
        let (slept, turns) = ended.unwrap();
        assert!(slept && turns > 1);
    }

    #[test]
    fn what_panics_is_told_to_who_waits_for_it() {
        let ended: Result<()> = run(async {
            let ended = spawn_local(async { panic!("a test") }).await;
            assert!(ended.is_err_and(|ended| ended.is_panic()));
        });
        ended.unwrap();
    }
}
