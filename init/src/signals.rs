//! The signals that come to init itself, as events.
//!
//! All are blocked and read from a descriptor. No handler runs in init, so none can run in
//! a child that still shares its memory; nothing is ignored, so children have nothing to reset but the mask; and
//! a blocked SIGTTOU does no harm. Those of faults are held back too, so that one that is sent
//! reaches `boot`; a fault of init's own code ends it all the same, the kernel sees to that. A SIGPIPE that init has caused itself, by answering a client
//! that has hung up, is no news.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Blocks all, and takes back whatever was ignored when init was started. The first thing that
/// init does.
pub fn block() -> Result<(), Errno> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    sys::stop_ignoring_signals();
    Ok(())
}

/// The signals that have come.
#[derive(Debug)]
pub struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// Begins to read what [`block`] holds back. To be called within the runtime.
    pub fn open() -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&SigSet::all(), flags)?;
        Ok(Self(sys::watch(signals)?))
    }

    /// The next signal's number.
    pub async fn next(&self) -> io::Result<i32> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.get_inner().read_signal() {
                Ok(Some(signal)) => {
                    let number = signal.ssi_signo.cast_signed();
                    if number != libc::SIGPIPE || signal.ssi_pid != std::process::id() {
                        return Ok(number);
                    }
                }
                Ok(None) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
