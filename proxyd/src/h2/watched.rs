//! A connection's bytes on their way to the frames and back, watched: what they cost, and whether
//! the client takes what it is told.

use std::cell::{Cell, RefCell};
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::census::Census;
use super::patience::Patience;
use crate::buffer::Desk;
use crate::pace::Pace;

/// What is known of a client by its bytes.
#[derive(Debug)]
pub(super) struct Vitals {
    census: RefCell<Census>,
    patience: RefCell<Patience>,
    pace: RefCell<Pace>,
    flooded: Cell<bool>,
    slow: Cell<bool>,
    /// Since when there is something to tell that it does not take.
    stalled: Cell<Option<Instant>>,
}

impl Vitals {
    pub(super) fn new(pace: Pace, now: Instant) -> Rc<Vitals> {
        Rc::new(Vitals {
            census: RefCell::new(Census::new()),
            patience: RefCell::new(Patience::new(now)),
            pace: RefCell::new(pace),
            flooded: Cell::new(false),
            slow: Cell::new(false),
            stalled: Cell::new(None),
        })
    }

    /// It has sent too much of what brings nothing.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// It takes what it is told, but too slowly.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.get()
    }

    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled.get()
    }

    /// It has begun something that has to end soon.
    pub(super) fn is_held_up(&self) -> bool {
        self.census.borrow().is_held_up()
    }

    fn read(&self, bytes: &[u8]) {
        let cost = self.census.borrow_mut().pass(bytes);
        if cost > 0 && !self.patience.borrow_mut().spend(cost, Instant::now) {
            self.flooded.set(true);
        }
    }

    fn wrote(&self, written: &Poll<Result<usize>>) {
        match written {
            Poll::Ready(Ok(count)) => {
                self.patience.borrow_mut().took(*count);
                let mut pace = self.pace.borrow_mut();
                pace.moved(*count);
                if let Some(since) = self.stalled.take()
                    && !pace.waited(since.elapsed())
                {
                    self.slow.set(true);
                }
            }
            Poll::Pending if self.stalled.get().is_none() => {
                self.stalled.set(Some(Instant::now()));
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
    }
}

/// A connection, and what came of it before it was known to speak HTTP/2.
#[derive(Debug)]
pub(super) struct Watched<I> {
    io: I,
    ahead: Option<Box<Desk>>,
    vitals: Rc<Vitals>,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I, ahead: Option<Box<Desk>>, vitals: Rc<Vitals>) -> Watched<I> {
        Watched { io, ahead, vitals }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        if this.vitals.is_flooded() {
            // Nobody reads on: whoever has the connection sees it before he waits.
            return Poll::Pending;
        }
        let before = to.filled().len();
        if let Some(desk) = &mut this.ahead {
            let data = desk.incoming.data();
            let count = data.len().min(to.remaining());
            to.put_slice(data.get(..count).unwrap_or_default());
            desk.incoming.consume(count);
            if desk.incoming.is_empty() {
                this.ahead = None;
            }
        } else {
            std::task::ready!(Pin::new(&mut this.io).poll_read(cx, to))?;
        }
        this.vitals.read(to.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.vitals.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.vitals.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
