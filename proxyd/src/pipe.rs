//! A pipe between two sockets: bytes move through it without being copied, which is worth it for large
//! transfers only.

use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

use crate::limits;

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    pub(crate) fn new() -> Result<Pipe> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let size = i32::try_from(limits::PIPE).unwrap_or(i32::MAX);
        // Where a user may not have more, it is as large as pipes are.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(size));
        Ok(Pipe { read, write, held: 0 })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what a socket has. Only while the pipe is empty does "would block" tell of the socket.
    pub(crate) fn fill(&mut self, from: &impl AsFd) -> Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let count = splice(from, None, &self.write, None, limits::PIPE, flags)?;
        self.held += count;
        Ok(count)
    }

    /// Gives it to another.
    pub(crate) fn empty(&mut self, to: &impl AsFd) -> Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let count = splice(&self.read, None, to, None, self.held, flags)?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}
