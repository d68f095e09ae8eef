//! The signals that come to init itself, as events.
//!
//! All are blocked and read from a descriptor, but for those of faults, which have a handler that
//! tells a fault of init's own from a signal that somebody has sent: the latter comes here, too.
//! Nothing is ignored, so children have nothing to reset but the mask; and a blocked SIGTTOU does no
//! harm.
//! A SIGPIPE that init has caused itself, by answering a client that has hung up, is no news.

use std::collections::VecDeque;
use std::io;
use std::mem::offset_of;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getpid, read};
use tokio::io::unix::AsyncFd;

use crate::signal::Signal;
use crate::sys;

/// Blocks all, and takes back whatever was ignored when init was started. The first thing that
/// init does.
pub fn block() -> Result<(), Errno> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    sys::stop_ignoring_signals();
    Ok(())
}

/// The size of the kernel's `signalfd_siginfo`.
const ONE: usize = size_of::<libc::signalfd_siginfo>();
/// Signals read at once.
const MANY: usize = 16;

/// The signals that have come.
#[derive(Debug)]
pub struct Signals {
    source: AsyncFd<SignalFd>,
    /// Who init is.
    own: u32,
    /// Read, and not handled yet.
    read: VecDeque<i32>,
}

impl Signals {
    /// Begins to read what [`block`] holds back. To be called within the runtime.
    pub fn open() -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let source = SignalFd::with_flags(&SigSet::all(), flags)?;
        let (source, own) = (sys::watch(source)?, std::process::id());
        Ok(Self { source, own, read: VecDeque::with_capacity(MANY) })
    }

    /// Whether none has been read that is not handled yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// Gives those back to the kernel: they come again, to this process or to what it becomes.
    pub fn give_back(&mut self) {
        for signal in self.read.drain(..).filter_map(Signal::from_number) {
            // init may always signal itself; all are blocked, and wait.
            let _ = sys::kill(getpid().as_raw(), signal);
        }
    }

    /// Those that have been read and are not handled yet, or have come as faults that were none.
    pub fn unhandled(&self) -> impl Iterator<Item = i32> {
        self.read.iter().copied().chain(sys::crash::sent())
    }

    /// The next signal's number.
    pub async fn next(&mut self) -> io::Result<i32> {
        loop {
            self.read.extend(sys::crash::sent());
            if let Some(number) = self.read.pop_front() {
                return Ok(number);
            }
            let mut ready = self.source.readable().await?;
            let mut buffer = [0; MANY * ONE];
            let length = match read(ready.get_inner(), &mut buffer) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => 0,
                Err(errno) => return Err(errno.into()),
            };
            if length < buffer.len() {
                // There were no more.
                ready.clear_ready();
            }
            let signals = buffer.get(..length).unwrap_or_default().chunks_exact(ONE);
            let own = self.own;
            self.read.extend(signals.filter_map(|signal| number(signal, own)));
        }
    }
}

/// The number of a `signalfd_siginfo`, unless it is of init's own making: it has written to who has hung
/// up, or more than it may.
fn number(signal: &[u8], own: u32) -> Option<i32> {
    let field = |at| signal.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let (number, pid) = (
        field(offset_of!(libc::signalfd_siginfo, ssi_signo))?,
        field(offset_of!(libc::signalfd_siginfo, ssi_pid))?,
    );
    let number = number.cast_signed();
    let is_own = pid == own && matches!(number, libc::SIGPIPE | libc::SIGXFSZ);
    (!is_own).then_some(number)
}
