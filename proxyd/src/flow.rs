//! Reading and writing under a deadline. What can be done at once is done without waiting.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::Buffer;
use crate::timer::Timer;

/// Why bytes stopped flowing.
#[derive(Debug)]
pub(crate) enum Stop {
    TimedOut,
    /// Why does not matter: the connection is of no use any more.
    Failed,
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

/// Waits until there is something to read, or the end.
pub(crate) async fn readable<R: Readable>(from: &R, timer: &mut Timer) -> Result<(), Stop> {
    poll_fn(|cx| match from.poll_readable(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
        Poll::Ready(Err(_)) => Poll::Ready(Err(Stop::Failed)),
        Poll::Pending => timer.poll(cx).map(|()| Err(Stop::TimedOut)),
    })
    .await
}

/// A side of a connection that can be waited for without a buffer.
pub(crate) trait Readable {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Reads what is there already; `false` if nothing is. What is readable by the runtime's word need not
/// be: a connection counts as readable from its beginning until somebody has looked.
pub(crate) async fn fill_now<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut Buffer) -> bool {
    poll_fn(|cx| {
        let mut space = ReadBuf::new(buffer.space());
        let read = Pin::new(&mut *from).poll_read(cx, &mut space);
        let count = space.filled().len();
        buffer.filled(count);
        // An end is seen again by whoever reads next.
        Poll::Ready(read.is_ready())
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

/// Writes all parts, in one call where the socket takes it.
pub(crate) async fn send_parts<W: AsyncWrite + Unpin>(
    to: &mut W,
    mut parts: &mut [IoSlice<'_>],
    timer: &mut Timer,
) -> Result<(), Stop> {
    // Leaves out empty parts at the front, so that nothing left means all written.
    IoSlice::advance_slices(&mut parts, 0);
    poll_fn(|cx| {
        while !parts.is_empty() {
            match Pin::new(&mut *to).poll_write_vectored(cx, parts) {
                Poll::Ready(written) => IoSlice::advance_slices(&mut parts, count(&written)?),
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
