//! What a stream is told, read from the bytes of HTTP/1: an answer, or what a target is asked.
//!
//! No byte of a body is taken before the other side has granted room for it: whoever writes waits instead, and
//! is who judges it for being slow. What has been taken is on its way.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, SendStream};

use super::{answer, ask};
use crate::h1::body::{Body, Framing};
use crate::h1::request::{Progress, RequestHead};
use crate::h1::response::ResponseHead;

/// What an answer is to, as far as it is read otherwise for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A HEAD: there is no body.
    Head,
    WebSocket,
    Other,
}

/// What the head is that comes first.
#[derive(Debug)]
enum Head {
    Answer {
        respond: SendResponse<Bytes>,
        head: ResponseHead,
        asked: Asked,
    },
    Ask {
        send: SendRequest<Bytes>,
        head: RequestHead,
        /// What it will be answered, and whether that is to a HEAD.
        asked: Option<(ResponseFuture, bool)>,
    },
}

/// One direction of a stream: from us.
#[derive(Debug)]
pub(super) struct Outbound {
    head: Box<Head>,
    /// Once the head has gone.
    stream: Option<SendStream<Bytes>>,
    /// Of a head that came in pieces.
    held: Vec<u8>,
    body: Body,
    /// The other side has been told that there is no more.
    ended: bool,
}

impl Outbound {
    pub(super) fn answer(respond: SendResponse<Bytes>, asked: Asked) -> Outbound {
        Outbound::new(Head::Answer { respond, head: ResponseHead::ours(), asked })
    }

    pub(super) fn ask(send: SendRequest<Bytes>) -> Outbound {
        Outbound::new(Head::Ask { send, head: RequestHead::ours(), asked: None })
    }

    fn new(head: Head) -> Outbound {
        Outbound {
            head: Box::new(head),
            stream: None,
            held: Vec::new(),
            body: Body::Done,
            ended: false,
        }
    }

    /// What will come for what was asked: told once.
    pub(super) fn asked(&mut self) -> Option<(ResponseFuture, bool)> {
        match &mut *self.head {
            Head::Ask { asked, .. } => asked.take(),
            Head::Answer { .. } => None,
        }
    }

    /// Whether the answer has come to its end, and the client knows.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes what can be taken; waits if that is nothing.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let mut taken = 0;
        // The last piece of data waits for what is behind it: it may be the end.
        let mut last = None;
        'parts: for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let count = match self.poll_take(cx, rest, &mut last) {
                    Poll::Ready(count) => count?,
                    Poll::Pending if taken > 0 => break 'parts,
                    Poll::Pending => return Poll::Pending,
                };
                taken += count;
                rest = rest.get(count..).unwrap_or_default();
            }
        }
        self.send(last)?;
        Poll::Ready(Ok(taken))
    }

    /// Says that nothing more comes, where that is not told otherwise.
    pub(super) fn finish(&mut self) -> Result<()> {
        if matches!(self.body, Body::UntilClose) {
            self.body = Body::Done;
            self.send(None)?;
        }
        Ok(())
    }

    /// Breaks it off.
    pub(super) fn reset(&mut self, reason: Reason) {
        match (&mut self.stream, &mut *self.head) {
            (Some(stream), _) => stream.send_reset(reason),
            (None, Head::Answer { respond, .. }) => respond.send_reset(reason),
            (None, Head::Ask { .. }) => {}
        }
        self.ended = true;
    }

    /// Ready when the other side has taken the stream back, or has gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match (&mut self.stream, &mut *self.head) {
            (Some(stream), _) => stream.poll_reset(cx),
            (None, Head::Answer { respond, .. }) => respond.poll_reset(cx),
            (None, Head::Ask { .. }) => return Poll::Pending,
        };
        match ready!(reset) {
            Err(error) if !error.is_io() && error.reason().is_none() => Poll::Pending,
            Ok(_) | Err(_) => Poll::Ready(()),
        }
    }

    /// Takes some of `bytes`, which are not empty.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        last: &mut Option<Bytes>,
    ) -> Poll<Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(self.take_head(bytes)) };
        if self.ended || self.body.is_done() {
            return Poll::Ready(Err(ErrorKind::InvalidData.into()));
        }
        let left = self.body.payload_left();
        if left == 0 {
            // Framing, of which there is little: it takes no room with the client.
            let mut byte = [0];
            byte.copy_from_slice(bytes.get(..1).unwrap_or(&[0]));
            let step = self.body.step(&mut byte).map_err(|_| invalid());
            return Poll::Ready(step.map(|_| 1));
        }
        if let Some(before) = last.take() {
            stream.send_data(before, false).map_err(broken)?;
        }
        let most = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        stream.reserve_capacity(most);
        let mut room = stream.capacity();
        while room == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(granted) => room = granted.map_err(broken)?,
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            }
        }
        let mut piece = bytes.get(..room.min(most)).unwrap_or_default().to_vec();
        let step = self.body.step(&mut piece).map_err(|_| invalid())?;
        *last = Some(Bytes::from(piece));
        Poll::Ready(Ok(step.consumed))
    }

    /// Tells a head once it is complete; returns how much of `bytes` is of it.
    fn take_head(&mut self, bytes: &[u8]) -> Result<usize> {
        let before = self.held.len();
        let mut held = std::mem::take(&mut self.held);
        let whole = if before == 0 {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let (progress, len) = match &mut *self.head {
            Head::Answer { head, asked, .. } => {
                (head.advance(whole, *asked == Asked::Head), head.len)
            }
            Head::Ask { head, .. } => (head.advance(whole), head.len),
        };
        match progress.map_err(|_| invalid())? {
            Progress::Partial if before == 0 => self.held = bytes.to_vec(),
            Progress::Partial => self.held = held,
            Progress::Complete => {
                self.tell(whole)?;
                return Ok(len.saturating_sub(before));
            }
        }
        Ok(bytes.len())
    }

    fn tell(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut *self.head {
            Head::Answer { respond, head, asked } => {
                let answer =
                    answer::of(bytes, head, *asked == Asked::WebSocket).map_err(|_| invalid())?;
                if matches!(head.status, 100 | 102..=199) {
                    head.clear();
                    return respond.send_informational(answer).map_err(broken);
                }
                let switched = head.status == 101;
                self.body = Body::new(if switched { Framing::UntilClose } else { head.framing });
                self.ended = self.body.is_done();
                self.stream = Some(respond.send_response(answer, self.ended).map_err(broken)?);
            }
            Head::Ask { send, head, asked } => {
                let ask = ask::of(bytes, head).map_err(|_| invalid())?;
                let to_head = ask.method() == http::Method::HEAD;
                self.body = Body::new(head.framing);
                self.ended = self.body.is_done();
                let (answer, stream) = send.send_request(ask, self.ended).map_err(broken)?;
                *asked = Some((answer, to_head));
                self.stream = Some(stream);
            }
        }
        Ok(())
    }

    /// Sends what waited, and the end where it has come.
    fn send(&mut self, last: Option<Bytes>) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let done = self.body.is_done() && !self.ended;
        let trailers = self.body.trailers();
        let has_trailers = done && !trailers.is_empty();
        match last {
            Some(data) => stream.send_data(data, done && !has_trailers).map_err(broken)?,
            None if done && !has_trailers => {
                stream.send_data(Bytes::new(), true).map_err(broken)?;
            }
            None => {}
        }
        if has_trailers {
            let fields = answer::trailers(trailers).map_err(|_| invalid())?;
            stream.send_trailers(fields).map_err(broken)?;
        }
        self.ended |= done;
        Ok(())
    }
}

fn invalid() -> Error {
    ErrorKind::InvalidData.into()
}

fn broken(_: h2::Error) -> Error {
    ErrorKind::BrokenPipe.into()
}
