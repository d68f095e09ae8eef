//! A pipe between two sockets: bytes move through it without being copied, which is worth it for large
//! transfers only.

use std::cell::RefCell;
use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

use crate::crowd::{Crowd, Place};
use crate::limits;

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    _places: [Place; 2],
    _one: Rc<()>,
}

/// A worker's pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    /// Where descriptors are counted.
    crowd: Weak<Crowd>,
    /// Each pipe has one of it, so that their number is known.
    one: Rc<()>,
}

impl Pipes {
    pub(crate) fn new(crowd: &Arc<Crowd>) -> Pipes {
        Pipes { crowd: Arc::downgrade(crowd), ..Pipes::default() }
    }

    /// `None`: there can be none now.
    pub(crate) fn take(&self) -> Option<Pipe> {
        self.idle.borrow_mut().pop().or_else(|| self.another())
    }

    fn another(&self) -> Option<Pipe> {
        if Rc::strong_count(&self.one) > limits::PIPES {
            return None;
        }
        let places = self.crowd.upgrade()?.spare_places()?;
        Pipe::new(places, Rc::clone(&self.one)).ok()
    }

    /// Keeps an empty one for whoever needs one next.
    pub(crate) fn put(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if pipe.is_empty() && idle.len() < limits::SPARE_PIPES {
            idle.push(pipe);
        }
    }

    /// Closes those that are not in use; whether there were any.
    pub(crate) fn clear(&self) -> bool {
        !self.idle.take().is_empty()
    }
}

impl Pipe {
    fn new(places: [Place; 2], one: Rc<()>) -> Result<Pipe> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let size = i32::try_from(limits::PIPE).unwrap_or(i32::MAX);
        // Where a user may not have more, it is as large as pipes are.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(size));
        Ok(Pipe { read, write, held: 0, _places: places, _one: one })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what a socket has, at most so much. Only while the pipe is empty does "would block" tell of the socket.
    pub(crate) fn fill(&mut self, from: &impl AsFd, most: u64) -> Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let most = usize::try_from(most).map_or(limits::PIPE, |most| most.min(limits::PIPE));
        let count = splice(from, None, &self.write, None, most, flags)?;
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
