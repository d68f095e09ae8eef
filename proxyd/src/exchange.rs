//! One request and its answer, from the first byte of the one to the last of the other.

mod ask;
pub(crate) mod brief;
mod file;

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::access_log::{KeptLine, Line};
use crate::acme::Proofs;
use crate::attempt::{Attempt, Attempted, Back, Stage};
use crate::bounds::Bounds;
use crate::buffer::{Desk, Tray};
use crate::compression::Accepted;
use crate::flow::{self, Stop};
use crate::front::Front;
use crate::h1::body::{Body, Framing};
use crate::h1::malformed::Malformed;
use crate::h1::request::Progress;
use crate::h1::trailer::Passing;
use crate::headers;
use crate::host::Host;
use crate::maintenance::Maintenance;
use crate::meter::Meter;
use crate::origin::{Origin, Peer};
use crate::refusal::{self, Manner, OwnAnswer, Refusal, wants_json};
use crate::relay::{Ask, Judge, Sent};
use crate::rules::{self, Rules, Visitor};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::table::NotFound;
use crate::target::Target;
use crate::timer::Timer;
use crate::tunnel::Tunnel;
use crate::upload::Upload;
use crate::upstream::Upstream;
use crate::worker::{Claim, Found, Fronted, Worker};

use self::ask::Begun;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It may send another request.
    Again,
    Close,
    /// It may be sending still: let it read the answer first.
    Linger,
    /// The answer is cut: let it see that.
    Reset,
}

impl Next {
    /// Behind an answer that was whole. `kept`: the client would have asked again.
    fn after_whole(reuse: bool, kept: bool) -> Next {
        match (reuse, kept) {
            (true, _) => Next::Again,
            // That it is the last one was not the client's wish: it may be sending the next.
            (false, true) => Next::Linger,
            (false, false) => Next::Close,
        }
    }
}

/// How a request ended.
enum End {
    Whole {
        reuse_client: bool,
    },
    /// The connection is a tunnel from now on.
    Switched,
    /// It was a stream of events that had to end.
    Ended,
    /// With an answer of our own.
    Refused(Refusal),
    /// With what an authority has asked for.
    Proved(String),
    /// It asks about whoever it has come to last, which is us.
    Last,
    /// With that of whoever runs the site.
    Closed(Arc<Maintenance>),
    /// It is in this place, on the same host.
    Elsewhere(Vec<u8>),
    /// After part of the answer, or without anybody to answer to.
    Cut,
}

/// How far a request has come.
pub(crate) enum Start {
    /// Its head is not there yet.
    Unread(Fronted),
    Read(Box<Read>),
}

/// A request's head.
pub(crate) struct Read {
    pub(crate) front: Fronted,
    /// When its first byte was there.
    pub(crate) started: Instant,
    /// Whether there is one, or why it is refused.
    pub(crate) result: Result<bool, Refusal>,
    /// What has been done for it, if anything.
    begun: Option<Box<Begun>>,
}

impl Read {
    pub(crate) fn new(front: Fronted, started: Instant, result: Result<bool, Refusal>) -> Read {
        Read { front, started, result, begun: None }
    }
}

/// Has a request answered whose head was read, or refused, and logs it. Returns when that was, too.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    stream: &Socket,
    peer: &Peer,
    desk: &mut Desk,
    timer: &mut Timer,
    tunnel: &mut Option<Box<Tunnel>>,
    read: Box<Read>,
) -> (Next, Instant) {
    let Read { front, started, result, begun } = *read;
    let origin = if front.plain {
        Origin::of(peer)
    } else {
        let head = desk.incoming.data();
        Origin::read(&front, peer, head, &mut desk.request, &worker.ids)
    };
    let mut exchange = Exchange {
        worker,
        stream,
        front: &front,
        own_bounds: None,
        origin,
        desk,
        timer,
        started,
        asked: started,
        sent: Sent::default(),
        target: None,
        found: None,
        upload: None,
        tray: None,
        ended: None,
        cookies: Vec::new(),
        user: String::new(),
        taken: 0,
        tunnel,
    };
    let end = match (result, begun) {
        (Ok(true), None) => exchange.forward().await,
        (Ok(true), Some(begun)) => exchange.resume(begun).await,
        (Ok(false), _) => return (Next::Close, started),
        (Err(refusal), _) => End::Refused(refusal),
    };
    let next = exchange.finish(end).await;
    let now = exchange.ended.unwrap_or_else(Instant::now);
    if exchange.tunnel.is_none() {
        let line = exchange.line(now);
        worker.log.write(&line);
        worker.count(exchange.meter(), &line);
    }
    exchange.clear_up();
    (next, now)
}

/// Reads until the head is complete. The desk is clear of the last one.
pub(crate) async fn read_head(
    stream: &Socket,
    front: Fronted,
    desk: &mut Desk,
    timer: &mut Timer,
) -> Read {
    let mut started = None;
    loop {
        if !desk.incoming.is_empty() {
            let started = *started.get_or_insert_with(Instant::now);
            if let Some(result) = look(desk, &front) {
                return Read::new(front, started, result.map(|()| true));
            }
            timer.set(started + front.head_time);
        }
        let result = match flow::fill(&mut &*stream, &mut desk.incoming, timer).await {
            Ok(1..) => continue,
            Err(Stop::TimedOut) if !desk.incoming.is_empty() => Err(Refusal::Slow),
            Ok(0) | Err(_) => Ok(false),
        };
        return Read::new(front, started.unwrap_or_else(Instant::now), result);
    }
}

/// Looks at what has come of a head: `None` while there is more to come.
fn look(desk: &mut Desk, front: &Front) -> Option<Result<(), Refusal>> {
    match desk.request.advance(desk.incoming.data()) {
        Ok(Progress::Complete) => Some(check_size(desk, front)),
        Ok(Progress::Partial) if desk.incoming.len() > front.head_bytes => {
            Some(Err(Refusal::LargeHead))
        }
        Ok(Progress::Partial) => None,
        Err(malformed) => Some(Err(Refusal::BadRequest(malformed))),
    }
}

/// Holds a head to the front's bounds, which are not above those that it was read with.
pub(crate) fn check_size(desk: &Desk, front: &Front) -> Result<(), Refusal> {
    let request = &desk.request;
    if request.line.of(desk.incoming.data()).len() > front.uri_bytes
        && request.target.of(desk.incoming.data()).len() > front.uri_bytes
    {
        Err(Refusal::LongTarget)
    } else if request.len > front.head_bytes || request.fields.len() > front.fields {
        Err(Refusal::LargeHead)
    } else {
        Ok(())
    }
}

struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    stream: &'a Socket,
    front: &'a Front,
    /// Where the route's are other than the front's.
    own_bounds: Option<Box<Bounds>>,
    origin: Origin<'a>,
    desk: &'a mut Desk,
    timer: &'a mut Timer,
    started: Instant,
    /// When it could be passed on: later than it came if it had to wait.
    asked: Instant,
    sent: Sent,
    /// The target asked last.
    target: Option<Arc<Target>>,
    /// What it is for, where a route was found.
    found: Option<Found>,
    /// The rest of a body that did not come with its head.
    upload: Option<Box<Upload>>,
    tray: Option<Box<Tray>>,
    /// When the last byte of the answer had gone out, where somebody has looked at the clock then.
    ended: Option<Instant>,
    /// What the client is to remember, as fields for its answer.
    cookies: Vec<u8>,
    /// Who has named himself, where somebody has to.
    user: String,
    /// Bytes of `incoming` that are this request's.
    taken: usize,
    /// What it has become, after 101.
    tunnel: &'a mut Option<Box<Tunnel>>,
}

impl Exchange<'_> {
    fn bounds(&self) -> &Bounds {
        self.own_bounds.as_deref().unwrap_or(&self.front.bounds)
    }

    /// Goes on with what was begun the short way, and is all that has come.
    async fn resume(&mut self, begun: Box<Begun>) -> End {
        let Desk { incoming, request, outgoing } = &mut *self.desk;
        self.taken = request.len;
        if outgoing.is_empty() {
            let head = incoming.data();
            headers::write_request(head, request, self.front, &self.origin, outgoing);
            if let Some(rules) = begun.found.rules() {
                rules.edit_request(request.target.of(head), outgoing);
            }
            if let Err(refusal) = self.take_body() {
                return End::Refused(refusal);
            }
        }
        self.taken = self.desk.incoming.len();
        self.sent = begun.sent.clone();
        self.found = Some(begun.found.clone());
        self.ask(begun.found.clone(), Some(begun)).await
    }

    async fn forward(&mut self) -> End {
        let request = &self.desk.request;
        let is_last =
            request.is_options && headers::take_hop(self.desk.incoming.data_mut(), request);
        let head = self.desk.incoming.data();
        self.taken = request.len;
        let host = Host::parse(request.host.of(head));
        // An old client may name none, and is told 404 like one who names another.
        if host.is_none() && (request.is_11 || !request.host.of(head).is_empty()) {
            return End::Refused(Refusal::BadRequest(Malformed::Host));
        }
        if Proofs::may_be_asked_by(request.target.of(head))
            && let Some(proof) = self.proof(host.as_ref())
        {
            return End::Proved(proof);
        }
        let find = |host: &Host<'_>| self.worker.find(host, request.target.of(head));
        let found = host.as_ref().map_or(Err(NotFound::Unknown), find);
        if let Ok(found) = &found {
            if let Some(limits) = found.limits() {
                self.own_bounds = Some(Box::new(self.front.bounds.with(limits)));
            }
            self.found = Some(found.clone());
        }
        headers::write_request(head, request, self.front, &self.origin, &mut self.desk.outgoing);
        if let Ok(found) = &found
            && let Some(rules) = found.rules()
        {
            rules.edit_request(request.target.of(head), &mut self.desk.outgoing);
        }
        if let Err(refusal) = self.take_body() {
            return End::Refused(refusal);
        }
        // Refused here and not before: the connection goes on behind a body that was taken.
        let found = match found {
            Ok(found) => found,
            Err(NotFound::Ambiguous) => return End::Refused(Refusal::Ambiguous),
            Err(NotFound::Unknown) => return End::Refused(Refusal::UnknownHost),
        };
        // On the heap, because few requests have any.
        if let Some(rules) = found.rules() {
            match Box::pin(self.admit(rules)).await {
                Ok(user) => self.user = user,
                Err(refusal) => return End::Refused(refusal),
            }
            if let Some(folder) = rules.files() {
                return Box::pin(self.serve_file(rules, folder)).await;
            }
        }
        if is_last {
            return End::Last;
        }
        self.ask(found, None).await
    }

    /// What an authority is answered: before any route, and only where nothing comes behind the head.
    #[cold]
    fn proof(&self, host: Option<&Host<'_>>) -> Option<String> {
        let (head, request) = (self.desk.incoming.data(), &self.desk.request);
        let asks = matches!(request.method.of(head), b"GET" | b"HEAD");
        let is_bare = Body::new(request.framing).is_done() && request.upgrade.is_none();
        if asks && is_bare { self.worker.proof(host?, request.target.of(head)) } else { None }
    }

    /// Asks the rules of the route.
    async fn admit(&self, rules: &Rules) -> Result<String, Refusal> {
        let visitor = Visitor {
            client: self.origin.client().address,
            trusted: self.origin.trusted,
            secured: self.origin.is_secured(),
            head: self.desk.incoming.data(),
            request: &self.desk.request,
            now: self.started,
        };
        rules::admit(rules, visitor).await
    }

    /// Appends the body to the head as far as it is there; the rest is an upload.
    fn take_body(&mut self) -> Result<(), Refusal> {
        let bounds = self.own_bounds.as_deref().unwrap_or(&self.front.bounds);
        let Desk { incoming, request, outgoing } = &mut *self.desk;
        let mut body = Body::new(request.framing);
        if body.is_done() {
            return Ok(());
        }
        let chunked = matches!(body, Body::Chunks(_));
        let trailers = if chunked {
            let own = self.front.wire.request_id.as_deref();
            Passing::new(&request.connection, incoming.data()).without(own)
        } else {
            Passing::default()
        };
        let data = incoming.data_mut().get_mut(request.len..).unwrap_or_default();
        let step = body.step(data).map_err(Refusal::BadRequest)?;
        let payload = data.get(step.start..step.end).unwrap_or_default();
        let tail = headers::write_frame(chunked, payload.len(), body.is_done(), outgoing);
        outgoing.extend_from_slice(payload);
        outgoing.extend_from_slice(trailers.end(&body, tail, &mut Vec::new()));
        self.taken += step.consumed;
        if !body.is_done() {
            let timer = Timer::new(self.started + bounds.body_gap);
            let sent = step.end - step.start;
            let buffer = self.worker.spare.large();
            let upload = Upload::new(body, sent, trailers, buffer, timer, bounds);
            self.upload = Some(Box::new(upload));
        }
        // Known beforehand, it is refused before a byte of it has gone to anybody.
        let size = match request.framing {
            Framing::Length(length) => length,
            _ => (step.end - step.start) as u64,
        };
        if size > bounds.body_bytes { Err(Refusal::LargeBody) } else { Ok(()) }
    }

    async fn attempt(
        &mut self,
        upstream: &Socket,
        claim: &Claim,
        judge: Judge<'_>,
        stage: Stage,
    ) -> Attempted {
        if let Some(tray) = self.tray.take() {
            self.worker.spare.put_tray(tray);
        }
        let Desk { incoming, request, outgoing } = &mut *self.desk;
        let rules = self.found.as_ref().and_then(Found::rules);
        let coding = rules
            .filter(|rules| rules.compressed().is_some())
            .and_then(|_| Accepted::read(incoming.data(), &request.fields).best());
        let ask = Ask {
            is_head: request.method.of(incoming.data()) == b"HEAD",
            is_11: request.is_11,
            upgrade: request.upgrade.map(|offer| offer.of(incoming.data())),
            trailers: request.takes_trailers,
            expects: request.expects_continue,
            keep_alive: request.keeps_alive(),
            coding,
        };
        let back = Back {
            stage,
            tray: &mut self.tray,
            timer: self.timer,
            claim,
            sent: &self.sent,
            ask,
            judge,
            rules,
            cookies: &self.cookies,
            added: self.origin.added(self.front),
            bounds: self.own_bounds.as_deref().unwrap_or(&self.front.bounds),
        };
        let mut attempt =
            Attempt { stream: self.stream, upstream, outgoing, back, started: self.asked };
        match &mut self.upload {
            None => attempt.run().await,
            Some(upload) => Box::pin(attempt.run_with_upload(upload)).await,
        }
    }

    /// Only now, after 101, what the client sent behind its head is the other protocol. Nothing else of
    /// the request is kept.
    fn switch(&mut self, upstream: Upstream, claim: Claim) -> End {
        let head = self.desk.incoming.data();
        let ahead = head.get(self.taken..).unwrap_or_default().to_vec();
        let (behind, is_websocket) = self.tray.as_ref().map_or_else(Default::default, |tray| {
            (tray.answer.data().to_vec(), tray.switched_to_websocket)
        });
        let line = KeptLine::of(&self.line(self.started), self.started);
        self.taken = self.desk.incoming.len();
        *self.tunnel = Some(Box::new(Tunnel {
            upstream,
            stream: Stream::of(&claim),
            claim,
            is_websocket,
            ahead: [ahead, behind],
            idle: self.bounds().tunnel,
            line,
            meter: self.meter().cloned(),
        }));
        End::Switched
    }

    /// Gives the answer that is ours to give, and decides about the connection.
    async fn finish(&mut self, end: End) -> Next {
        let received = self.upload.as_ref().is_none_or(|upload| upload.is_through());
        match end {
            End::Whole { .. } if !received => Next::Linger,
            End::Whole { reuse_client } => {
                Next::after_whole(reuse_client, self.desk.request.keeps_alive())
            }
            End::Switched => Next::Close,
            End::Ended => Next::Linger,
            End::Refused(refusal) => Box::pin(self.refuse(refusal, received)).await,
            End::Proved(proof) => {
                let write = |to_head, connection: &[u8], out: &mut Vec<u8>| {
                    let (content_type, body) = ("application/octet-stream", proof.as_bytes());
                    let fields = |out: &mut Vec<u8>| out.extend_from_slice(connection);
                    OwnAnswer { status: 200, content_type, body }.write(to_head, fields, out)
                };
                self.answer(200, received, write).await
            }
            End::Last => {
                let write = |to_head, connection: &[u8], out: &mut Vec<u8>| {
                    let own = OwnAnswer { status: 200, content_type: "text/plain", body: b"" };
                    let lines = [refusal::ALLOW, connection].concat();
                    own.write(to_head, |out| out.extend_from_slice(&lines), out)
                };
                self.answer(200, received, write).await
            }
            End::Closed(maintenance) => {
                let status = maintenance.wire.status;
                let write = |to_head, connection: &[u8], out: &mut Vec<u8>| {
                    maintenance.write(to_head, connection, out)
                };
                self.answer(status, received, write).await
            }
            End::Elsewhere(place) => {
                let write = |to_head, connection: &[u8], out: &mut Vec<u8>| {
                    let own = OwnAnswer { status: 301, content_type: "text/plain", body: b"" };
                    let lines = [b"Location: ", &place[..], b"\r\n", connection];
                    own.write(to_head, |out| out.extend_from_slice(&lines.concat()), out)
                };
                self.answer(301, received, write).await
            }
            End::Cut => Next::Reset,
        }
    }

    async fn refuse(&mut self, refusal: Refusal, received: bool) -> Next {
        let understood = !matches!(
            refusal,
            Refusal::BadRequest(_) | Refusal::Slow | Refusal::LargeHead | Refusal::LongTarget
        );
        let (head, request) = (self.desk.incoming.data(), &self.desk.request);
        let wants_json = wants_json(head, request);
        let found = self.found.clone();
        let rules = found.as_ref().and_then(Found::rules);
        let told = match (refusal, rules, &self.tray) {
            (Refusal::Moved(_), Some(rules), _) => {
                let host = Host::parse(request.host.of(head));
                let host = host.as_ref().map_or(&b""[..], Host::as_bytes);
                [b"Location: ", &rules.location(host, request.target.of(head))[..], b"\r\n"]
                    .concat()
            }
            (Refusal::Replaced(_), _, Some(tray)) => {
                refusal::kept(tray.answer.data(), &tray.response.fields)
            }
            _ => Vec::new(),
        };
        let write = |to_head, connection: &[u8], out: &mut Vec<u8>| {
            let manner = Manner { to_head, connection, wants_json, told: &told, rules };
            refusal.write(&manner, out)
        };
        self.answer(refusal.status(), received && understood, write).await
    }

    /// Answers with what `write` makes of whether it is to HEAD, and of the fields that say what
    /// becomes of the connection. `complete`: the request came to its end.
    async fn answer(
        &mut self,
        status: u16,
        complete: bool,
        write: impl FnOnce(bool, &[u8], &mut Vec<u8>) -> u64,
    ) -> Next {
        // What was to go to a target goes nowhere any more.
        let (reuse, connection) = self.afterwards(complete);
        let Desk { incoming, request, outgoing: reply } = &mut *self.desk;
        let added = self.origin.added(self.front).lines;
        let with_added;
        let connection = if added.is_empty() {
            connection
        } else {
            with_added = [connection, added].concat();
            &with_added
        };
        let to_head = request.method.of(incoming.data()) == b"HEAD";
        let bytes = write(to_head, connection, reply);
        if let Some(rules) = self.found.as_ref().and_then(Found::rules) {
            rules.edit_response(self.origin.is_secured(), reply);
        }
        self.sent.status.set(status);
        self.sent.bytes.set(bytes);
        self.timer.set_after(self.own_bounds.as_deref().unwrap_or(&self.front.bounds).write);
        if !reuse {
            self.stream.end_follows();
        }
        match flow::send(&mut self.stream, reply, self.timer, &mut 0).await {
            Ok(()) if reuse => Next::Again,
            Ok(()) => Next::Linger,
            Err(_) => Next::Close,
        }
    }

    /// Whether the connection may be used again behind an answer of our own, and how it is told.
    fn afterwards(&self, complete: bool) -> (bool, &'static [u8]) {
        let request = &self.desk.request;
        let reuse = complete && request.keeps_alive() && !self.worker.draining.get();
        let connection: &[u8] = match (reuse, request.is_11) {
            (false, _) => b"Connection: close\r\n",
            (true, true) => b"",
            (true, false) => b"Connection: keep-alive\r\n",
        };
        (reuse, connection)
    }

    fn meter(&self) -> Option<&Arc<Meter>> {
        self.found.as_ref()?.meter()
    }

    fn line(&self, now: Instant) -> Line<'_> {
        let head = self.desk.incoming.data();
        let request = &self.desk.request;
        // What nginx writes for a client that went away before there was an answer.
        let status = if self.sent.begun() { self.sent.status.get() } else { 499 };
        Line {
            client: &self.origin.client().text,
            user: &self.user,
            request: request.line.of(head),
            status,
            bytes: self.sent.bytes.get(),
            referer: request.referer.of(head),
            user_agent: request.user_agent.of(head),
            took: now.saturating_duration_since(self.started),
            ended: now,
            target: self.target.as_ref().map_or("", |target| &target.label),
            id: self.origin.id(),
        }
    }

    /// Leaves in `incoming` what is behind this request.
    fn clear_up(self) {
        self.desk.incoming.consume(self.taken);
        if let Some(tray) = self.tray {
            self.worker.spare.put_tray(tray);
        }
        if let Some(upload) = self.upload {
            let is_through = upload.is_through();
            let mut buffer = upload.into_buffer();
            if is_through && !buffer.is_empty() {
                std::mem::swap(&mut self.desk.incoming, &mut buffer);
            }
            self.worker.spare.put_large(buffer);
        }
    }
}
