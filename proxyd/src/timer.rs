//! A deadline that moves with every message and costs nothing while it only moves away.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

/// One deadline. The runtime's timer behind it is armed anew only when the deadline comes nearer,
/// or when it went off too early; and the clock is read only when there is something to wait for.
#[derive(Debug)]
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    /// The runtime's timer knows whom to wake. It is always the same: a timer is one task's.
    watched: bool,
    deadline: Instant,
    /// The deadline is so long after the moment in which waiting begins.
    after: Option<Duration>,
}

impl Timer {
    pub(crate) fn new(deadline: Instant) -> Timer {
        let sleep = Box::pin(sleep_until(deadline));
        Timer { sleep, armed: deadline, watched: false, deadline, after: None }
    }

    pub(crate) fn set(&mut self, deadline: Instant) {
        self.after = None;
        self.deadline = deadline;
        if deadline < self.armed {
            self.arm();
        }
    }

    /// So long from the next moment on in which there is nothing to do but wait.
    pub(crate) fn set_after(&mut self, time: Duration) {
        self.after = Some(time);
    }

    fn arm(&mut self) {
        self.armed = self.deadline;
        self.watched = false;
        self.sleep.as_mut().reset(self.deadline);
    }

    /// Ready when the deadline is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(time) = self.after {
            self.set(Instant::now() + time);
        }
        if self.watched && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.deadline <= self.armed {
                return Poll::Ready(());
            }
            self.arm();
        }
        // Out of turns, a task has not been noted down.
        self.watched = has_budget_remaining();
        Poll::Pending
    }
}
