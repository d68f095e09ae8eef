//! Having a request answered: one target is asked after the other, until one answers or there is no
//! sense in asking on.
//!
//! ```text
//!   claim ──held──▶ wait in line ──called──▶ claim ──▶ attempt ──answered──▶ passed on
//!     ▲                  └──too long, or the client has gone──▶ end     │
//!     └── nothing was sent, or it may be sent again ◀───────────────────┘
//! ```

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant as StdInstant;

use proxyd_wire as wire;
use tokio::time::Instant;

use super::{End, Exchange};
use crate::attempt::{Attempted, Stage};
use crate::host::Host;
use crate::limits;
use crate::listener::is_exhausted;
use crate::pool::Line;
use crate::presence::Presence;
use crate::queue::Place;
use crate::refusal::Refusal;
use crate::relay::{Relayed, Sent};
use crate::service::{Asker, Hold, Service, Unclaimed};
use crate::socket::Socket;
use crate::target::Target;
use crate::upstream::Upstream;
use crate::worker::{Claim, Found};

/// How waiting ended.
enum Waited {
    Called,
    TooLong,
    ClientGone,
}

/// What is known after some attempts.
struct Course {
    /// It may be sent again where a target may have seen it.
    repeatable: bool,
    /// Attempts, the one under way included. One that a connection spoilt that was closed while it was
    /// idle does not count.
    attempts: u32,
    /// The attempt under way is the last one.
    last: bool,
    /// Targets that need not be asked again, by their numbers.
    tried: Vec<u64>,
    /// A connection that was used before has failed: not another of that kind.
    fresh: bool,
    /// What the request is answered if there is nobody else to ask.
    refusal: Refusal,
}

/// What has been done for a request.
pub(super) struct Begun {
    /// What it is for.
    pub(super) found: Found,
    pub(super) claim: Result<Claim, Unclaimed>,
    /// The connection that it goes over, if there is one.
    pub(super) line: Option<Box<Line>>,
    pub(super) stage: Stage,
    pub(super) sent: Sent,
}

impl Begun {
    /// Nothing was sent yet.
    pub(super) fn new(found: Found, claim: Result<Claim, Unclaimed>) -> Begun {
        Begun { found, claim, line: None, stage: Stage::Sending(0), sent: Sent::default() }
    }
}

impl Exchange<'_> {
    /// `begun`: what has been done for it already, if anything.
    pub(super) async fn ask(&mut self, mut found: Found, mut begun: Option<Box<Begun>>) -> End {
        let idempotent = self.desk.request.is_idempotent(self.desk.incoming.data());
        let mut course = Course {
            repeatable: self.upload.is_none() && idempotent,
            attempts: 0,
            last: false,
            tried: Vec::new(),
            fresh: false,
            refusal: Refusal::NoTarget,
        };
        let mut again = false;
        loop {
            if again && let Err(unclaimed) = self.find(&mut found) {
                return end_of(unclaimed, course.refusal);
            }
            again = true;
            let (claimed, line, stage) = match begun.take().map(|begun| *begun) {
                None => (self.claim_of(&found, &course.tried, false), None, Stage::Sending(0)),
                Some(Begun { claim, line, stage, .. }) => (claim, line, stage),
            };
            let claimed = self.unless_stale(claimed, &mut found, &course.tried, false);
            let claim = match claimed {
                Err(Unclaimed::Held(hold)) => {
                    Box::pin(self.wait(&mut found, &course.tried, hold)).await
                }
                result => result.map_err(|unclaimed| end_of(unclaimed, course.refusal)),
            };
            let claim = match claim {
                Ok(claim) => claim,
                Err(end) => return end,
            };
            let Some(service) = found.service() else { return End::Refused(course.refusal) };
            let rules = &service.settings.wire;
            course.attempts += 1;
            course.last = course.attempts >= rules.retry.attempts;
            self.target = Some(Arc::clone(&claim.target));
            let idle = line.or_else(|| self.idle_line(&claim, service, &course));
            // What a shared connection did not take is tried once on one of its own.
            let shares = rules.protocol == wire::Protocol::H2c && !course.fresh;
            let reused = idle.is_some() || shares;
            let line = match idle {
                Some(line) => line,
                // On the heap, because most requests find one that is there.
                None => match Box::pin(self.connect(&claim.target, service, course.fresh)).await {
                    Ok(upstream) => Box::new(Line::new(upstream)),
                    Err(error) => match course.after_no_connection(&error, service, &claim) {
                        Some(end) => return end,
                        None => continue,
                    },
                },
            };
            let judge = |status, untouched| course.declines(service, &claim, status, untouched);
            let judges = claim.is_exceptional()
                || !rules.eject.statuses.is_empty()
                || !rules.retry.statuses.is_empty();
            let (socket, judge) = (&line.upstream.socket, judges.then_some(&judge as _));
            let attempted = self.attempt(socket, &claim, judge, stage).await;
            match attempted {
                Attempted::Relayed(Relayed::Whole(reuse)) => {
                    claim.answered();
                    if reuse.target {
                        self.keep(&claim, line, service);
                    }
                    return End::Whole { reuse_client: reuse.client };
                }
                Attempted::Relayed(Relayed::Switched) => {
                    claim.answered();
                    return self.switch(line.upstream, claim);
                }
                Attempted::Declined => {
                    claim.answered();
                    let status = self.tray.as_ref().map_or(0, |tray| tray.response.status);
                    course.refusal = Refusal::Declined(status);
                    course.tried.push(claim.target.number);
                }
                failed => {
                    if let Some(end) = course.after(&failed, service, &claim, reused) {
                        return end;
                    }
                }
            }
        }
    }

    async fn connect(
        &self,
        target: &Target,
        service: &Service,
        fresh: bool,
    ) -> io::Result<Upstream> {
        match self.reach(target, service, fresh).await {
            Err(error) if is_exhausted(&error) && self.worker.make_room() => {
                self.reach(target, service, fresh).await
            }
            connected => connected,
        }
    }

    async fn reach(&self, target: &Target, service: &Service, fresh: bool) -> io::Result<Upstream> {
        let place = self.worker.crowd.place()?;
        let within = self.bounds().connect;
        match service.settings.wire.protocol {
            wire::Protocol::Http1 => Upstream::connect(&target.address, within, place).await,
            wire::Protocol::H2c => {
                let times = (within, service.settings.pool_time);
                self.worker.trunks.connect(target, times, fresh, place).await
            }
        }
    }

    fn idle_line(&self, claim: &Claim, service: &Service, course: &Course) -> Option<Box<Line>> {
        if course.fresh {
            return None;
        }
        match service.settings.wire.protocol {
            wire::Protocol::Http1 => {
                self.worker.pool.take(&claim.target, self.asked, !course.repeatable)
            }
            wire::Protocol::H2c => {
                let upstream = self.worker.trunks.idle(&claim.target)?;
                Some(Box::new(Line::new(upstream)))
            }
        }
    }

    /// Keeps a connection for other requests, unless the rest of this one would come over it.
    fn keep(&mut self, claim: &Claim, line: Box<Line>, service: &Service) {
        if self.upload.as_ref().is_none_or(|upload| upload.is_through()) {
            let promised = self.tray.as_ref().and_then(|tray| tray.response.keep_alive_timeout);
            let now = Instant::now();
            self.ended = Some(now);
            if matches!(line.upstream.socket, Socket::Strand(_)) {
                return;
            }
            self.worker.pool.put(&claim.target, line, promised, (&service.settings, now));
        }
    }

    /// Claims a target as of now. A picture that went stale between the two steps is taken anew.
    fn claim(
        &mut self,
        found: &mut Found,
        tried: &[u64],
        called: bool,
    ) -> Result<Claim, Unclaimed> {
        let claim = self.claim_of(found, tried, called);
        self.unless_stale(claim, found, tried, called)
    }

    fn unless_stale(
        &mut self,
        claim: Result<Claim, Unclaimed>,
        found: &mut Found,
        tried: &[u64],
        called: bool,
    ) -> Result<Claim, Unclaimed> {
        if let Err(Unclaimed::Nobody) = claim {
            // In the middle of a change that retires one target and adds another, neither picture has anybody.
            self.worker.settle();
            self.find(found)?;
            return self.claim_of(found, tried, called);
        }
        claim
    }

    fn find(&self, found: &mut Found) -> Result<(), Unclaimed> {
        let (head, request) = (self.desk.incoming.data(), &self.desk.request);
        let host = Host::parse(request.host.of(head)).ok_or(Unclaimed::Unknown)?;
        let path = request.target.of(head);
        *found = self.worker.find(&host, path).map_err(|_| Unclaimed::Unknown)?;
        Ok(())
    }

    fn claim_of(&mut self, found: &Found, tried: &[u64], called: bool) -> Result<Claim, Unclaimed> {
        let service: &Service = found.service().ok_or(Unclaimed::Nobody)?;
        let (head, request) = (self.desk.incoming.data(), &self.desk.request);
        let asker = Asker { client: self.origin.client(), head, request, tried, called };
        self.cookies.clear();
        self.worker.claim(service, &asker, &mut self.cookies)
    }

    /// Waits in line until there is somebody to ask.
    async fn wait(
        &mut self,
        found: &mut Found,
        tried: &[u64],
        mut hold: Hold,
    ) -> Result<Claim, End> {
        let joined = Instant::now();
        let mut place = join(&hold)?;
        // Who has not been called yet is not the first in line.
        hold.again = None;
        loop {
            match self.turn(&place, joined + hold.time, hold.again).await {
                Waited::Called => {}
                Waited::TooLong => return Err(End::Refused(hold.refusal)),
                Waited::ClientGone => return Err(End::Cut),
            }
            let claim = match self.find(found) {
                Ok(()) => self.claim(found, tried, true),
                Err(unclaimed) => Err(unclaimed),
            };
            match claim {
                Ok(claim) => {
                    self.asked = Instant::now();
                    return Ok(claim);
                }
                Err(Unclaimed::Held(next)) => {
                    if !place.is_in(&next.queue) {
                        place = join(&next)?;
                    }
                    hold = next;
                }
                Err(unclaimed) => return Err(end_of(unclaimed, Refusal::NoTarget)),
            }
        }
    }

    /// `again`: when it is time to try without having been called.
    async fn turn(&mut self, place: &Place, until: Instant, again: Option<StdInstant>) -> Waited {
        let soon = Instant::now() + limits::TRIAL_PAUSE;
        let again = again.map_or(until, |again| Instant::from_std(again).max(soon));
        self.timer.set(until.min(again));
        let bounds = self.own_bounds.as_deref().unwrap_or(&self.front.bounds);
        let mut presence = Presence::of(self.stream, bounds, self.started);
        poll_fn(|cx| {
            if place.poll_turn(cx).is_ready() {
                return Poll::Ready(Waited::Called);
            }
            if presence.poll_gone(cx).is_ready() {
                return Poll::Ready(Waited::ClientGone);
            }
            let waited = if again < until { Waited::Called } else { Waited::TooLong };
            self.timer.poll(cx).map(|()| waited)
        })
        .await
    }
}

fn join(hold: &Hold) -> Result<Place, End> {
    hold.queue.join(hold.bound).ok_or(End::Refused(hold.refusal))
}

fn end_of(unclaimed: Unclaimed, refusal: Refusal) -> End {
    match unclaimed {
        Unclaimed::Nobody => End::Refused(refusal),
        Unclaimed::Unknown => End::Refused(Refusal::UnknownHost),
        Unclaimed::Held(hold) => End::Refused(hold.refusal),
        Unclaimed::Closed(maintenance) => End::Closed(maintenance),
    }
}

impl Course {
    /// Tells an ejected target that it is back, and one whose status is a failure that it failed. `true`: another target is asked
    /// instead of passing it on. `untouched`: the client has seen nothing yet.
    fn declines(&self, service: &Service, claim: &Claim, status: u16, untouched: bool) -> bool {
        let rules = &service.settings.wire;
        if rules.eject.statuses.contains(&status) {
            claim.failed(&rules.eject);
        } else {
            claim.begun();
        }
        rules.retry.statuses.contains(&status)
            && self.repeatable
            && !self.last
            && untouched
            && service.has_other(claim.target.number, &self.tried)
            && service.ledger.may_repeat(&rules.retry)
    }

    /// How it ends, or `None` if it goes on.
    fn after_no_connection(
        &mut self,
        error: &io::Error,
        service: &Service,
        claim: &Claim,
    ) -> Option<End> {
        self.refusal = refusal_of_connect(error);
        if self.refusal != Refusal::Exhausted {
            claim.failed(&service.settings.wire.eject);
        }
        self.tried.push(claim.target.number);
        self.last.then_some(End::Refused(self.refusal))
    }

    /// The same again, over a new connection. That happens once: a new one is not one that was used.
    fn afresh(&mut self) -> Option<End> {
        self.fresh = true;
        self.attempts = self.attempts.saturating_sub(1);
        None
    }

    /// How it ends after an attempt that has brought nothing, or `None` if it goes on.
    fn after(
        &mut self,
        attempted: &Attempted,
        service: &Service,
        claim: &Claim,
        reused: bool,
    ) -> Option<End> {
        let rules = &service.settings.wire;
        match attempted {
            // Who closes a connection that was idle does what it may.
            Attempted::Unsent if reused => return self.afresh(),
            Attempted::Unanswered if reused => {
                self.refusal = Refusal::NoAnswer;
                if !self.repeatable || !service.ledger.may_repeat(&rules.retry) {
                    return Some(End::Refused(self.refusal));
                }
                return self.afresh();
            }
            Attempted::Unsent => {
                claim.failed(&rules.eject);
                self.refusal = Refusal::NoAnswer;
                self.tried.push(claim.target.number);
            }
            Attempted::Unanswered => {
                claim.failed(&rules.eject);
                self.refusal = Refusal::NoAnswer;
                let other = service.has_other(claim.target.number, &self.tried);
                if !(self.repeatable && other && service.ledger.may_repeat(&rules.retry)) {
                    return Some(End::Refused(self.refusal));
                }
                self.tried.push(claim.target.number);
            }
            Attempted::Refused(refusal) => {
                if is_of_target(*refusal) {
                    claim.failed(&rules.eject);
                }
                return Some(End::Refused(*refusal));
            }
            Attempted::Cut => {
                claim.failed(&rules.eject);
                return Some(End::Cut);
            }
            Attempted::Ended => return Some(End::Ended),
            Attempted::Gone | Attempted::Declined | Attempted::Relayed(_) => return Some(End::Cut),
        }
        self.last.then_some(End::Refused(Refusal::NoAnswer))
    }
}

/// Whether it is the target's fault.
fn is_of_target(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NoAnswer | Refusal::BadAnswer(_) | Refusal::SlowAnswer)
}

fn refusal_of_connect(error: &io::Error) -> Refusal {
    if is_exhausted(error) {
        Refusal::Exhausted
    } else if error.kind() == io::ErrorKind::TimedOut {
        Refusal::UnreachableInTime
    } else {
        Refusal::Unreachable
    }
}
