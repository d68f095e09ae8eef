//! The short way: for a request that came as a whole, whose route lets it through, to a service that wants nothing
//! particular, over a connection that is there.
//!
//! There is nothing to wait for but its answer. What comes before that and what comes behind it is done on the stack, and
//! in the memory that was used last. Meanwhile it is its own bytes and two cache lines: a thousand may wait,
//! and whatever each of them holds has to be fetched anew when its answer is there.
//!
//! ```text
//!   ask ──sent──▶ hear ──first bytes──▶ pass_on ──whole──▶ the next request
//!    │              └──nothing good──┐     │
//!    └──not for this way─────────────┴─────┴──▶ the long way, from where it has come to
//! ```

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use tokio::time::Instant;

use super::ask::Begun;
use super::{Next, Read, Start, look};
use crate::access_log::Line as LogLine;
use crate::acme::Proofs;
use crate::attempt::{Stage, poll_answer};
use crate::buffer::{Desk, Spare, Tray};
use crate::h1::body::Framing;
use crate::h1::field::Span;
use crate::headers;
use crate::host::Host;
use crate::limits;
use crate::origin::{Origin, Peer};
use crate::pool::Line;
use crate::presence::Presence;
use crate::relay::{Ask, Broken, Relay, Reuse, Sent};
use crate::service::{Asker, Unclaimed};
use crate::socket::Socket;
use crate::timer::Timer;
use crate::worker::{Claim, Found, Fronted, Worker};

/// Where a request stands behind the first step.
pub(crate) enum Asked {
    /// All of it was sent.
    Waits(Box<Place>),
    /// It goes the long way.
    Goes(Start),
}

/// Where a request waits. Its memory is used again, also for many at once: an allocator would look at what lies
/// around it.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The request as it came.
    kept: Vec<u8>,
    waiting: Option<Waiting>,
}

impl Place {
    /// Ready for the next request, unless the last one was so large that its memory is better given back.
    pub(crate) fn clear(&mut self) -> bool {
        self.kept.clear();
        self.kept.capacity() <= limits::ROOM
    }

    /// Waits for the first bytes of the answer, or for whatever else ends that. Brings the request back that waited.
    pub(crate) fn hear(
        &mut self,
        stream: &Socket,
        spare: &Spare,
        timer: &mut Timer,
    ) -> impl Future<Output = Option<(Waiting, Result<Box<Tray>, Broken>)>> {
        let mut presence = None;
        if let Some(waiting) = &self.waiting {
            let bounds = &waiting.front.bounds;
            timer.set(waiting.started + bounds.answer);
            presence = Some(Presence::of(stream, bounds, waiting.started));
        }
        poll_fn(move |cx| {
            let (Some(waiting), Some(presence)) = (&self.waiting, &mut presence) else {
                return Poll::Ready(None);
            };
            let heard = match poll_answer(&waiting.line.upstream.socket, spare, timer, cx) {
                Poll::Pending => presence.poll_gone(cx).map(|()| Err(Broken::ClientGone)),
                Poll::Ready(heard) => Poll::Ready(heard),
            };
            heard.map(|heard| self.waiting.take().map(|waiting| (waiting, heard)))
        })
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts about a request")]
pub(crate) struct Waiting {
    found: Found,
    claim: Claim,
    line: Box<Line>,
    front: Fronted,
    started: Instant,
    request: Part,
    referer: Part,
    user_agent: Part,
    is_head: bool,
    is_11: bool,
    takes_trailers: bool,
    keep_alive: bool,
}

/// A span of a head that is not longer than this can tell.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u16,
    end: u16,
}

impl Part {
    fn within(span: Span) -> Option<Part> {
        let [start, end] = [span.start, span.end].map(|at| u16::try_from(at).ok());
        Some(Part { start: start?, end: end? })
    }

    fn of(self, head: &[u8]) -> &[u8] {
        Span { start: self.start.into(), end: self.end.into() }.of(head)
    }
}

/// Reads what has come of a request, and sends it on if it is for this way.
pub(crate) fn ask(worker: &Rc<Worker>, peer: &Peer, desk: &mut Desk) -> Asked {
    let front = worker.front();
    let started = Instant::now();
    let Some(result) = look(desk, &front) else { return Asked::Goes(Start::Unread(front)) };
    let mut read = Read::new(front, started, result.map(|()| true));
    if read.result.is_ok()
        && let Some((found, parts)) = find(worker, &read.front, peer, desk)
    {
        match send(worker, peer, desk, &read, found) {
            Ok((found, claim, line)) => {
                let (bytes, request) = (desk.incoming.data(), &desk.request);
                let [line_of_it, referer, user_agent] = parts;
                let mut place = worker.spare.place();
                place.kept.extend_from_slice(bytes);
                place.waiting = Some(Waiting {
                    found,
                    claim,
                    line,
                    front: read.front,
                    started,
                    request: line_of_it,
                    referer,
                    user_agent,
                    is_head: request.method.of(bytes) == b"HEAD",
                    is_11: request.is_11,
                    takes_trailers: request.takes_trailers,
                    keep_alive: request.keeps_alive(),
                });
                return Asked::Waits(place);
            }
            Err(begun) => read.begun = Some(begun),
        }
    }
    Asked::Goes(Start::Read(Box::new(read)))
}

/// What a request is for, and the parts of it that the log tells, if it is for this way.
fn find(worker: &Worker, front: &Fronted, peer: &Peer, desk: &Desk) -> Option<(Found, [Part; 3])> {
    let (head, request) = (desk.incoming.data(), &desk.request);
    let body = match request.framing {
        Framing::None => 0,
        Framing::Length(length) if !request.expects_continue => length,
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => return None,
    };
    // All of it is there, and nothing behind it; and a desk has room for it, should it not stay on this way.
    let is_whole = request.len as u64 + body == head.len() as u64 && head.len() <= limits::HEAD;
    let is_usual = front.plain
        && request.upgrade.is_none()
        && !request.is_options
        && body <= front.bounds.body_bytes;
    let target = request.target.of(head);
    if !(is_whole && is_usual) || Proofs::may_be_asked_by(target) {
        return None;
    }
    let found = worker.find(&Host::parse(request.host.of(head))?, target).ok()?;
    let is_usual = found.limits().is_none()
        && found.rules().is_none_or(|rules| rules.lets_through(peer.address, peer.is_secured()))
        && found.service().is_some_and(|service| service.settings.usual);
    let [line, referer, user_agent] =
        [request.line, request.referer, request.user_agent].map(Part::within);
    is_usual.then_some((found, [line?, referer?, user_agent?]))
}

/// Sends it over a connection that is there.
fn send(
    worker: &Rc<Worker>,
    peer: &Peer,
    desk: &mut Desk,
    read: &Read,
    found: Found,
) -> Result<(Found, Claim, Box<Line>), Box<Begun>> {
    let Desk { incoming, request, outgoing } = desk;
    let head = incoming.data();
    headers::write_request(head, request, &read.front, &Origin::of(peer), outgoing);
    if let Some(rules) = found.rules() {
        rules.edit_request(request.target.of(head), outgoing);
    }
    outgoing.extend_from_slice(head.get(request.len..).unwrap_or_default());
    let asker = Asker { client: peer, head, request, tried: &[], called: false };
    let claim = match found.service() {
        // Nothing of it has a cookie.
        Some(service) => worker.claim(service, &asker, &mut Vec::new()),
        None => Err(Unclaimed::Nobody),
    };
    let claim = match claim {
        Ok(claim) if !claim.is_exceptional() => claim,
        claim => return Err(Box::new(Begun::new(found, claim))),
    };
    let surely = !request.is_idempotent(head);
    let Some(line) = worker.pool.take(&claim.target, read.started, surely) else {
        return Err(Box::new(Begun::new(found, Ok(claim))));
    };
    let gone = line.upstream.socket.write_now(outgoing);
    if gone < outgoing.len() {
        let (line, stage) = (Some(line), Stage::Sending(gone));
        return Err(Box::new(Begun { line, stage, ..Begun::new(found, Ok(claim)) }));
    }
    Ok((found, claim, line))
}

impl Waiting {
    /// Passes the answer on and logs it; or else says how it goes on, with the request on a desk again.
    pub(crate) fn pass_on(
        self,
        place: Box<Place>,
        (stream, peer): (&Socket, &Peer),
        timer: &mut Timer,
        heard: Result<Box<Tray>, Broken>,
    ) -> Result<(Next, Instant), (Box<Desk>, Box<Read>)> {
        let sent = Sent::default();
        let stage = match heard.map(|tray| self.relay((stream, peer), timer, &sent, tray)) {
            Ok(Ok((tray, reuse))) => return Ok(self.end(place, peer, &sent, tray, reuse)),
            Ok(Err(stage)) => stage,
            Err(broken) => Stage::Heard(Err(broken)),
        };
        let Waiting { found, claim, line, front, started, .. } = self;
        let mut desk = claim.worker.spare.desk();
        desk.incoming.put(&place.kept);
        claim.worker.spare.put_place(place);
        // It was read before, so that there is nothing to be told.
        let _ = desk.request.advance(desk.incoming.data());
        let begun = Begun { line: Some(line), stage, sent, ..Begun::new(found, Ok(claim)) };
        let mut read = Read::new(front, started, Ok(true));
        read.begun = Some(Box::new(begun));
        Err((desk, Box::new(read)))
    }

    /// Sends all of the answer, or says how far that has come.
    fn relay(
        &self,
        (stream, peer): (&Socket, &Peer),
        timer: &mut Timer,
        sent: &Sent,
        mut tray: Box<Tray>,
    ) -> Result<(Box<Tray>, Reuse), Stage> {
        let origin = Origin::of(peer);
        let Tray { answer, response, reply, switched_to_websocket } = &mut *tray;
        let mut relay = Relay {
            upstream: &self.line.upstream.socket,
            client: stream,
            passage: None,
            buffer: answer,
            head: response,
            reply,
            timer,
            sent,
            ask: Ask {
                is_head: self.is_head,
                is_11: self.is_11,
                upgrade: None,
                trailers: self.takes_trailers,
                expects: false,
                keep_alive: self.keep_alive,
                coding: None,
            },
            added: origin.added(&self.front),
            bounds: &self.front.bounds,
            claim: &self.claim,
            is_websocket: switched_to_websocket,
            judge: None,
            rules: self.found.rules(),
            cookies: &[],
        };
        let opened = match relay.open_now() {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(Stage::Heard(Ok(tray))),
            Err(broken) => {
                self.claim.worker.spare.put_tray(tray);
                return Err(Stage::Heard(Err(broken)));
            }
        };
        match relay.whole(&opened) {
            Some(reuse) => Ok((tray, reuse)),
            None => Err(Stage::Answering(tray, Box::new(opened))),
        }
    }

    /// What there is to do behind an answer that was sent.
    fn end(
        self,
        place: Box<Place>,
        peer: &Peer,
        sent: &Sent,
        tray: Box<Tray>,
        reuse: Reuse,
    ) -> (Next, Instant) {
        let kept = &place.kept;
        let Waiting { found, claim, line, started, .. } = self;
        let now = Instant::now();
        claim.answered();
        let promised = tray.response.keep_alive_timeout;
        claim.worker.spare.put_tray(tray);
        if reuse.target
            && let Some(service) = found.service()
        {
            claim.worker.pool.put(&claim.target, line, promised, (&service.settings, now));
        }
        let line = LogLine {
            client: &peer.text,
            user: "",
            request: self.request.of(kept),
            status: sent.status.get(),
            bytes: sent.bytes.get(),
            referer: self.referer.of(kept),
            user_agent: self.user_agent.of(kept),
            took: now.saturating_duration_since(started),
            ended: now,
            target: &claim.target.label,
            id: b"",
        };
        claim.worker.log.write(&line);
        claim.worker.count(found.meter(), &line);
        claim.worker.spare.put_place(place);
        (Next::after_whole(reuse.client, self.keep_alive), now)
    }
}
