//! Descriptors: where init's own lie, and how many there may be.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::spec::Limit;
use crate::sys;

/// Descriptors that are handed to children lie above all the places they can be handed to
/// (0 to 2 and 64 sockets), so that putting one in place never overwrites another.
const ABOVE_TARGETS: RawFd = 3 + 64;

/// The same descriptor above all targets, close-on-exec.
pub fn raised(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() >= ABOVE_TARGETS {
        return Ok(fd);
    }
    sys::duplicate_above(&fd, ABOVE_TARGETS)
}

/// Lets init have as many descriptors as it may. Answers what its children are to have instead,
/// which is what init was started with: some programs try to close all they could have.
#[must_use]
pub fn raise_limit() -> Option<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft >= hard {
        return None;
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some(Limit { resource: libc::RLIMIT_NOFILE, soft, hard })
}

/// Connections of all kinds (704), the control groups that stay open (256), and what starting a job
/// and reading of processes takes for a moment: descriptors that are not lent to jobs for long, so
/// that init can always answer and reap.
const RESERVE: u64 = 1000;

/// How many descriptors init may keep for jobs: sockets, and ends of pipes.
#[must_use]
pub fn keepable() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from(soft.saturating_sub(RESERVE.min(soft / 2))).unwrap_or(usize::MAX)
}

/// Whether init has descriptors to spare for what is only faster with them.
#[must_use]
pub fn are_plenty() -> bool {
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, _)| soft >= 2 * RESERVE)
}

/// Makes sure that 0, 1 and 2 are open, so that no file that init opens lands there, and that
/// nothing else it was started with reaches a child.
pub fn tidy_inherited() {
    for target in 0..=2 {
        if sys::is_open(target) {
            continue;
        }
        // The lowest free number is `target`. Without /dev, a directory fills the place: reading
        // and writing it fail, as they do on a closed stream.
        let filler = OpenOptions::new().read(true).write(true).open("/dev/null");
        if let Ok(file) = filler.or_else(|_| File::open("/")) {
            let _ = file.into_raw_fd();
        }
    }
    sys::keep_from_children(3);
}
