//! Descriptors: where init's own lie, and how many there may be.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use libc::linger;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::stat::fstat;

use crate::occupant::SocketNumber;
use crate::spec::Limit;
use crate::sys;

/// Descriptors that are handed to children lie above all the places they can be handed to
/// (0 to 2, 64 sockets and stored ones), so that putting one in place never overwrites another.
const ABOVE_TARGETS: RawFd = 3 + 64;

/// The same descriptor above all targets, close-on-exec.
pub fn raised(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() >= ABOVE_TARGETS {
        return Ok(fd);
    }
    above_targets(&fd)
}

fn above_targets(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    sys::duplicate_above(fd, ABOVE_TARGETS).map_err(|errno| match errno {
        // That is what the kernel says where the limit is below that place.
        Errno::EINVAL => Errno::EMFILE,
        errno => errno,
    })
}

/// Before a socket is closed that a job has had in its hands: that would wait until its last bytes
/// have been taken, for as long as the job has said.
pub fn do_not_linger(fd: &OwnedFd) {
    // What is no socket does not linger.
    let _ = setsockopt(fd, sockopt::Linger, &linger { l_onoff: 0, l_linger: 0 });
}

/// A descriptor that a job has made and given away. Closing it does not wait.
#[derive(Debug)]
pub struct Foreign(OwnedFd);

impl Foreign {
    /// Puts it above all targets.
    pub fn raise(&mut self) -> Result<(), Errno> {
        if self.0.as_raw_fd() < ABOVE_TARGETS {
            self.0 = above_targets(&self.0)?;
        }
        Ok(())
    }

    /// Its number.
    #[must_use]
    pub fn as_raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Its number in the kernel's tables, if it is a socket.
    #[must_use]
    pub fn socket(&self) -> Option<SocketNumber> {
        let stat = fstat(&self.0).ok()?;
        (stat.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(stat.st_ino)
    }

    /// Whether it is of the same open file.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        sys::are_same_file(&self.0, &other.0)
    }
}

impl From<OwnedFd> for Foreign {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        do_not_linger(&self.0);
    }
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
            // It stays a child's, too.
            let _ = sys::set_close_on_exec(file.into_raw_fd(), false);
        }
    }
    sys::keep_from_children(3);
}
