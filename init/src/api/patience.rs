//! How long a request's head may take: one timer a connection, used again for each head.
//!
//! Setting a timer anew costs a system call where it is the next one to ring, which on a connection
//! alone it always is. Putting one off costs nothing.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

type Alarm = Pin<Box<tokio::time::Sleep>>;

/// The timer of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience(Arc<Mutex<Option<Alarm>>>);

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let alarm = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let alarm = match alarm {
            Some(mut alarm) => {
                alarm.as_mut().reset(deadline.into());
                alarm
            }
            None => Box::pin(tokio::time::sleep_until(deadline.into())),
        };
        Box::pin(Wait { alarm: Some(alarm), home: self.clone() })
    }
}

/// A wait for a deadline, which leaves its timer to the next one.
struct Wait {
    alarm: Option<Alarm>,
    home: Patience,
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.alarm.take();
    }
}
