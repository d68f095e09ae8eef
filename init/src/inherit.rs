//! Descriptors that init has from itself: those that were open when it has exec'ed itself.

use std::collections::BTreeSet;
use std::os::fd::{OwnedFd, RawFd};

use crate::sys;

/// Those that nobody has claimed yet. What is left when this is dropped is closed.
#[derive(Debug)]
pub struct Inherited(BTreeSet<RawFd>);

/// A descriptor that should be there and is not.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("descriptor {0} is not there")]
pub struct Lost(pub RawFd);

impl Inherited {
    /// These descriptors.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = RawFd>) -> Self {
        Self(all.into_iter().collect())
    }

    /// Takes one, which nobody else can take then.
    pub fn claim(&mut self, fd: RawFd) -> Result<OwnedFd, Lost> {
        if fd > 2 && self.0.remove(&fd) {
            sys::claim(fd).map_err(|_| Lost(fd))
        } else {
            Err(Lost(fd))
        }
    }
}

impl Drop for Inherited {
    fn drop(&mut self) {
        for fd in std::mem::take(&mut self.0) {
            // One that is not open needs no closing.
            drop(sys::claim(fd));
        }
    }
}
