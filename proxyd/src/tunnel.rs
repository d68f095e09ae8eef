//! After 101: bytes both ways, until both sides are done, or nothing moves any more, or the stream has
//! to end.
//!
//! ```text
//!   moving ──one side is done──▶ half closed ──the other, too──▶ over
//!      │ └──both have closed (WebSocket), and one is done──▶ over
//!      ├──broken, or nothing moves──▶ over
//!      └──has to end──▶ closing (`WebSocket`: 1001 to both, between two frames) ──both agree, or the
//!                       time is over──▶ over
//! ```
//!
//! Large transfers go through a pipe, not being copied. While nothing moves it holds no buffer, nor anything else of the request that it was.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::access_log::KeptLine;
use crate::buffer::{Buffer, Spare};
use crate::exchange::Next;
use crate::frames::{self, Frames};
use crate::limits;
use crate::meter::Meter;
use crate::pipe::Pipe;
use crate::socket::Socket;
use crate::stream::Stream;
use crate::timer::Timer;
use crate::upstream::Upstream;
use crate::worker::Claim;

/// A connection that has switched to another protocol, but for the client's side of it.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) upstream: Upstream,
    /// Dropped before the claim.
    pub(crate) stream: Stream,
    pub(crate) claim: Claim,
    pub(crate) is_websocket: bool,
    /// What came behind the request, and behind the 101.
    pub(crate) ahead: [Vec<u8>; 2],
    /// Without a byte in either direction for so long it is closed.
    pub(crate) idle: Duration,
    pub(crate) line: KeptLine,
    pub(crate) meter: Option<Arc<Meter>>,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// What has come and has not gone yet.
    buffer: Option<Buffer>,
    /// The sender is done.
    ended: bool,
    /// The receiver has been told so.
    told: bool,
    moved: u64,
    /// What comes is much at a time, and nobody has to look at it.
    is_bulk: bool,
    pipe: Option<Pipe>,
    /// Of a WebSocket.
    frames: Option<Frames>,
    /// Our last word, once it has to end; what comes after it is thrown away.
    closing: Closing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    No,
    /// At the end of the present frame.
    Due,
    Said,
}

impl Tunnel {
    /// Moves bytes to the end; logs it, and returns what is left to do for the client's side.
    pub(crate) async fn run(self, client: &Socket, timer: &mut Timer) -> Next {
        let spare = &self.claim.worker.spare;
        let [there, back] = self.ahead;
        let way = |bytes: Vec<u8>| Way {
            moved: 0,
            buffer: (!bytes.is_empty()).then(|| Buffer::holding(&bytes)),
            frames: self.is_websocket.then(|| {
                let mut frames = Frames::default();
                frames.pass(&bytes);
                frames
            }),
            ..Way::default()
        };
        let (mut there, mut back) = (way(there), way(back));
        let mask = self.claim.worker.random().to_le_bytes();
        let [mask @ .., _, _, _, _] = mask;
        let mut over = pin!(self.stream.over());
        let mut closing = false;
        timer.set_after(self.idle);
        poll_fn(|cx| {
            if !closing && over.as_mut().poll(cx).is_ready() {
                if !self.is_websocket {
                    return Poll::Ready(());
                }
                closing = true;
                timer.set_after(limits::CLOSE_TIME);
                there.close();
                back.close();
            }
            let before = there.moved + back.moved;
            let (up, down) = ((client, &self.upstream.socket), (&self.upstream.socket, client));
            let up = there.poll(cx, up, spare, || frames::going_away_masked(mask));
            let down = back.poll(cx, down, spare, frames::going_away);
            match (up, down) {
                (Poll::Ready(Err(_)), _)
                | (_, Poll::Ready(Err(_)))
                | (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
                (Poll::Pending, _) | (_, Poll::Pending) => {}
            }
            // Once both have closed a WebSocket and one is gone, the other has nothing left to say.
            let agreed = there.is_closed() && back.is_closed();
            if agreed && (closing || there.ended || back.ended) {
                return Poll::Ready(());
            }
            if !closing && there.moved + back.moved != before {
                timer.set_after(self.idle);
            }
            timer.poll(cx)
        })
        .await;
        there.release(spare);
        back.release(spare);
        let now = Instant::now();
        let line = self.line.ended(&self.claim.target.label, back.moved, now);
        self.claim.worker.log.write(&line);
        self.claim.worker.count(self.meter.as_ref(), &line);
        // The last word is on its way still.
        if closing || back.frames.is_some_and(|frames| frames.has_closed()) {
            Next::Linger
        } else {
            Next::Close
        }
    }
}

impl Way {
    /// From now on it ends with our word, unless it has ended with its sender's already.
    fn close(&mut self) {
        if !self.ended && !self.frames.is_some_and(|frames| frames.has_closed()) {
            self.closing = Closing::Due;
        }
    }

    /// Whether the sender has said that nothing more comes, and we to the receiver.
    fn is_closed(&self) -> bool {
        let sender = self.ended || self.frames.is_some_and(|frames| frames.has_closed());
        sender && self.closing != Closing::Due && self.buffer.is_none()
    }

    /// Moves what can be moved. Ready when the sender is done and the receiver knows, or it broke.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (mut from, mut to): (&Socket, &Socket),
        spare: &Spare,
        last_word: impl Fn() -> Vec<u8>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(pipe) = &mut self.pipe {
                while !pipe.is_empty() {
                    let sent = ready!(to.poll_empty(cx, pipe))?;
                    self.moved += sent as u64;
                }
            }
            if let Some(buffer) = &mut self.buffer {
                while !buffer.is_empty() {
                    let sent = ready!(Pin::new(&mut to).poll_write(cx, buffer.data()))?;
                    if sent == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    self.moved += sent as u64;
                    buffer.consume(sent);
                }
            }
            let between = self.frames.is_some_and(|frames| frames.is_between());
            if self.closing == Closing::Due && between {
                self.closing = Closing::Said;
                self.release(spare);
                self.buffer = Some(Buffer::holding(&last_word()));
                continue;
            }
            if self.ended {
                self.release(spare);
                if !self.told {
                    ready!(Pin::new(&mut to).poll_shutdown(cx))?;
                    self.told = true;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_fill(cx, &mut from, spare))?;
            self.is_bulk &= from.has_pages() && to.splices();
        }
    }

    /// Reads once; with nothing to read it gives its buffer or pipe back.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut &Socket,
        spare: &Spare,
    ) -> Poll<io::Result<()>> {
        if self.is_bulk {
            if self.pipe.is_none() {
                ready!(from.poll_readable(cx))?;
                self.release(spare);
                self.pipe = spare.pipes.take();
            }
            if let Some(pipe) = &mut self.pipe {
                let Poll::Ready(filled) = from.poll_fill(cx, pipe, u64::MAX) else {
                    self.release(spare);
                    return Poll::Pending;
                };
                let count = filled?;
                self.ended = count == 0;
                self.is_bulk = count >= limits::BULK_END;
                return Poll::Ready(Ok(()));
            }
        }
        if let Some(pipe) = self.pipe.take() {
            spare.pipes.put(pipe);
        }
        if self.buffer.is_none() {
            ready!(from.poll_readable(cx))?;
        }
        let buffer = self.buffer.get_or_insert_with(|| spare.large());
        let mut free = ReadBuf::new(buffer.space());
        match Pin::new(from).poll_read(cx, &mut free) {
            Poll::Pending => {
                self.release(spare);
                return Poll::Pending;
            }
            Poll::Ready(read) => read?,
        }
        let count = free.filled().len();
        buffer.filled(count);
        self.ended = count == 0;
        self.is_bulk = self.frames.is_none() && count >= limits::BULK;
        if let Some(frames) = &mut self.frames {
            match self.closing {
                Closing::No => frames.pass(buffer.data()),
                Closing::Due => {
                    let rest = frames.pass_one(buffer.data());
                    buffer.keep(rest);
                }
                Closing::Said => {
                    frames.pass(buffer.data());
                    buffer.keep(0);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn release(&mut self, spare: &Spare) {
        if let Some(buffer) = self.buffer.take() {
            spare.put_large(buffer);
        }
        if let Some(pipe) = self.pipe.take() {
            spare.pipes.put(pipe);
        }
    }
}
