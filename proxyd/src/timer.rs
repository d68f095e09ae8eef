//! A deadline that moves with every message and costs nothing while it only moves away.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// One deadline. The runtime's timer behind it is armed anew only when the deadline comes nearer,
/// or when it went off too early; and the clock is read only when there is something to wait for.
#[derive(Debug)]
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    deadline: Instant,
    /// The deadline is so long after the moment in which waiting begins.
    after: Option<Duration>,
}

impl Timer {
    pub(crate) fn new(deadline: Instant) -> Timer {
        Timer { sleep: Box::pin(sleep_until(deadline)), armed: deadline, deadline, after: None }
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
        self.sleep.as_mut().reset(self.deadline);
    }

    /// Ready when the deadline is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(time) = self.after {
            self.set(Instant::now() + time);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.deadline <= self.armed {
                return Poll::Ready(());
            }
            self.arm();
        }
        Poll::Pending
    }
}
