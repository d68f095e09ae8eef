//! One attempt to have a request answered over one connection to a target.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::bounds::Bounds;
use crate::buffer::{Spare, Tray};
use crate::flow::{self, Stop};
use crate::origin::Added;
use crate::passage::Passage;
use crate::presence::Presence;
use crate::refusal::Refusal;
use crate::relay::{Ask, Broken, Judge, Opened, Relay, Relayed, Sent};
use crate::rules::Rules;
use crate::socket::Socket;
use crate::timer::Timer;
use crate::upload::{Lost, Upload};
use crate::worker::Claim;

/// While a body is going up, the answer is not late yet.
const NOT_YET: Duration = Duration::from_hours(24);

/// What came of it.
#[derive(Debug)]
pub(crate) enum Attempted {
    Relayed(Relayed),
    /// The connection took no byte of the request: it may be sent over another.
    Unsent,
    /// It took the request and was closed without a byte of an answer.
    Unanswered,
    /// It was answered, but that is not to be passed on.
    Declined,
    Refused(Refusal),
    /// A stream of events that had to end.
    Ended,
    /// The answer broke off.
    Cut,
    /// The client has gone, or is not to go on.
    Gone,
}

/// How far an attempt has come.
pub(crate) enum Stage {
    /// The connection has taken so many bytes of the request.
    Sending(usize),
    /// It has taken all of them, and this has come of it first.
    Heard(Result<Box<Tray>, Broken>),
    /// The answer has begun to go out.
    Answering(Box<Tray>, Box<Opened>),
}

/// One attempt: where from, where to, and what its answer goes back with. It stays where it is, and so does what it
/// consists of: a request that waits is as few cache lines as can be.
pub(crate) struct Attempt<'a> {
    pub(crate) stream: &'a Socket,
    pub(crate) upstream: &'a Socket,
    pub(crate) outgoing: &'a [u8],
    pub(crate) back: Back<'a>,
    pub(crate) started: Instant,
}

impl Attempt<'_> {
    /// A request that is in `outgoing` as a whole.
    pub(crate) async fn run(&mut self) -> Attempted {
        let Attempt { stream, upstream, outgoing, ref mut back, started } = *self;
        let (sent, bounds) = (back.sent, back.bounds);
        let until = started + bounds.answer;
        if let Stage::Sending(mut gone) = back.stage {
            gone += upstream.write_now(outgoing.get(gone..).unwrap_or_default());
            if gone < outgoing.len() {
                let mut writer = upstream;
                back.timer.set(until);
                match flow::send(&mut writer, outgoing, back.timer, &mut gone).await {
                    Err(Stop::TimedOut) => return Attempted::Refused(Refusal::SlowAnswer),
                    Err(Stop::Failed) if gone == 0 => return Attempted::Unsent,
                    // Half a request may have been enough for an answer.
                    Err(Stop::Failed) | Ok(()) => {}
                }
            }
        }
        let mut relay = pin!(back.run(upstream, stream, until));
        let mut presence = Presence::of(stream, bounds, started);
        poll_fn(|cx| {
            if let Poll::Ready(result) = relay.as_mut().poll(cx) {
                return Poll::Ready(match attempted(result, sent) {
                    Attempted::Unanswered if upstream.is_unprocessed() => Attempted::Unsent,
                    attempted => attempted,
                });
            }
            if !sent.begun() && presence.poll_gone(cx).is_ready() {
                return Poll::Ready(Attempted::Gone);
            }
            Poll::Pending
        })
        .await
    }

    /// A request whose body is still coming. The answer may begin, and end, before it is there.
    pub(crate) async fn run_with_upload(&mut self, upload: &mut Upload) -> Attempted {
        let Attempt { stream, upstream, outgoing, ref mut back, started } = *self;
        let (sent, bounds) = (back.sent, back.bounds);
        let (mut writer, mut from_client) = (upstream, stream);
        let spare = &back.claim.worker.spare;
        let passage = Passage::between(stream, upstream, spare);
        back.timer.set_after(bounds.write);
        let mut gone = 0;
        match flow::send(&mut writer, outgoing, back.timer, &mut gone).await {
            Err(Stop::TimedOut) => return Attempted::Refused(Refusal::SlowAnswer),
            Err(Stop::Failed) if gone == 0 => return Attempted::Unsent,
            Err(Stop::Failed) | Ok(()) => {}
        }
        let late = Instant::now() + NOT_YET;
        let mut answer_due = Timer::new(late);
        let mut relay = pin!(back.run(upstream, stream, late));
        sent.early.set(true);
        let done = {
            let mut up = pin!(upload.run(&mut from_client, &mut writer, spare, passage));
            poll_fn(|cx| {
                match up.as_mut().poll(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => {
                        sent.early.set(false);
                        return Poll::Ready(None);
                    }
                    // The rest of it stays with the client: the answer, if there is one, is early.
                    Poll::Ready(Err(Lost::Upstream)) => return Poll::Ready(None),
                    Poll::Ready(Err(lost)) => return Poll::Ready(Some(lost_by(lost, sent))),
                }
                relay.as_mut().poll(cx).map(|result| Some(attempted(result, sent)))
            })
            .await
        };
        if let Some(attempted) = done {
            return attempted;
        }
        answer_due.set_after(bounds.answer);
        let mut presence = Presence::of(stream, bounds, started);
        poll_fn(|cx| {
            if let Poll::Ready(result) = relay.as_mut().poll(cx) {
                return Poll::Ready(attempted(result, sent));
            }
            if !sent.begun() && answer_due.poll(cx).is_ready() {
                return Poll::Ready(Attempted::Refused(Refusal::SlowAnswer));
            }
            if !sent.begun() && presence.poll_gone(cx).is_ready() {
                return Poll::Ready(Attempted::Gone);
            }
            Poll::Pending
        })
        .await
    }
}

/// The way back, before anything has come on it.
pub(crate) struct Back<'a> {
    pub(crate) stage: Stage,
    /// What the answer was relayed with, once there was one.
    pub(crate) tray: &'a mut Option<Box<Tray>>,
    pub(crate) timer: &'a mut Timer,
    pub(crate) claim: &'a Claim,
    pub(crate) sent: &'a Sent,
    pub(crate) ask: Ask<'a>,
    pub(crate) judge: Judge<'a>,
    /// What the route says of answers.
    pub(crate) rules: Option<&'a Rules>,
    /// What the client is to remember, as lines.
    pub(crate) cookies: &'a [u8],
    pub(crate) added: Added<'a>,
    pub(crate) bounds: &'a Bounds,
}

impl Back<'_> {
    /// Waits for the first bytes, and takes something to relay with only then.
    async fn run(
        &mut self,
        upstream: &Socket,
        client: &Socket,
        until: Instant,
    ) -> Result<Relayed, Broken> {
        let spare = &self.claim.worker.spare;
        self.timer.set(until);
        let (tray, opened) = match std::mem::replace(&mut self.stage, Stage::Sending(0)) {
            Stage::Sending(_) => {
                let first = poll_fn(|cx| poll_answer(upstream, spare, self.timer, cx)).await;
                (first?, None)
            }
            Stage::Heard(first) => (first?, None),
            Stage::Answering(tray, opened) => (tray, Some(opened)),
        };
        let tray = self.tray.insert(tray);
        let passage = Passage::between(upstream, client, spare);
        let mut relay = Relay {
            upstream,
            client,
            passage,
            buffer: &mut tray.answer,
            head: &mut tray.response,
            claim: self.claim,
            is_websocket: &mut tray.switched_to_websocket,
            reply: &mut tray.reply,
            timer: &mut *self.timer,
            sent: self.sent,
            ask: self.ask,
            added: self.added,
            bounds: self.bounds,
            judge: self.judge,
            rules: self.rules,
            cookies: self.cookies,
        };
        match opened {
            None => relay.run(until).await,
            Some(opened) => relay.go_on(*opened).await,
        }
    }
}

/// Takes something to relay with once the answer's first bytes are there.
pub(crate) fn poll_answer(
    upstream: &Socket,
    spare: &Spare,
    timer: &mut Timer,
    cx: &mut Context<'_>,
) -> Poll<Result<Box<Tray>, Broken>> {
    let first = upstream.poll_first(cx, || spare.tray(), |tray| spare.put_tray(tray));
    upstream.awaits_answer(first.is_pending());
    match first {
        Poll::Ready(first) => Poll::Ready(first.map_err(|_| Broken::Unanswered)),
        Poll::Pending => timer.poll(cx).map(|()| Err(Broken::TooSlow)),
    }
}

/// What becomes of a request whose body broke off.
fn lost_by(lost: Lost, sent: &Sent) -> Attempted {
    match lost {
        Lost::ClientSlow if !sent.begun() => Attempted::Refused(Refusal::Slow),
        Lost::TooLarge if !sent.begun() => Attempted::Refused(Refusal::LargeBody),
        Lost::Malformed(malformed) if !sent.begun() => {
            Attempted::Refused(Refusal::BadRequest(malformed))
        }
        Lost::ClientGone
        | Lost::ClientSlow
        | Lost::TooLarge
        | Lost::Malformed(_)
        | Lost::Upstream => Attempted::Gone,
    }
}

fn attempted(result: Result<Relayed, Broken>, sent: &Sent) -> Attempted {
    match result {
        Ok(relayed) => Attempted::Relayed(relayed),
        Err(Broken::Over) => Attempted::Ended,
        Err(Broken::ClientGone) => Attempted::Gone,
        Err(_) if sent.begun() => Attempted::Cut,
        Err(Broken::Unanswered) => Attempted::Unanswered,
        Err(Broken::Declined) => Attempted::Declined,
        Err(Broken::HeadCut) => Attempted::Refused(Refusal::NoAnswer),
        Err(Broken::Malformed(malformed)) => Attempted::Refused(Refusal::BadAnswer(malformed)),
        Err(Broken::TooSlow) => Attempted::Refused(Refusal::SlowAnswer),
        Err(Broken::Replaced(status)) => Attempted::Refused(Refusal::Replaced(status)),
        Err(Broken::BodyCut) => Attempted::Cut,
    }
}
