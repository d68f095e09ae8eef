//! Descriptors: where init's own lie, and what a child's standard streams are opened from.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use init_wire::Stdio;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::sys;

/// Descriptors that are handed to children lie above all the places they can be handed to
/// (0 to 2 and 64 sockets), so that putting one in place never overwrites another.
const ABOVE_TARGETS: RawFd = 128;

/// The same descriptor above all targets, close-on-exec.
pub fn raised(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() >= ABOVE_TARGETS {
        return Ok(fd);
    }
    sys::duplicate_above(&fd, ABOVE_TARGETS)
}

/// A standard stream to be.
#[derive(Debug)]
pub enum Stream {
    /// init's own stays in place.
    Inherited(RawFd),
    /// Opened for the child.
    Opened(OwnedFd),
}

impl Stream {
    /// Opens what `stdio` names for the standard stream `target`. Never blocks: a pipe without
    /// a peer is refused with `ENXIO`.
    pub fn open(stdio: &Stdio, target: RawFd) -> Result<Self, Errno> {
        let path = match stdio {
            Stdio::Inherit => return Ok(Self::Inherited(target)),
            Stdio::Null => "/dev/null",
            Stdio::File(path) => path,
        };
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut options = OpenOptions::new();
        options.custom_flags(flags.bits());
        if target == 0 {
            options.read(true);
        } else {
            options.append(true).create(true).mode(0o644);
        }
        let file = options
            .open(path)
            .map_err(|error| error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::from_bits_retain(status_flags(&file)?)))?;
        raised(file.into()).map(Self::Opened)
    }

    /// What to duplicate into place.
    #[must_use]
    pub fn as_raw(&self) -> RawFd {
        match self {
            Self::Inherited(fd) => *fd,
            Self::Opened(fd) => fd.as_raw_fd(),
        }
    }
}

fn status_flags(file: &File) -> Result<i32, Errno> {
    Ok(fcntl(file, FcntlArg::F_GETFL)? & !OFlag::O_NONBLOCK.bits())
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
