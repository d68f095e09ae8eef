//! One attempt to have a request answered over one connection to a target.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::buffer::{Buffer, Spare};
use crate::flow::{self, Stop};
use crate::h1::response::ResponseHead;
use crate::limits;
use crate::refusal::Refusal;
use crate::relay::{Ask, Broken, Relay, Relayed, Sent};
use crate::timer::Timer;
use crate::upload::{Lost, Upload};
use crate::upstream::Upstream;

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
    Refused(Refusal),
    Cut,
}

/// One attempt, and all that it works with.
pub(crate) struct Attempt<'a> {
    pub(crate) stream: &'a mut TcpStream,
    pub(crate) upstream: &'a mut Upstream,
    pub(crate) outgoing: &'a [u8],
    pub(crate) answer: &'a mut Buffer,
    pub(crate) response: &'a mut ResponseHead,
    pub(crate) reply: &'a mut Vec<u8>,
    pub(crate) timer: &'a mut Timer,
    pub(crate) spare: &'a Spare,
    pub(crate) draining: &'a Cell<bool>,
    pub(crate) sent: &'a Sent,
    pub(crate) ask: Ask,
    pub(crate) started: Instant,
}

impl Attempt<'_> {
    /// A request that is in `outgoing` as a whole.
    pub(crate) async fn run(self) -> Attempted {
        let (mut reader, mut writer) = self.upstream.split();
        let (_, mut client) = self.stream.split();
        let until = self.started + limits::ANSWER_TIME;
        self.timer.set(until);
        let mut gone = 0;
        match flow::send(&mut writer, self.outgoing, self.timer, &mut gone).await {
            Err(Stop::TimedOut) => return Attempted::Refused(Refusal::SlowAnswer),
            Err(Stop::Failed) if gone == 0 => return Attempted::Unsent,
            // Half a request may have been enough for an answer.
            Err(Stop::Failed) | Ok(()) => {}
        }
        let relay = Relay {
            upstream: &mut reader,
            client: &mut client,
            buffer: self.answer,
            head: self.response,
            reply: self.reply,
            timer: self.timer,
            spare: self.spare,
            sent: self.sent,
            ask: self.ask,
            draining: self.draining,
        };
        attempted(relay.run(until).await, self.sent)
    }

    /// A request whose body is still coming. The answer may begin, and end, before it is there.
    pub(crate) async fn run_with_upload(self, upload: &mut Upload) -> Attempted {
        let (mut reader, mut writer) = self.upstream.split();
        let (mut from_client, mut to_client) = self.stream.split();
        self.timer.set_after(limits::BODY_TIME);
        let mut gone = 0;
        match flow::send(&mut writer, self.outgoing, self.timer, &mut gone).await {
            Err(Stop::TimedOut) => return Attempted::Refused(Refusal::SlowAnswer),
            Err(Stop::Failed) if gone == 0 => return Attempted::Unsent,
            Err(Stop::Failed) | Ok(()) => {}
        }
        let late = Instant::now() + NOT_YET;
        let mut answer_due = Timer::new(late);
        let relay = Relay {
            upstream: &mut reader,
            client: &mut to_client,
            buffer: self.answer,
            head: self.response,
            reply: self.reply,
            timer: self.timer,
            spare: self.spare,
            sent: self.sent,
            ask: self.ask,
            draining: self.draining,
        };
        let mut relay = pin!(relay.run(late));
        let mut up = pin!(upload.run(&mut from_client, &mut writer));
        let mut uploading = true;
        poll_fn(|cx| {
            if uploading {
                match up.as_mut().poll(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(()) | Err(Lost::Upstream)) => {
                        uploading = false;
                        answer_due.set_after(limits::ANSWER_TIME);
                    }
                    Poll::Ready(Err(_)) if self.sent.begun() => return Poll::Ready(Attempted::Cut),
                    Poll::Ready(Err(Lost::ClientGone)) => return Poll::Ready(Attempted::Cut),
                    Poll::Ready(Err(Lost::ClientSlow)) => {
                        return Poll::Ready(Attempted::Refused(Refusal::Slow));
                    }
                    Poll::Ready(Err(Lost::Malformed(malformed))) => {
                        return Poll::Ready(Attempted::Refused(Refusal::BadRequest(malformed)));
                    }
                }
            }
            if let Poll::Ready(result) = relay.as_mut().poll(cx) {
                return Poll::Ready(attempted(result, self.sent));
            }
            if !uploading && !self.sent.begun() && answer_due.poll(cx).is_ready() {
                return Poll::Ready(Attempted::Refused(Refusal::SlowAnswer));
            }
            Poll::Pending
        })
        .await
    }
}

fn attempted(result: Result<Relayed, Broken>, sent: &Sent) -> Attempted {
    match result {
        Ok(relayed) => Attempted::Relayed(relayed),
        Err(_) if sent.begun() => Attempted::Cut,
        Err(Broken::Unanswered) => Attempted::Unanswered,
        Err(Broken::HeadCut) => Attempted::Refused(Refusal::NoAnswer),
        Err(Broken::Malformed(malformed)) => Attempted::Refused(Refusal::BadAnswer(malformed)),
        Err(Broken::TooSlow) => Attempted::Refused(Refusal::SlowAnswer),
        Err(Broken::BodyCut | Broken::ClientGone) => Attempted::Cut,
    }
}
