//! A deadline that moves with every message and costs nothing while it only moves away.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Alarm;

/// One deadline. The alarm behind it is set anew only when the deadline comes nearer, or when it went off
/// too early; and the clock is read only when there is something to wait for.
#[derive(Debug)]
pub(crate) struct Timer {
    alarm: Alarm,
    deadline: Instant,
    /// The deadline is so long after the moment in which waiting begins.
    after: Option<Duration>,
}

impl Timer {
    pub(crate) fn new(deadline: Instant) -> Timer {
        Timer { alarm: Alarm::new(deadline), deadline, after: None }
    }

    pub(crate) fn set(&mut self, deadline: Instant) {
        self.after = None;
        self.deadline = deadline;
        if deadline < self.alarm.until() {
            self.alarm.set(deadline);
        }
    }

    /// So long from the next moment on in which there is nothing to do but wait.
    pub(crate) fn set_after(&mut self, time: Duration) {
        self.after = Some(time);
    }

    /// Ready when the deadline is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(time) = self.after {
            self.set(Instant::now() + time);
        }
        loop {
            ready!(self.alarm.poll(cx));
            if self.deadline <= self.alarm.until() {
                return Poll::Ready(());
            }
            self.alarm.set(self.deadline);
        }
    }
}
