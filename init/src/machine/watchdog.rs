//! The machine's own watchdog: it resets a machine whose init does nothing any more.
//!
//! init says that it is alive from its event loop, so a loop that hangs says nothing. While the
//! machine ends, the watchdog has more patience but goes on: an end that hangs ends in a reset.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::sys;

const DEVICE: &str = "/dev/watchdog";
/// The timeout of a device that does not tell, with a margin.
const SHORTEST: Duration = Duration::from_secs(3);
/// How long the end of the machine may take, after all processes have ended.
const END: Duration = Duration::from_mins(1);

/// A watchdog that is wanted, and open once it is there.
#[derive(Debug)]
pub struct Watchdog {
    timeout: Duration,
    device: Option<File>,
    next: Instant,
}

impl Watchdog {
    /// One that resets the machine after so long without a word.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, device: None, next: Instant::now() }
    }

    /// When it wants to hear the next word.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.next
    }

    /// Says that init is alive, if it is time; before that, looks whether the device is there by
    /// now, which another process may have to bring up.
    pub fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        // At a third of its patience, so that one word may be late.
        self.next = now + self.timeout / 3;
        match &mut self.device {
            Some(device) => {
                if let Err(error) = device.write_all(b"1") {
                    warn!("{DEVICE} cannot be told that init is alive: {error}");
                }
            }
            None => self.open(),
        }
    }

    fn open(&mut self) {
        let Ok(device) = OpenOptions::new().write(true).open(DEVICE) else { return };
        match sys::set_watchdog(&device, self.timeout) {
            Ok(set) => {
                info!("{DEVICE} resets the machine after {set} s of silence");
                // It may not have so much patience.
                self.timeout = self.timeout.min(Duration::from_secs(set.unsigned_abs().into()));
            }
            Err(errno) => {
                warn!("{DEVICE} keeps its own timeout, whatever it is: {}", errno.desc());
                self.timeout = self.timeout.min(SHORTEST);
            }
        }
        self.next = Instant::now() + self.timeout / 3;
        self.device = Some(device);
    }

    /// The machine ends: the last word.
    #[must_use]
    pub fn last(mut self) -> LastWord {
        if let Some(device) = &mut self.device {
            // One that cannot be set has its own patience.
            let _ = sys::set_watchdog(device, END.max(self.timeout));
            let _ = device.write_all(b"1");
        }
        LastWord(self.device)
    }
}

/// A watchdog that waits for the machine to end.
#[derive(Debug)]
pub struct LastWord(Option<File>);

impl LastWord {
    /// The machine is to stand still and stay so: no reset.
    pub fn disarm(mut self) {
        if let Some(device) = &mut self.0 {
            // The letter by which the driver tells an end from a crash.
            let _ = device.write_all(b"V");
        }
    }
}
