//! Whether a client is still there while there is nothing to read from it, or to tell it.
//!
//! A client that has ended its side counts as gone, unless the front says otherwise: that it only has
//! nothing more to say looks the same. A reset is the end in any case. No system call asks for it: the end comes with the events that are waited for anyway.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::bounds::Bounds;
use crate::clock::Alarm;
use crate::limits;
use crate::reactor::Want;
use crate::relay::Broken;
use crate::socket::Socket;

/// A look-out for one client's end.
pub(crate) struct Presence<'a> {
    stream: &'a Socket,
    end_is: Want,
    /// Until when one is taken to be there whom nobody has waited for yet.
    late: Option<Alarm>,
}

impl<'a> Presence<'a> {
    pub(crate) fn of(stream: &'a Socket, bounds: &Bounds, since: Instant) -> Presence<'a> {
        let end_is = if bounds.half_closed { Want::Broken } else { Want::End };
        Presence { end_is, ..Presence::unless_broken(stream, since) }
    }

    /// One that has ended its side is there all the same: it is being answered, and that has an end.
    pub(crate) fn unless_broken(stream: &'a Socket, since: Instant) -> Presence<'a> {
        let late = stream.is_unwatched().then(|| Alarm::new(since + limits::UNWATCHED_TIME));
        Presence { stream, end_is: Want::Broken, late }
    }

    /// What comes of `waiting`, unless the client goes before.
    pub(crate) async fn unless_gone<T>(
        &mut self,
        waiting: impl Future<Output = T>,
    ) -> Result<T, Broken> {
        let mut waiting = pin!(waiting);
        poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => self.poll_gone(cx).map(|()| Err(Broken::ClientGone)),
        })
        .await
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
        self.stream.poll_end(self.end_is, cx)
    }
}
