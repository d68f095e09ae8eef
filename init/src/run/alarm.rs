//! The one timer that wakes init.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// Wakes init at a deadline. Setting a timer of the runtime's costs more than an event that comes
/// for nothing, so one that has become too early is left as it is.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it will ring.
    set_to: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), set_to: None }
    }

    /// Returns at the deadline, or earlier.
    pub(super) async fn until(&mut self, deadline: Option<Instant>, now: Instant) {
        let Some(deadline) = deadline else { return std::future::pending().await };
        // The runtime's timers are good to a millisecond; what is due now is due now.
        if deadline <= now {
            return;
        }
        if self.set_to.is_none_or(|at| at > deadline) {
            self.sleep.as_mut().reset(deadline.into());
            self.set_to = Some(deadline);
        }
        self.sleep.as_mut().await;
        self.set_to = None;
    }
}
