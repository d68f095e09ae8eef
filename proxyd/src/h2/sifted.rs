//! A connection whose other side sends frames of data that hold nothing, of which none gets to the frames.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sieve::Sieve;

/// How often is read at once what turns out to be nothing.
const READS: usize = 32;
/// With less room to read into there is one of our own.
const ROOM: usize = 64;

#[derive(Debug)]
pub(super) struct Sifted<I> {
    io: I,
    sieve: Sieve,
    /// What has passed, and there was no room for.
    rest: Bytes,
}

impl<I: AsyncRead + Unpin> Sifted<I> {
    /// `preface`: how much comes before the first frame.
    pub(super) fn new(io: I, preface: usize) -> Sifted<I> {
        Sifted { io, sieve: Sieve::behind(preface), rest: Bytes::new() }
    }

    /// Reads what passes; nothing is the end. There is room for more than a frame's head.
    fn poll_fill(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = to.filled().len();
        for _ in 0..READS {
            to.put_slice(self.sieve.held());
            let held = to.filled().len();
            let read = Pin::new(&mut self.io).poll_read(cx, to);
            if !matches!(read, Poll::Ready(Ok(()))) || to.filled().len() == held {
                to.set_filled(before);
                return read;
            }
            let passed = self.sieve.pass(to.filled_mut().get_mut(before..).unwrap_or_default());
            to.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        // Others have their turn before more of nothing.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Sifted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.rest.is_empty() && to.remaining() >= ROOM {
            return self.poll_fill(cx, to);
        }
        if self.rest.is_empty() {
            let mut room = [0; ROOM];
            let mut own = ReadBuf::new(&mut room);
            ready!(self.poll_fill(cx, &mut own))?;
            self.rest = Bytes::copy_from_slice(own.filled());
        }
        let count = self.rest.len().min(to.remaining());
        to.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Sifted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
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
