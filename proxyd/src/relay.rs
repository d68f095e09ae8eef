//! The way back: an answer from the target to the client, without holding more of it than a
//! buffer.
//!
//! An answer that ends early is never made to look complete: the client's connection is cut. Only a call of gRPC is told so
//! in its own words.

mod encoded;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;

use crate::bounds::Bounds;
use crate::buffer::Buffer;
use crate::compression::{self, Coding};
use crate::flow::{self, Stop, Wait};
use crate::h1::body::{Body, Framing, Step};
use crate::h1::malformed::Malformed;
use crate::h1::request::Progress;
use crate::h1::response::{Flow, ResponseHead};
use crate::h1::syntax;
use crate::h1::trailer::Passing;
use crate::headers;
use crate::limits;
use crate::origin::{Added, drop_field};
use crate::pace::Pace;
use crate::passage::{Crossing, Passage};
use crate::presence::Presence;
use crate::rules::Rules;
use crate::socket::Socket;
use crate::stream::{LongAnswer, Stream};
use crate::timer::Timer;
use crate::worker::Claim;

/// What the client asked for, as far as its answer depends on it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "five independent facts about a request")]
pub(crate) struct Ask<'a> {
    pub(crate) is_head: bool,
    pub(crate) is_11: bool,
    /// The protocols that the client would switch to.
    pub(crate) upgrade: Option<&'a [u8]>,
    /// It takes fields behind a body.
    pub(crate) trailers: bool,
    /// It waits for a word of the target before it sends the body.
    pub(crate) expects: bool,
    /// The client's connection takes another request afterwards, as far as it is known so far.
    pub(crate) keep_alive: bool,
    /// What it likes best of how a body could be compressed, where the route has that done.
    pub(crate) coding: Option<Coding>,
}

/// How an answer ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relayed {
    Whole(Reuse),
    /// 101 went to the client: the connection is a tunnel now.
    Switched,
}

/// Which connections may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reuse {
    pub(crate) target: bool,
    pub(crate) client: bool,
}

/// How it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The target closed or reset before the first byte.
    Unanswered,
    /// It closed within the head.
    HeadCut,
    Malformed(Malformed),
    TooSlow,
    /// The head went out already: only a cut tells the client.
    BodyCut,
    /// It was a stream, and had to end.
    Over,
    ClientGone,
    /// An answer that is not to be passed on. Nothing of it was.
    Declined,
    /// The route has a page to show instead of an answer with this status.
    Replaced(u16),
}

/// Decides by an answer's status, and whether nothing was sent to the client before, that it is not
/// to be passed on.
pub(crate) type Judge<'a> = Option<&'a dyn Fn(u16, bool) -> bool>;

/// What there is to tell about it in the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// Of the final answer; 0 while there is none.
    pub(crate) status: Cell<u16>,
    pub(crate) bytes: Cell<u64>,
    /// The request's body is still coming, or does not come to its end.
    pub(crate) early: Cell<bool>,
}

impl Sent {
    /// Whether the client has seen the head of the final answer, or part of it.
    pub(crate) fn begun(&self) -> bool {
        self.status.get() != 0
    }
}

/// One answer on its way.
pub(crate) struct Relay<'a> {
    pub(crate) upstream: &'a Socket,
    pub(crate) client: &'a Socket,
    /// The way from one to the other that needs no copy, if there is one.
    pub(crate) passage: Option<Passage<'a>>,
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) head: &'a mut ResponseHead,
    pub(crate) reply: &'a mut Vec<u8>,
    pub(crate) timer: &'a mut Timer,
    pub(crate) sent: &'a Sent,
    pub(crate) ask: Ask<'a>,
    pub(crate) added: Added<'a>,
    pub(crate) bounds: &'a Bounds,
    pub(crate) claim: &'a Claim,
    /// Set when 101 is for that.
    pub(crate) is_websocket: &'a mut bool,
    pub(crate) judge: Judge<'a>,
    /// What the route says of answers.
    pub(crate) rules: Option<&'a Rules>,
    /// What the client is to remember, as lines.
    pub(crate) cookies: &'a [u8],
}

/// An answer that has begun: its head is written, and waits in `reply` for what of the body goes with it.
pub(crate) struct Opened {
    body: Body,
    chunked: bool,
    trailers: Option<Passing>,
    flow: Flow,
    pace: Pace,
    /// How much the client has taken of the head and the first piece of the body, where both are in `reply`.
    went: Option<usize>,
    reuse_client: bool,
}

impl Relay<'_> {
    /// Begins with what has come, without waiting for anything: with its head, and with as much of the
    /// body as is one write with it. `None`: it cannot begin so.
    pub(crate) fn open_now(&mut self) -> Result<Option<Opened>, Broken> {
        match self.head.advance(self.buffer.data(), self.ask.is_head) {
            Ok(Progress::Complete) if self.head.status >= 200 => {}
            Ok(_) => return Ok(None),
            Err(malformed) => return Err(Broken::Malformed(malformed)),
        }
        if self.rules.is_some_and(|rules| rules.replaces(self.head.status)) {
            return Ok(None);
        }
        let mut opened = self.open(b"");
        if self.buffer.len() <= limits::COALESCE {
            opened.went = Some(self.put(&mut opened)?);
        }
        Ok(Some(opened))
    }

    /// `None`: the answer has not gone out as a whole with its beginning.
    pub(crate) fn whole(&self, opened: &Opened) -> Option<Reuse> {
        let is_whole = opened.body.is_done() && opened.went == Some(self.reply.len());
        is_whole.then(|| self.reuse(opened.reuse_client))
    }

    /// Relays interim answers, the final one's head and its body. `until`: when the head must be
    /// there.
    pub(crate) async fn run(&mut self, until: Instant) -> Result<Relayed, Broken> {
        let mut untouched = true;
        for _ in 0..=limits::INTERIM {
            self.timer.set(until);
            self.read_head().await?;
            let status = self.head.status;
            if let 100 | 102..=199 = status {
                untouched = false;
                Box::pin(self.interim()).await?;
                continue;
            }
            if self.judge.is_some_and(|declines| declines(status, untouched)) {
                return Err(Broken::Declined);
            }
            if self.rules.is_some_and(|rules| rules.replaces(status)) {
                return Err(Broken::Replaced(status));
            }
            // What few answers need is on the heap: it is not for each to carry it.
            return match status {
                101 => Box::pin(self.switch()).await,
                _ => self.finish().await,
            };
        }
        Err(Broken::Malformed(Malformed::TooManyInterim))
    }

    async fn read_head(&mut self) -> Result<(), Broken> {
        loop {
            if !self.buffer.is_empty() {
                match self.head.advance(self.buffer.data(), self.ask.is_head) {
                    Ok(Progress::Complete) => return Ok(()),
                    Ok(Progress::Partial) => {}
                    Err(malformed) => return Err(Broken::Malformed(malformed)),
                }
            }
            let began = !self.buffer.is_empty();
            match flow::fill(&mut self.upstream, self.buffer, self.timer).await {
                Ok(0) | Err(Stop::Failed) if began => return Err(Broken::HeadCut),
                Ok(0) | Err(Stop::Failed) => return Err(Broken::Unanswered),
                Err(Stop::TimedOut) => return Err(Broken::TooSlow),
                Ok(_) => {}
            }
        }
    }

    async fn interim(&mut self) -> Result<(), Broken> {
        if self.ask.is_11 {
            self.write_head(Framing::None, false, &[]);
            self.send_reply().await?;
        }
        self.reply.clear();
        self.ask.expects &= self.head.status != 100;
        self.buffer.consume(self.head.len);
        self.head.clear();
        Ok(())
    }

    async fn switch(&mut self) -> Result<Relayed, Broken> {
        let answer = self.head.upgrade.map_or(&b""[..], |answer| answer.of(self.buffer.data()));
        if !self.ask.upgrade.is_some_and(|offer| is_offered(offer, answer)) {
            return Err(Broken::Malformed(Malformed::Switched));
        }
        *self.is_websocket = answer.eq_ignore_ascii_case(b"websocket");
        self.sent.status.set(101);
        self.drop_replaced();
        self.write_head(Framing::None, false, &[self.added.lines, self.cookies]);
        self.send_reply().await?;
        self.buffer.consume(self.head.len);
        Ok(Relayed::Switched)
    }

    async fn finish(&mut self) -> Result<Relayed, Broken> {
        let mut form = Vec::new();
        let types = self.rules.and_then(Rules::compressed);
        if types.is_some() && self.head.status == 304 {
            form = self.same_form();
        } else if let Some(types) = types
            && compression::concerns(types, self.buffer.data(), self.head, self.ask.is_head)
        {
            if let Some(coding) = self.ask.coding
                && let Some(encoder) = self.claim.worker.spare.encoders.take(coding)
            {
                return Box::pin(self.finish_encoded(coding, encoder)).await;
            }
            form.extend_from_slice(self.vary());
        }
        let opened = self.open(&form);
        self.go_on(opened).await
    }

    /// Decides how the answer is told, and writes its head. `form`: what of it is about the form of the body.
    fn open(&mut self, form: &[u8]) -> Opened {
        let framing = self.head.framing;
        let length_unknown = matches!(framing, Framing::Chunked | Framing::UntilClose);
        let reframed = match (length_unknown, self.ask.is_11) {
            (false, _) => framing,
            (true, true) => Framing::Chunked,
            (true, false) => Framing::UntilClose,
        };
        let (reuse_client, connection) = self.afterwards(reframed);
        self.ask.keep_alive = reuse_client;
        let chunked = reframed == Framing::Chunked;
        let trailers = (chunked && self.ask.trailers)
            .then(|| Passing::new(&self.head.connection, self.buffer.data()))
            .map(|passing| passing.without(self.added.replaced));
        let flow = if length_unknown { self.head.flow(self.buffer.data()) } else { Flow::Plain };
        self.drop_replaced();
        let own = [connection, self.added.lines, self.cookies, form];
        self.write_head(reframed, trailers.is_some(), &own);
        self.buffer.consume(self.head.len);
        let (body, pace) = (Body::new(framing), Pace::new(self.bounds));
        Opened { body, chunked, trailers, flow, pace, went: None, reuse_client }
    }

    /// Relays the rest of an answer.
    pub(crate) async fn go_on(&mut self, mut opened: Opened) -> Result<Relayed, Broken> {
        match opened.went.take() {
            Some(went) => self.send_rest(went, &mut opened.pace).await?,
            None => self.send_body(&mut opened).await?,
        }
        let flow = opened.flow;
        if flow != Flow::Plain && !opened.body.is_done() {
            let stream = Stream::of(self.claim);
            let ended = Box::pin(self.stream_events(&stream, &mut opened)).await;
            if let (Err(Broken::Over | Broken::BodyCut), Flow::Call, Some(_)) =
                (ended, flow, &opened.trailers)
            {
                self.end_call().await;
            }
            ended?;
        } else if !opened.body.is_done() {
            Box::pin(self.stream_body(&mut opened)).await?;
        }
        Ok(Relayed::Whole(self.reuse(opened.reuse_client)))
    }

    /// What may be used again once an answer is over.
    fn reuse(&self, client: bool) -> Reuse {
        Reuse { target: self.may_ask_again() && self.buffer.is_empty(), client }
    }

    /// Whether the client's connection may be used again behind a body that is framed so, and how it is told.
    fn afterwards(&self, framing: Framing) -> (bool, &'static [u8]) {
        // Early, nobody knows whether the body will be taken to its end. Told so, the client sends
        // no further request behind it.
        let reuse_client = self.ask.keep_alive
            && framing != Framing::UntilClose
            && !self.sent.early.get()
            && !self.claim.worker.draining.get();
        let connection: &[u8] = match (reuse_client, self.ask.is_11) {
            (false, _) => b"Connection: close\r\n",
            (true, true) => b"",
            (true, false) => b"Connection: keep-alive\r\n",
        };
        (reuse_client, connection)
    }

    /// What caches are told of an answer that could have another form.
    fn vary(&self) -> &'static [u8] {
        if compression::varies(self.buffer.data(), &self.head.fields) {
            b""
        } else {
            compression::VARY
        }
    }

    /// Whether the target would take another request. One that answered instead of giving the
    /// word may take the body for the next request: it is not asked again.
    fn may_ask_again(&self) -> bool {
        self.head.keeps_alive() && !self.ask.expects
    }

    async fn stream_body(&mut self, opened: &mut Opened) -> Result<(), Broken> {
        let mut answer = LongAnswer::of(self.claim);
        let mut presence = Presence::unless_broken(self.client, Instant::now());
        if let Some(crossing) = self.passage.and_then(|passage| passage.begin(&opened.body)) {
            return self.pass_body(opened, crossing, &mut answer, &mut presence).await;
        }
        while !opened.body.is_done() {
            if answer.is_over() {
                return Err(Broken::BodyCut);
            }
            let time = self.bounds.answer_gap;
            let wait = Wait { timer: self.timer, time, pace: &mut Pace::any() };
            let spare = &self.claim.worker.spare;
            let take = flow::take(&mut self.upstream, self.buffer, spare, wait);
            note_end(presence.unless_gone(take).await?, &mut opened.body)?;
            self.send_body(opened).await?;
        }
        Ok(())
    }

    /// The same without copying it.
    async fn pass_body(
        &mut self,
        opened: &mut Opened,
        mut crossing: Crossing<'_>,
        answer: &mut LongAnswer<'_>,
        presence: &mut Presence<'_>,
    ) -> Result<(), Broken> {
        let Opened { body, pace, .. } = opened;
        self.claim.worker.spare.lend(self.buffer);
        while !body.is_done() {
            if answer.is_over() {
                return Err(Broken::BodyCut);
            }
            let time = self.bounds.answer_gap;
            let wait = Wait { timer: self.timer, time, pace: &mut Pace::any() };
            let taken = presence.unless_gone(crossing.take(body.left(), wait)).await?;
            note_end(taken, body)?;
            let count = taken.unwrap_or_default();
            let wait = Wait { timer: self.timer, time: self.bounds.write, pace };
            let given = crossing.give(wait).await;
            self.sent.bytes.set(self.sent.bytes.get() + count as u64);
            body.passed(count);
            given.map_err(|_| Broken::ClientGone)?;
        }
        Ok(())
    }

    /// The same for a body that has no end of its own, and may be silent for as long as a tunnel.
    async fn stream_events(&mut self, stream: &Stream, opened: &mut Opened) -> Result<(), Broken> {
        let mut over = pin!(stream.over());
        let mut presence = Presence::of(self.client, self.bounds, Instant::now());
        while !opened.body.is_done() {
            let taken = {
                let (time, pace) = (self.bounds.tunnel, &mut Pace::any());
                let wait = Wait { timer: self.timer, time, pace };
                let spare = &self.claim.worker.spare;
                let take = flow::take(&mut self.upstream, self.buffer, spare, wait);
                let mut take = pin!(presence.unless_gone(take));
                poll_fn(|cx| match over.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(Broken::Over)),
                    Poll::Pending => take.as_mut().poll(cx),
                })
                .await
            };
            note_end(taken?, &mut opened.body)?;
            self.send_body(opened).await?;
        }
        Ok(())
    }

    /// Tells a caller that there will be no more, as its app would: so it knows that it may call again, which a cut does
    /// not say.
    async fn end_call(&mut self) {
        self.reply.extend_from_slice(b"0\r\ngrpc-status: 14\r\n");
        self.reply.extend_from_slice(b"grpc-message: whoever answered has gone\r\n\r\n");
        self.timer.set_after(self.bounds.write);
        // Whoever does not take it sees a cut.
        let _ = self.send_reply().await;
    }

    /// Sends what `reply` and the buffer hold: in one write, where that is little.
    async fn send_body(&mut self, opened: &mut Opened) -> Result<(), Broken> {
        if self.buffer.len() <= limits::COALESCE {
            let went = self.put(opened)?;
            return self.send_rest(went, &mut opened.pace).await;
        }
        let mut room = Vec::new();
        let (step, tail) = self.frame(opened, &mut room)?;
        let payload = self.buffer.data().get(step.start..step.end).unwrap_or_default();
        let mut parts = [IoSlice::new(self.reply), IoSlice::new(payload), IoSlice::new(tail)];
        let wait = Wait { timer: self.timer, time: self.bounds.write, pace: &mut opened.pace };
        let result = flow::give(&mut self.client, &mut parts, wait).await;
        self.sent.bytes.set(self.sent.bytes.get() + payload.len() as u64);
        self.reply.clear();
        self.buffer.consume(step.consumed);
        result.map_err(|_| Broken::ClientGone)
    }

    /// Takes what the buffer holds of the body, whose frame begins in `reply`: where it lies, and what goes behind it.
    fn frame<'r>(
        &mut self,
        opened: &mut Opened,
        room: &'r mut Vec<u8>,
    ) -> Result<(Step, &'r [u8]), Broken> {
        let Opened { body, chunked, trailers, .. } = opened;
        let step = match body.step(self.buffer.data_mut()) {
            Ok(step) => step,
            Err(malformed) if !self.sent.begun() => return Err(Broken::Malformed(malformed)),
            Err(_) => return Err(Broken::BodyCut),
        };
        let tail =
            headers::write_frame(*chunked, step.end - step.start, body.is_done(), self.reply);
        let tail = trailers.as_ref().map_or(tail, |trailers| trailers.end(body, tail, room));
        if !self.sent.begun() {
            self.sent.status.set(self.head.status);
        }
        if body.is_done() && !self.ask.keep_alive {
            self.client.end_follows();
        }
        Ok((step, tail))
    }

    /// Has all of it behind each other in `reply`. How much of that the client takes at once.
    fn put(&mut self, opened: &mut Opened) -> Result<usize, Broken> {
        let mut room = Vec::new();
        let (step, tail) = self.frame(opened, &mut room)?;
        let payload = self.buffer.data().get(step.start..step.end).unwrap_or_default();
        self.reply.extend_from_slice(payload);
        self.reply.extend_from_slice(tail);
        self.sent.bytes.set(self.sent.bytes.get() + payload.len() as u64);
        self.buffer.consume(step.consumed);
        let went = self.client.write_now(self.reply);
        opened.pace.moved(went);
        Ok(went)
    }

    /// Sends what the client has not taken of `reply`.
    async fn send_rest(&mut self, went: usize, pace: &mut Pace) -> Result<(), Broken> {
        let result = match self.reply.get(went..) {
            None | Some([]) => Ok(()),
            Some(rest) => {
                let wait = Wait { timer: self.timer, time: self.bounds.write, pace };
                flow::give(&mut self.client, &mut [IoSlice::new(rest)], wait).await
            }
        };
        self.reply.clear();
        result.map_err(|_| Broken::ClientGone)
    }

    /// What the proxy says itself is not said twice.
    fn drop_replaced(&mut self) {
        if let Some(name) = self.added.replaced {
            drop_field(name, self.buffer.data(), &mut self.head.fields);
        }
        if self.added.has_hsts {
            drop_field("Strict-Transport-Security", self.buffer.data(), &mut self.head.fields);
        }
    }

    fn write_head(&mut self, framing: Framing, trailers: bool, own: &[&[u8]]) {
        let bytes = self.buffer.data();
        let is_untimed = !self.head.is_dated && self.head.status >= 200;
        let date = is_untimed.then(|| self.claim.worker.dates.line());
        let date = date.as_ref().map_or(&b""[..], |date| date);
        headers::write_response(bytes, self.head, framing, trailers, (date, own), self.reply);
        if let Some(rules) = self.rules
            && !matches!(self.head.status, 100 | 102..=199)
        {
            rules.edit_response(self.added.is_secured, self.reply);
        }
    }

    async fn send_reply(&mut self) -> Result<(), Broken> {
        let sent = flow::send(&mut self.client, self.reply, self.timer, &mut 0).await;
        self.reply.clear();
        sent.map_err(|_| Broken::ClientGone)
    }
}

/// An end of the connection is the end of a body that has no other.
fn note_end(taken: Result<usize, Stop>, body: &mut Body) -> Result<(), Broken> {
    match taken {
        Ok(0) if matches!(body, Body::UntilClose) => *body = Body::Done,
        Ok(0) | Err(_) => return Err(Broken::BodyCut),
        Ok(_) => {}
    }
    Ok(())
}

/// Whether all that a target switches to is what the client offered.
fn is_offered(offer: &[u8], answer: &[u8]) -> bool {
    let offered =
        |protocol: &[u8]| syntax::list(offer).any(|offered| offered.eq_ignore_ascii_case(protocol));
    let mut protocols = syntax::list(answer).peekable();
    protocols.peek().is_some() && protocols.all(offered)
}
