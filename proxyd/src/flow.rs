//! Reading and writing under a deadline. What can be done at once is done without waiting.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::buffer::{Buffer, Spare};
use crate::pace::Pace;
use crate::timer::Timer;

/// Why bytes stopped flowing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    TimedOut,
    /// Why does not matter: the connection is of no use any more.
    Failed,
}

/// How one side of a body is waited for: for anything at all, and for all of it. Nothing of it costs
/// a look at the clock as long as there is nothing to wait for.
pub(crate) struct Wait<'a> {
    pub(crate) timer: &'a mut Timer,
    pub(crate) time: Duration,
    pub(crate) pace: &'a mut Pace,
}

/// A wait that has begun.
pub(crate) struct Held {
    since: Instant,
    /// The pace has been judged up to here.
    judged: Instant,
}

impl Wait<'_> {
    /// Ready when there has been enough of waiting.
    pub(crate) fn poll(&mut self, held: &mut Option<Held>, cx: &mut Context<'_>) -> Poll<()> {
        let Wait { timer, time, pace } = self;
        let held = held.get_or_insert_with(|| {
            let now = Instant::now();
            timer.set(now + pace.left().min(*time));
            Held { since: now, judged: now }
        });
        loop {
            ready!(timer.poll(cx));
            let now = Instant::now();
            let is_fast = pace.waited(now.saturating_duration_since(held.judged));
            held.judged = now;
            let end = held.since + *time;
            if !is_fast || now >= end {
                return Poll::Ready(());
            }
            timer.set(end.min(now + pace.left().min(*time)));
        }
    }

    /// Counts in what has moved, perhaps after a wait.
    pub(crate) fn over(&mut self, held: Option<Held>, moved: usize) -> Result<(), Stop> {
        self.pace.moved(moved);
        match held {
            Some(held) if !self.pace.waited(held.judged.elapsed()) => Err(Stop::TimedOut),
            _ => Ok(()),
        }
    }
}

/// Reads a piece of a body into the free part of the buffer; 0 is the end. While there is nothing to
/// read, an empty buffer's memory is lent to others.
pub(crate) async fn take<R: AsyncRead + Unpin>(
    from: &mut R,
    buffer: &mut Buffer,
    spare: &Spare,
    mut wait: Wait<'_>,
) -> Result<usize, Stop> {
    let mut held = None;
    poll_fn(|cx| {
        spare.restore(buffer);
        let mut free = ReadBuf::new(buffer.space());
        match Pin::new(&mut *from).poll_read(cx, &mut free) {
            Poll::Ready(Ok(())) => {
                let count = free.filled().len();
                buffer.filled(count);
                Poll::Ready(wait.over(held.take(), count).map(|()| count))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Stop::Failed)),
            Poll::Pending => {
                spare.lend(buffer);
                wait.poll(&mut held, cx).map(|()| Err(Stop::TimedOut))
            }
        }
    })
    .await
}

/// Writes a piece of a body, in one call where the socket takes it.
pub(crate) async fn give<W: AsyncWrite + Unpin>(
    to: &mut W,
    mut parts: &mut [IoSlice<'_>],
    mut wait: Wait<'_>,
) -> Result<(), Stop> {
    // Leaves out empty parts at the front, so that nothing left means all written.
    IoSlice::advance_slices(&mut parts, 0);
    let mut held = None;
    poll_fn(|cx| {
        while let Some(first) = parts.first() {
            let to = Pin::new(&mut *to);
            let written = match parts.len() {
                1 => to.poll_write(cx, first),
                _ => to.poll_write_vectored(cx, parts),
            };
            match written {
                Poll::Ready(written) => {
                    let count = count(&written)?;
                    IoSlice::advance_slices(&mut parts, count);
                    wait.over(held.take(), count)?;
                }
                Poll::Pending => {
                    return wait.poll(&mut held, cx).map(|()| Err(Stop::TimedOut));
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Reads once into the free part of the buffer; 0 is the end.
pub(crate) async fn fill<R: AsyncRead + Unpin>(
    from: &mut R,
    buffer: &mut Buffer,
    timer: &mut Timer,
) -> Result<usize, Stop> {
    poll_fn(|cx| {
        let mut space = ReadBuf::new(buffer.space());
        match Pin::new(&mut *from).poll_read(cx, &mut space) {
            Poll::Ready(Ok(())) => {
                let count = space.filled().len();
                buffer.filled(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Stop::Failed)),
            Poll::Pending => timer.poll(cx).map(|()| Err(Stop::TimedOut)),
        }
    })
    .await
}

/// Writes it all; `sent` counts how much of it went out, also when it fails.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    to: &mut W,
    bytes: &[u8],
    timer: &mut Timer,
    sent: &mut usize,
) -> Result<(), Stop> {
    poll_fn(|cx| {
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(written) => *sent += count(&written)?,
                Poll::Pending => {
                    ready!(timer.poll(cx));
                    return Poll::Ready(Err(Stop::TimedOut));
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

fn count(written: &std::io::Result<usize>) -> Result<usize, Stop> {
    match written {
        Ok(0) | Err(_) => Err(Stop::Failed),
        Ok(count) => Ok(*count),
    }
}
