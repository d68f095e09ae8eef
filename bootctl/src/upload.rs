//! What a command sends to the supervisor while it reads it: a thread writes, the request's body carries on.
//! If the thread fails, the body breaks off, and the other end takes nothing of it.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Pieces on their way.
const QUEUE: usize = 8;
/// Small writes become pieces of this size.
const PIECE: usize = 64 << 10;

/// The body.
pub(crate) struct Upload {
    pieces: Receiver<io::Result<Bytes>>,
    sent: Arc<AtomicU64>,
}

/// Where the thread writes.
struct Sink {
    pieces: Sender<io::Result<Bytes>>,
    collected: Vec<u8>,
}

impl Upload {
    /// Has `write` run in a thread; answers also how many bytes have gone out.
    pub(crate) fn of<E: std::error::Error>(
        write: impl FnOnce(&mut dyn Write) -> Result<(), E> + Send + 'static,
    ) -> (Self, Arc<AtomicU64>) {
        let (to, pieces) = mpsc::channel(QUEUE);
        std::thread::spawn(move || {
            let mut sink = Sink { pieces: to, collected: Vec::new() };
            let written = write(&mut sink).map_err(|error| io::Error::other(error.to_string()));
            let last = written.and_then(|()| sink.flush());
            if let Err(error) = last {
                // The request tells it; without one there is nobody to tell.
                drop(sink.pieces.blocking_send(Err(error)));
            }
        });
        let sent = Arc::new(AtomicU64::new(0));
        (Self { pieces, sent: Arc::clone(&sent) }, sent)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.collected.extend_from_slice(bytes);
        if self.collected.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.collected).into();
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it any more");
        self.pieces.blocking_send(Ok(piece)).map_err(gone)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        if let Some(Ok(bytes)) = &piece {
            self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}
