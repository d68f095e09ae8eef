//! What is said to whoever reads standard error.
//!
//! Nobody who serves waits for that reader. What he does not take is dropped, and that he has gone is
//! no reason to end: a thread that panics over it would leave its work undone.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What a pipe takes without waiting when it says that it takes something.
const PIECE: usize = 4096;

/// Says a line, as `eprintln` does.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(&format!($($text)*)) };
}
pub(crate) use say;

/// Says a line, or several.
pub(crate) fn line(text: &str) {
    // The lock comes first: two who have both seen room for one would not both have it.
    let mut out = io::stderr().lock();
    for piece in format!("{text}\n").as_bytes().chunks(PIECE) {
        if !takes(&out) || out.write_all(piece).is_err() {
            return;
        }
    }
}

fn takes(out: &impl AsFd) -> bool {
    let mut ask = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    let answered = poll(&mut ask, PollTimeout::ZERO).is_ok_and(|count| count > 0);
    answered
        && ask.iter().all(|told| told.revents().is_some_and(|r| r.contains(PollFlags::POLLOUT)))
}
