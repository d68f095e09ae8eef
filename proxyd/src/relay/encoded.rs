//! The way back of an answer that is compressed on it.
//!
//! ```text
//!   target ──▶ buffer ──▶ encoder ──▶ client: as much as has come out, or all that was held back
//!                                             once the target pauses
//! ```

use std::io::IoSlice;

use tokio::task::yield_now;
use tokio::time::Instant;

use super::{Broken, Relay, Relayed, note_end};
use crate::clock;
use crate::compression::{Coding, Encoder, weakened};
use crate::flow::{self, Wait};
use crate::h1::body::{Body, Framing};
use crate::h1::trailer::Passing;
use crate::headers;
use crate::limits;
use crate::origin::drop_field;
use crate::pace::Pace;
use crate::presence::Presence;
use crate::stream::LongAnswer;

/// How what comes out is told.
struct Told {
    chunked: bool,
    trailers: Option<Passing>,
    pace: Pace,
}

impl Relay<'_> {
    /// Relays the head and the body of an answer that is worth it. What a HEAD is told is what a GET would be.
    pub(super) async fn finish_encoded(
        &mut self,
        coding: Coding,
        mut encoder: Encoder,
    ) -> Result<Relayed, Broken> {
        let framing = self.head.framing;
        let reframed = match (self.ask.is_head, self.ask.is_11) {
            (true, _) => Framing::None,
            (false, true) => Framing::Chunked,
            (false, false) => Framing::UntilClose,
        };
        let (reuse_client, connection) = self.afterwards(reframed);
        let trailers =
            (framing == Framing::Chunked && reframed == Framing::Chunked && self.ask.trailers)
                .then(|| Passing::new(&self.head.connection, self.buffer.data()))
                .map(|passing| passing.without(self.added.replaced));
        let form = self.take_form(coding);
        self.drop_replaced();
        let own = [connection, self.added.lines, self.cookies, &form];
        self.write_head(reframed, trailers.is_some(), &own);
        self.buffer.consume(self.head.len);
        let mut body = Body::new(framing);
        let chunked = reframed == Framing::Chunked;
        let mut told = Told { chunked, trailers, pace: Pace::new(self.bounds) };
        if self.ask.is_head {
            self.send_encoded(&[], &body, &mut told).await?;
        } else {
            let mut answer = LongAnswer::of(self.claim);
            while !self.encode(&mut body, &mut encoder)? {
                if answer.is_over() {
                    return Err(Broken::BodyCut);
                }
                if encoder.out().len() >= limits::ENCODED {
                    self.send_out(&mut encoder, &body, &mut told).await?;
                    // Compressing takes longer than anything else here: others have their turn.
                    yield_now().await;
                }
                self.take_encoded(&mut body, &mut encoder, &mut told).await?;
            }
            let last = encoder.finish().map_err(|_| Broken::BodyCut)?;
            self.send_encoded(&last, &body, &mut told).await?;
        }
        Ok(Relayed::Whole(self.reuse(reuse_client)))
    }

    /// Takes out of the head what is not true of the new form. Returns what is.
    fn take_form(&mut self, coding: Coding) -> Vec<u8> {
        let mut form = [b"Content-Encoding: ", coding.name().as_bytes(), b"\r\n"].concat();
        form.extend_from_slice(self.vary());
        self.take_tag(&mut form);
        drop_field("Accept-Ranges", self.buffer.data(), &mut self.head.fields);
        self.head.length = None;
        form
    }

    /// What is true of the form that a client has already, which may be ours: a 304 says what a 200 would.
    pub(super) fn same_form(&mut self) -> Vec<u8> {
        let mut form = self.vary().to_vec();
        if self.ask.coding.is_some() {
            self.take_tag(&mut form);
        }
        form
    }

    /// The tag of the head, as that of another form.
    fn take_tag(&mut self, form: &mut Vec<u8>) {
        let head = self.buffer.data();
        let is_tag = |name: &[u8]| name.eq_ignore_ascii_case(b"etag");
        if let Some(tag) = self.head.fields.iter().find(|field| is_tag(field.name.of(head))) {
            form.extend_from_slice(&weakened(tag.value.of(head)));
        }
        drop_field("ETag", head, &mut self.head.fields);
    }

    /// Gives the encoder what the buffer holds of the body. Whether that was the end of it.
    fn encode(&mut self, body: &mut Body, encoder: &mut Encoder) -> Result<bool, Broken> {
        let step = match body.step(self.buffer.data_mut()) {
            Ok(step) => step,
            Err(malformed) if !self.sent.begun() => return Err(Broken::Malformed(malformed)),
            Err(_) => return Err(Broken::BodyCut),
        };
        let payload = self.buffer.data().get(step.start..step.end).unwrap_or_default();
        encoder.write(payload).map_err(|_| Broken::BodyCut)?;
        self.buffer.consume(step.consumed);
        Ok(body.is_done())
    }

    /// Waits for more. When that takes a while, the client first gets all that there is so far.
    async fn take_encoded(
        &mut self,
        body: &mut Body,
        encoder: &mut Encoder,
        told: &mut Told,
    ) -> Result<(), Broken> {
        let time = self.bounds.answer_gap;
        let spare = &self.claim.worker.spare;
        if encoder.holds_back() || !encoder.out().is_empty() || !self.reply.is_empty() {
            let wait = Wait { timer: self.timer, time, pace: &mut Pace::any() };
            let soon = flow::take(&mut self.upstream, self.buffer, spare, wait);
            if let Some(taken) = clock::within(limits::ENCODER_PAUSE, soon).await {
                return note_end(taken, body);
            }
            encoder.flush().map_err(|_| Broken::BodyCut)?;
            self.send_out(encoder, body, told).await?;
        }
        let mut presence = Presence::unless_broken(self.client, Instant::now());
        let wait = Wait { timer: self.timer, time, pace: &mut Pace::any() };
        let take = flow::take(&mut self.upstream, self.buffer, spare, wait);
        note_end(presence.unless_gone(take).await?, body)
    }

    async fn send_out(
        &mut self,
        encoder: &mut Encoder,
        body: &Body,
        told: &mut Told,
    ) -> Result<(), Broken> {
        let out = encoder.out();
        let sent = self.send_encoded(out, body, told).await;
        out.clear();
        sent
    }

    /// Sends what `reply` holds and a piece of the new body, which is the last one if the old one has ended.
    async fn send_encoded(
        &mut self,
        piece: &[u8],
        body: &Body,
        told: &mut Told,
    ) -> Result<(), Broken> {
        let is_last = body.is_done();
        let tail = headers::write_frame(told.chunked, piece.len(), is_last, self.reply);
        let mut room = Vec::new();
        let tail = match &told.trailers {
            Some(trailers) => trailers.end(body, tail, &mut room),
            None => tail,
        };
        if !self.sent.begun() {
            self.sent.status.set(self.head.status);
        }
        let wait = Wait { timer: self.timer, time: self.bounds.write, pace: &mut told.pace };
        let mut parts = [IoSlice::new(self.reply), IoSlice::new(piece), IoSlice::new(tail)];
        let given = flow::give(&mut self.client, &mut parts, wait).await;
        self.sent.bytes.set(self.sent.bytes.get() + piece.len() as u64);
        self.reply.clear();
        given.map_err(|_| Broken::ClientGone)
    }
}
