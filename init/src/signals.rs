//! The signals that come to init itself.

use std::ffi::c_int;
use std::io;

use libc::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGPWR, SIGQUIT, SIGTERM, SIGTTIN,
    SIGTTOU, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use signal_hook_tokio::Signals;

/// Caught: SIGCHLD for the reaper, the others for `boot`.
const CAUGHT: [c_int; 16] = [
    SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGURG, SIGIO,
    SIGPROF, SIGVTALRM, SIGXCPU, SIGXFSZ, SIGPWR,
];

/// Ignored: writing to a terminal in the background must not stop init, and a client that hangs
/// up must not end it.
const IGNORED: [c_int; 3] = [SIGPIPE, SIGTTIN, SIGTTOU];

/// Catches and ignores what is to be, and unblocks whatever was blocked when init was started.
pub fn catch() -> io::Result<Signals> {
    let signals = Signals::new(CAUGHT)?;
    crate::sys::ignore(SIGTTIN);
    crate::sys::ignore(SIGTTOU);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(signals)
}

/// What a child must have reset.
#[must_use]
pub fn to_reset() -> Vec<c_int> {
    CAUGHT.iter().chain(&IGNORED).copied().collect()
}
