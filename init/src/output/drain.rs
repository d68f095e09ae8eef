//! Reading what jobs write, as it comes: a little at a time, so that jobs which never stop writing
//! leave time for everybody else.
//!
//! The pipes are in an epoll set of their own: a silent one costs no memory of init's, and those that
//! have something are taken in turn.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::error;

use super::{Outputs, StreamId};
use crate::limits::TROUBLE;
use crate::sys;

/// Streams that are read in a turn. Each gives what a pipe holds, 64 KiB, at most.
const A_TURN: usize = 4;

/// Tells which streams have something to read.
#[derive(Debug)]
pub(super) struct Readable(Epoll);

impl Readable {
    pub(super) fn new() -> Result<Self, Errno> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self)
    }

    /// Begins to look at an end of that stream's.
    pub(super) fn add(&self, end: &impl AsFd, id: StreamId) -> Result<(), Errno> {
        self.0.add(end, EpollEvent::new(EpollFlags::EPOLLIN, id.0))
    }

    /// Tells of that end from now on only when something happens to it: what nobody writes to at
    /// present would be told of without end.
    pub(super) fn tell_once(&self, end: &impl AsFd, id: StreamId) {
        let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        // One that was never added is only read when its job ends.
        let _ = self.0.modify(end, &mut EpollEvent::new(edges, id.0));
    }

    /// Tells of it as long as there is something, as at first.
    pub(super) fn tell_always(&self, end: &impl AsFd, id: StreamId) {
        let _ = self.0.modify(end, &mut EpollEvent::new(EpollFlags::EPOLLIN, id.0));
    }

    /// Looks at it no more.
    pub(super) fn remove(&self, end: &impl AsFd) {
        // One that was never added is as well removed.
        let _ = self.0.delete(end);
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

/// Reads for as long as init lives. A panic is a defect, but jobs must not come to a stop for it.
pub(super) async fn go_on(outputs: Outputs, readable: Arc<Readable>) {
    loop {
        let drained = match sys::watch(Arc::clone(&readable)) {
            Ok(watched) => tokio::spawn(drain(outputs.clone(), watched)).await.is_ok(),
            Err(error) => {
                error!("cannot watch what jobs write: {error}; trying again");
                false
            }
        };
        if drained {
            return;
        }
        sleep(TROUBLE).await;
    }
}

async fn drain(outputs: Outputs, readable: AsyncFd<Arc<Readable>>) {
    let mut events = [EpollEvent::empty(); A_TURN];
    while let Ok(mut ready) = readable.readable().await {
        let epoll = &readable.get_ref().0;
        let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or_default();
        if count == 0 {
            ready.clear_ready();
            continue;
        }
        outputs.drain_some(events.iter().take(count).map(|event| StreamId(event.data())));
        yield_now().await;
    }
}
