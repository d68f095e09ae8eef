//! Waiting for events without falling asleep at once.
//!
//! Waking a thread on another core is dear, on a virtual machine more than on others, and whoever sends
//! the bytes pays for it. How often clients and origin sleep is chance, so while there is load they
//! are one thread that looks again for a while: then what a proxy pays for is its own work.

use std::os::fd::AsFd;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use nix::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};

use crate::origin::Origin;

/// How long they look before they sleep.
const PATIENCE: Duration = Duration::from_micros(500);

/// Waits until something is ready or the time is over, and has the origin work meanwhile.
pub fn wait(
    epoll: &Epoll,
    events: &mut [EpollEvent],
    origin: &mut MutexGuard<'_, Origin>,
    timeout: Duration,
) -> Result<usize> {
    let begun = Instant::now();
    let mut patient = begun;
    loop {
        let worked = origin.turn();
        let count = epoll.wait(events, EpollTimeout::ZERO)?;
        if count > 0 || begun.elapsed() > timeout {
            return Ok(count);
        }
        if worked {
            patient = Instant::now();
        } else if patient.elapsed() > PATIENCE {
            let ours = PollFd::new(epoll.0.as_fd(), PollFlags::POLLIN);
            let theirs = PollFd::new(origin.ready(), PollFlags::POLLIN);
            poll(&mut [ours, theirs], PollTimeout::from(1_000_u16))?;
        }
    }
}
