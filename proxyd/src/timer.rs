//! A deadline that moves with every message and costs nothing while it only moves away.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// One deadline. The runtime's timer behind it is armed anew only when the deadline comes nearer,
/// or when it went off too early.
#[derive(Debug)]
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    deadline: Instant,
}

impl Timer {
    pub(crate) fn new(deadline: Instant) -> Timer {
        Timer { sleep: Box::pin(sleep_until(deadline)), armed: deadline, deadline }
    }

    pub(crate) fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.armed {
            self.arm();
        }
    }

    pub(crate) fn set_after(&mut self, time: Duration) {
        self.set(Instant::now() + time);
    }

    fn arm(&mut self) {
        self.armed = self.deadline;
        self.sleep.as_mut().reset(self.deadline);
    }

    /// Ready when the deadline is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.deadline <= self.armed {
                return Poll::Ready(());
            }
            self.arm();
        }
        Poll::Pending
    }
}
