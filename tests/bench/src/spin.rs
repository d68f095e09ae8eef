//! Waiting for events without falling asleep at once.
//!
//! Waking a thread on another core is dear, on a virtual machine more than on others, and whoever sends
//! the bytes pays for it. How often clients and origin sleep is chance, so they look again for a
//! while: then what a proxy pays for is its own work.

use std::time::{Duration, Instant};

use nix::Result;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};

/// How long they look before they sleep.
const PATIENCE: Duration = Duration::from_micros(500);

/// Waits until something is ready or the time is over.
pub fn wait(epoll: &Epoll, events: &mut [EpollEvent], timeout: EpollTimeout) -> Result<usize> {
    let begun = Instant::now();
    loop {
        let count = epoll.wait(events, EpollTimeout::ZERO)?;
        if count > 0 {
            return Ok(count);
        }
        if begun.elapsed() > PATIENCE {
            return epoll.wait(events, timeout);
        }
        // Clients and origin share a core.
        std::thread::yield_now();
    }
}
