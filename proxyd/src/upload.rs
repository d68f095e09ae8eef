//! The way there: a request's body from the client to the target, as it comes.

use std::io::IoSlice;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffer::Buffer;
use crate::flow::{self, Stop};
use crate::h1::body::Body;
use crate::h1::malformed::Malformed;
use crate::h1::trailer::Passing;
use crate::headers;
use crate::limits;
use crate::timer::Timer;

/// Why a body did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The client closed or reset within it.
    ClientGone,
    ClientSlow,
    Malformed(Malformed),
    /// The target takes no more of it. It may have answered all the same.
    Upstream,
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Body,
    chunked: bool,
    trailers: Passing,
    buffer: Buffer,
    timer: Timer,
    frame: Vec<u8>,
}

impl Upload {
    pub(crate) fn new(body: Body, trailers: Passing, buffer: Buffer, timer: Timer) -> Upload {
        let chunked = matches!(body, Body::Chunks(_));
        Upload { body, chunked, trailers, buffer, timer, frame: Vec::new() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// What came behind the body.
    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }

    pub(crate) async fn run<C, U>(&mut self, client: &mut C, upstream: &mut U) -> Result<(), Lost>
    where
        C: AsyncRead + Unpin,
        U: AsyncWrite + Unpin,
    {
        while !self.body.is_done() {
            self.timer.set_after(limits::BODY_TIME);
            match flow::fill(client, &mut self.buffer, &mut self.timer).await {
                Ok(0) | Err(Stop::Failed) => return Err(Lost::ClientGone),
                Err(Stop::TimedOut) => return Err(Lost::ClientSlow),
                Ok(_) => {}
            }
            let data = self.buffer.data_mut();
            let step = self.body.step(data).map_err(Lost::Malformed)?;
            let payload = data.get(step.start..step.end).unwrap_or_default();
            self.frame.clear();
            let tail = headers::write_frame(
                self.chunked,
                payload.len(),
                self.body.is_done(),
                &mut self.frame,
            );
            let mut room = Vec::new();
            let tail = self.trailers.end(&self.body, tail, &mut room);
            let mut parts = [IoSlice::new(&self.frame), IoSlice::new(payload), IoSlice::new(tail)];
            let sent = flow::send_parts(upstream, &mut parts, &mut self.timer).await;
            self.buffer.consume(step.consumed);
            sent.map_err(|_| Lost::Upstream)?;
        }
        Ok(())
    }
}
