//! The terminal that init shares with `boot`, and stepping aside for the shell that started init.
//!
//! `boot` is the terminal's foreground while it lives, so keys reach it and not init. Only where its
//! output goes elsewhere, as to a pager that reads the keys, it is not before it reads itself. When
//! init ends or is to be suspended, the terminal goes back to the process group that init is in, as
//! that had it before. init itself never reads it, and blocks what the kernel sends to those who
//! touch it from behind.

use std::io::{self, IsTerminal};

use nix::errno::Errno;
use nix::sys::signal::{self as os, SigSet};
use nix::unistd::{Pid as OsPid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::id::Pid;
use crate::signal::Signal;
use crate::{process, sys};

/// The terminal on standard input.
#[derive(Debug)]
pub struct Terminal {
    /// Whether its foreground is init's to choose.
    held: bool,
}

impl Terminal {
    /// The terminal on standard input, if it is the one of init's session: another's has no
    /// foreground that init could choose.
    #[must_use]
    pub fn find() -> Option<Self> {
        tcgetpgrp(io::stdin()).ok().map(|_| Self { held: is_ours() })
    }

    /// The same, as it was held before init has become another.
    #[must_use]
    pub fn again(held: bool) -> Option<Self> {
        Self::find().map(|terminal| Self { held: held || terminal.held })
    }

    /// Whether its foreground is init's to choose.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// `boot` is the foreground, if the shell has chosen init for that. Answers whether it is.
    fn lend(&mut self, boot: Option<Pid>) -> bool {
        self.held = is_ours();
        let to = boot.filter(|_| self.held).map(|boot| OsPid::from_raw(boot.as_raw()));
        to.is_some_and(|group| tcsetpgrp(io::stdin(), group).is_ok())
    }

    /// The foreground is init's own process group again.
    fn take_back(&self) {
        if self.held && tcgetpgrp(io::stdin()) != Ok(getpgrp()) {
            // A terminal that is gone needs no foreground.
            let _ = tcsetpgrp(io::stdin(), getpgrp());
        }
    }
}

/// Whether `boot` is to start, or to go on, as the foreground. A command in the background of a
/// shell leaves the shell its terminal, and one that writes to a pipe leaves the keys to whoever
/// reads that.
#[must_use]
pub fn is_boots() -> bool {
    is_ours() && io::stdout().is_terminal()
}

/// Whether the foreground is init's own process group, or a group that has died.
fn is_ours() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| {
        group == getpgrp() || (group.as_raw() > 0 && os::killpg(group, None) == Err(Errno::ESRCH))
    })
}

/// Whether init is suspended, and with which terminal.
#[derive(Debug)]
pub struct Pause {
    terminal: Option<Terminal>,
    /// Whether init may stop itself: not as PID 1.
    allowed: bool,
    /// init has stopped itself and SIGCONT has not been handled yet.
    pausing: bool,
}

impl Pause {
    /// Whether the foreground of the terminal is init's to choose, if there is one.
    #[must_use]
    pub fn is_held(&self) -> Option<bool> {
        self.terminal.as_ref().map(Terminal::is_held)
    }

    /// Not suspended.
    #[must_use]
    pub fn new(terminal: Option<Terminal>, allowed: bool) -> Self {
        Self { terminal, allowed, pausing: false }
    }

    /// `boot` was stopped, most often by the terminal: it may have missed a foreground that it can
    /// have. Otherwise whoever init is in one process group with would have been stopped too, if
    /// `boot` had no group of its own: so they are.
    pub fn boot_stopped(&mut self, boot: Pid, by: i32) {
        let Some(terminal) = self.terminal.as_mut().filter(|_| !self.pausing) else { return };
        if matches!(by, libc::SIGTTIN | libc::SIGTTOU) && terminal.lend(Some(boot)) {
            return process::signal_group(boot, Signal::CONT);
        }
        if !self.allowed {
            return;
        }
        terminal.take_back();
        if stop_own_group() {
            self.pausing = true;
            return;
        }
        // Without a shell to wake anybody the kernel ignores such a stop, and so do we.
        terminal.lend(Some(boot));
        if by == libc::SIGTSTP {
            process::signal_group(boot, Signal::CONT);
        }
    }

    /// init itself was asked to stop: `boot` first. In a session of its own it would be right to
    /// ignore what comes from a terminal, so there it is stopped by what it cannot ignore.
    pub fn ask(&mut self, boot: Option<Pid>, by: Signal) {
        let by = if self.terminal.is_some() { by } else { Signal::STOP };
        if let Some(boot) = boot {
            process::signal_group(boot, by);
        }
        self.take_back();
        self.pausing = true;
        let _ = os::raise(os::Signal::SIGSTOP);
    }

    /// SIGCONT has come. Answers whether it was a pause of init's own that is over now.
    pub fn resume(&mut self, boot: Option<Pid>) -> bool {
        if let Some(terminal) = &mut self.terminal {
            terminal.lend(boot.filter(|_| is_boots()));
        }
        let was_pausing = std::mem::take(&mut self.pausing);
        if let Some(boot) = boot.filter(|_| was_pausing) {
            process::signal_group(boot, Signal::CONT);
        }
        was_pausing
    }

    /// `boot` is gone, for now or for good: the keys are init's and its shell's.
    pub fn take_back(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
    }
}

/// Stops init's process group as the terminal's key does. Answers, when all goes on, whether it was
/// stopped: SIGCONT waits to be read then.
fn stop_own_group() -> bool {
    let stop = SigSet::from_iter([os::Signal::SIGTSTP]);
    let _ = stop.thread_unblock();
    let _ = os::killpg(getpgrp(), os::Signal::SIGTSTP);
    let _ = stop.thread_block();
    sys::is_pending(Signal::CONT)
}
