//! The body of a request that perhaps nobody wants to read to its end.
//!
//! Whoever is refused while he still sends would hear of a connection that broke, and not why: what is closed under a
//! writer is an error to him, whatever was answered before. So the rest is read all the same, and thrown away, while
//! the answer is on its way.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long the rest is read, and how much of it: enough to hear an answer from the other end of the world.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST: usize = 64 << 20;

/// A body; the rest of it is read once it is dropped.
#[derive(Debug)]
pub(crate) struct Unread<B = hyper::body::Incoming>(Option<B>)
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send;

impl<B> Unread<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    pub(crate) fn new(body: B) -> Self {
        Self(Some(body))
    }
}

impl<B> Body for Unread<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Unread<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    fn drop(&mut self) {
        if let Some(body) = self.0.take()
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(PATIENCE, discard(body)));
        }
    }
}

async fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = 0;
    while read < MOST
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, Buf::remaining);
    }
}
