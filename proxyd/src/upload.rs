//! The way there: a request's body from the client to the target, as it comes.

use std::io::IoSlice;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::bounds::Bounds;
use crate::buffer::{Buffer, Spare};
use crate::flow::{self, Stop, Wait};
use crate::h1::body::Body;
use crate::h1::malformed::Malformed;
use crate::h1::trailer::Passing;
use crate::headers;
use crate::pace::Pace;
use crate::passage::{Crossing, Passage};
use crate::timer::Timer;

/// Why a body did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The client closed or reset within it.
    ClientGone,
    ClientSlow,
    /// It is larger than the bounds say, of which chunks tell nothing beforehand.
    TooLarge,
    Malformed(Malformed),
    /// The target takes no more of it. It may have answered all the same.
    Upstream,
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Body,
    chunked: bool,
    /// The target's side has taken all of it.
    through: bool,
    trailers: Passing,
    buffer: Buffer,
    timer: Timer,
    frame: Vec<u8>,
    /// Bytes that may still come.
    left: u64,
    /// Between two pieces, from the client.
    gap: Duration,
    /// Until the target takes a byte.
    write: Duration,
    pace: Pace,
}

impl Upload {
    /// What is left of a body, `sent` bytes of which came with its head.
    pub(crate) fn new(
        body: Body,
        sent: usize,
        trailers: Passing,
        buffer: Buffer,
        timer: Timer,
        bounds: &Bounds,
    ) -> Upload {
        let chunked = matches!(body, Body::Chunks(_));
        Upload {
            body,
            chunked,
            through: false,
            trailers,
            buffer,
            timer,
            frame: Vec::new(),
            left: bounds.body_bytes.saturating_sub(sent as u64),
            gap: bounds.body_gap,
            write: bounds.write,
            pace: Pace::of_upload(bounds, chunked),
        }
    }

    /// Whether all of it has gone up. That its end has come does not suffice: before that is written, both
    /// connections have some of it, which would be the next request on them.
    pub(crate) fn is_through(&self) -> bool {
        self.through
    }

    /// What came behind the body once it is through, and otherwise something of it.
    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }

    pub(crate) async fn run<C, U>(
        &mut self,
        client: &mut C,
        upstream: &mut U,
        spare: &Spare,
        passage: Option<Passage<'_>>,
    ) -> Result<(), Lost>
    where
        C: AsyncRead + Unpin,
        U: AsyncWrite + Unpin,
    {
        let moved = self.go_up(client, upstream, spare, passage).await;
        self.through = moved.is_ok();
        moved
    }

    async fn go_up<C, U>(
        &mut self,
        client: &mut C,
        upstream: &mut U,
        spare: &Spare,
        passage: Option<Passage<'_>>,
    ) -> Result<(), Lost>
    where
        C: AsyncRead + Unpin,
        U: AsyncWrite + Unpin,
    {
        if let Some(crossing) = passage.and_then(|passage| passage.begin(&self.body)) {
            spare.lend(&mut self.buffer);
            return self.pass(crossing).await;
        }
        while !self.body.is_done() {
            let wait = Wait { timer: &mut self.timer, time: self.gap, pace: &mut self.pace };
            match flow::take(client, &mut self.buffer, spare, wait).await {
                Ok(0) | Err(Stop::Failed) => return Err(Lost::ClientGone),
                Err(Stop::TimedOut) => return Err(Lost::ClientSlow),
                Ok(_) => {}
            }
            let data = self.buffer.data_mut();
            let step = self.body.step(data).map_err(Lost::Malformed)?;
            let payload = data.get(step.start..step.end).unwrap_or_default();
            self.left = self.left.checked_sub(payload.len() as u64).ok_or(Lost::TooLarge)?;
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
            let wait = Wait { timer: &mut self.timer, time: self.write, pace: &mut Pace::any() };
            let sent = flow::give(upstream, &mut parts, wait).await;
            self.buffer.consume(step.consumed);
            sent.map_err(|_| Lost::Upstream)?;
        }
        Ok(())
    }

    /// The same without copying it. How large it is was known beforehand.
    async fn pass(&mut self, mut crossing: Crossing<'_>) -> Result<(), Lost> {
        while !self.body.is_done() {
            let wait = Wait { timer: &mut self.timer, time: self.gap, pace: &mut self.pace };
            let count = match crossing.take(self.body.left(), wait).await {
                Ok(0) | Err(Stop::Failed) => return Err(Lost::ClientGone),
                Err(Stop::TimedOut) => return Err(Lost::ClientSlow),
                Ok(count) => count,
            };
            let wait = Wait { timer: &mut self.timer, time: self.write, pace: &mut Pace::any() };
            crossing.give(wait).await.map_err(|_| Lost::Upstream)?;
            self.body.passed(count);
        }
        Ok(())
    }
}
