//! Whether a client is still there while there is nothing to read from it, or to tell it.
//!
//! A client that has ended its side counts as gone, unless the front says otherwise: that it only has
//! nothing more to say looks the same. A reset is the end in any case. No system call asks for it: the end comes with the events that are waited for anyway.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::time::Instant;

use crate::bounds::Bounds;
use crate::clock::Alarm;
use crate::limits;
use crate::socket::Socket;

/// A look-out for one client's end.
pub(crate) struct Presence<'a> {
    stream: &'a Socket,
    end_is: Interest,
    /// Until when one is taken to be there whom nobody has waited for yet.
    late: Option<Alarm>,
    /// From when on bytes of it wait to be read, so that being readable tells nothing.
    end: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
}

impl<'a> Presence<'a> {
    pub(crate) fn of(stream: &'a Socket, bounds: &Bounds, since: Instant) -> Presence<'a> {
        // Urgent data is not asked for: this is the end of the client's side, or of both.
        let end_is = if bounds.half_closed { Interest::ERROR } else { Interest::PRIORITY };
        let late = stream.is_unwatched().then(|| Alarm::new(since + limits::UNWATCHED_TIME));
        Presence { stream, end_is, late, end: None }
    }

    /// Ready when the client has gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Socket::Strand(strand) = self.stream {
            return strand.poll_gone(cx);
        }
        if let Some(late) = &mut self.late {
            ready!(late.poll(cx));
            self.late = None;
        }
        if self.end.is_none() {
            // What can be had without memory: nothing came, neither bytes nor the end.
            let _ = ready!(self.stream.poll_readable(cx));
        }
        let (stream, end_is) = (self.stream, self.end_is);
        let end = self.end.get_or_insert_with(|| Box::pin(stream.ready(end_is)));
        end.as_mut().poll(cx)
    }
}
