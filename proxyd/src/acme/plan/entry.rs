//! One certificate that is wanted: what there is of it, what is being done, and when that is due.

use std::collections::{BTreeMap, BTreeSet};

use proxyd_wire as wire;

use super::schedule::{self, DAY, MINUTE, Random, Time, backoff, suggested_renewal, usual_renewal};
use super::{Held, Past, Turn};
use crate::acme::domain::Domain;
use crate::acme::failure::Failure;

/// What is being done.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    /// Nothing, before it is known what the storage has of it.
    Unread,
    Idle,
    Checking {
        turn: Turn,
    },
    Ordering {
        turn: Turn,
        names: BTreeSet<Domain>,
        /// The authorities that were asked in this round; the last one is being asked.
        asked: Vec<String>,
        silent: bool,
    },
}

/// When an authority is asked when to renew.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Never,
    At(Time),
    Now,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) names: BTreeSet<Domain>,
    pub(super) held: Option<Held>,
    pub(super) doing: Doing,
    /// What is in the way of names, as it was seen last.
    pub(super) blocked: BTreeMap<Domain, Failure>,
    /// The last try that failed, if none has succeeded since.
    pub(super) past: Option<Past>,
    /// Rounds in a row that have left something to do.
    pub(super) rounds: u32,
    /// Until when an authority does not want to be asked for this one.
    pub(super) deferred: BTreeMap<String, Time>,
    /// When it is tried again, whatever else there is.
    retry_at: Option<Time>,
    /// When the one that is there is to be replaced.
    renew_at: Time,
    /// When the last one was made here, and how many in a row were replaced soon after.
    made: Option<Time>,
    hasty: u32,
    /// It is to be ordered though it need not be.
    is_asked_for: bool,
    window: Option<(Time, Time)>,
    asks: Asks,
}

impl Entry {
    pub(super) fn new(names: BTreeSet<Domain>) -> Entry {
        Entry {
            names,
            held: None,
            doing: Doing::Unread,
            blocked: BTreeMap::new(),
            past: None,
            rounds: 0,
            deferred: BTreeMap::new(),
            retry_at: None,
            renew_at: Time::MAX,
            made: None,
            hasty: 0,
            is_asked_for: false,
            window: None,
            asks: Asks::Never,
        }
    }

    /// What is under way.
    pub(super) fn turn(&self) -> Option<Turn> {
        match self.doing {
            Doing::Unread | Doing::Idle => None,
            Doing::Checking { turn } | Doing::Ordering { turn, .. } => Some(turn),
        }
    }

    /// What is being ordered in this turn.
    pub(super) fn ordered(&self, turn: Turn) -> Option<&BTreeSet<Domain>> {
        match &self.doing {
            Doing::Ordering { turn: own, names, .. } if *own == turn => Some(names),
            Doing::Unread | Doing::Idle | Doing::Checking { .. } | Doing::Ordering { .. } => None,
        }
    }

    /// When it is to be ordered, or looked at; `None` while it is.
    pub(super) fn due(&self) -> Option<Time> {
        match (&self.doing, self.retry_at) {
            (Doing::Unread | Doing::Checking { .. } | Doing::Ordering { .. }, _) => None,
            (Doing::Idle, Some(retry_at)) => Some(retry_at),
            (Doing::Idle, None) if self.covers_all() => Some(self.renewal()),
            (Doing::Idle, None) => Some(Time::MIN),
        }
    }

    /// A clock that is wrong, or an authority that never has enough, is not followed at once each time.
    fn renewal(&self) -> Time {
        match self.made {
            Some(made) if self.hasty > 0 => self.renew_at.max(made + backoff(self.hasty)),
            Some(_) | None => self.renew_at,
        }
    }

    fn covers_all(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.covers.is_superset(&self.names))
    }

    /// Other names, or other authorities, may have what failed succeed. Returns what is to be abandoned.
    pub(super) fn want(&mut self, names: BTreeSet<Domain>, others: bool) -> Option<Turn> {
        if self.names == names && !others {
            return None;
        }
        self.names = names;
        self.blocked.retain(|domain, _| self.names.contains(domain));
        self.rounds = 0;
        self.retry_at = None;
        if let (Asks::Now, true) = (self.asks, others) {
            self.asks = Asks::At(Time::MIN);
        }
        self.rest()
    }

    /// Does nothing any more, for now. Returns what is to be abandoned.
    pub(super) fn rest(&mut self) -> Option<Turn> {
        let turn = self.turn()?;
        self.doing = Doing::Idle;
        Some(turn)
    }

    /// What the storage has of it is known.
    pub(super) fn read(&mut self) {
        if let Doing::Unread = self.doing {
            self.doing = Doing::Idle;
        }
    }

    pub(super) fn hold(&mut self, held: Held, ask_at: Time, random: &mut Random) {
        self.renew_at = usual_renewal(held.not_before, held.not_after, random);
        self.window = None;
        self.asks = Asks::At(ask_at);
        self.held = Some(held);
    }

    /// The one that is held was made just now.
    pub(super) fn note_made(&mut self, now: Time) {
        let Some(held) = &self.held else { return };
        let soon = held.not_after.saturating_sub(held.not_before) / 4;
        let is_hasty =
            self.made.is_some_and(|made| (made..made.saturating_add(soon)).contains(&now));
        self.hasty = if is_hasty { self.hasty + 1 } else { 0 };
        self.made = Some(now);
    }

    pub(super) fn remember(&mut self, past: Past, now: Time) {
        self.rounds = past.tries;
        // No later than a clock that goes right would have it. One that went wrong is not waited for.
        let most = if past.at > now { DAY } else { schedule::CLOSED };
        self.retry_at = Some(past.next.min(now + most + MINUTE));
        self.past = Some(past);
    }

    /// Nothing is known of tries that have failed.
    pub(super) fn forget(&mut self) {
        self.past = None;
        self.rounds = 0;
        self.retry_at = None;
    }

    pub(super) fn succeed(&mut self) {
        self.doing = Doing::Idle;
        self.forget();
        self.is_asked_for = false;
        self.deferred.clear();
    }

    /// `None`: until it is due.
    pub(super) fn put_off(&mut self, until: Option<Time>) {
        self.doing = Doing::Idle;
        self.retry_at = until;
        self.is_asked_for = false;
    }

    pub(super) fn ask(&mut self) {
        self.is_asked_for = true;
        self.retry_at = Some(Time::MIN);
    }

    /// The clock has gone back by so much, to `now`.
    pub(super) fn turn_back(&mut self, by: Time, now: Time) {
        if let Some(retry_at) = &mut self.retry_at {
            *retry_at = retry_at.saturating_sub(by).max(now);
        }
        self.made = self.made.map(|made| made.saturating_sub(by));
        for until in self.deferred.values_mut() {
            *until = until.saturating_sub(by);
        }
        if let Asks::At(at) = &mut self.asks {
            *at = at.saturating_sub(by);
        }
    }

    /// Which names are ordered. `None`: there is nothing to order for now.
    pub(super) fn checked(
        &mut self,
        now: Time,
        blocked: BTreeMap<Domain, Failure>,
    ) -> Option<BTreeSet<Domain>> {
        // A name that was proved before is not given up for what may be a passing trouble of the DNS.
        let covered = |domain: &Domain| {
            self.rounds < 2 && self.held.as_ref().is_some_and(|held| held.covers.contains(domain))
        };
        let is_out = |domain: &Domain| blocked.contains_key(domain) && !covered(domain);
        let names: BTreeSet<Domain> =
            self.names.iter().filter(|domain| !is_out(domain)).cloned().collect();
        let is_there = self.held.as_ref().is_some_and(|held| held.covers.is_superset(&names));
        let needed = !is_there || self.renewal() <= now || self.is_asked_for;
        self.blocked = blocked;
        if !names.is_empty() && needed {
            return Some(names);
        }
        self.rounds = if self.blocked.is_empty() { 0 } else { self.rounds + 1 };
        None
    }

    pub(super) fn asks_at(&self) -> Option<Time> {
        match self.asks {
            Asks::At(at) => Some(at),
            Asks::Never | Asks::Now => None,
        }
    }

    /// The authority that is to be asked when to renew, if it is time for that.
    pub(super) fn begin_to_ask(&mut self, now: Time) -> Option<String> {
        let at = self.asks_at()?;
        let held = self.held.as_ref()?;
        if at > now {
            return None;
        }
        self.asks = Asks::Now;
        Some(held.authority.clone())
    }

    pub(super) fn suggested(
        &mut self,
        now: Time,
        window: Option<(Time, Time)>,
        again: Time,
        random: &mut Random,
    ) {
        let Some(held) = &self.held else { return };
        self.asks = Asks::At(now + again.clamp(MINUTE, DAY));
        if let Some(window) = window
            && self.window != Some(window)
        {
            self.window = Some(window);
            self.renew_at = suggested_renewal(window, (held.not_before, held.not_after), random);
        }
    }

    pub(super) fn view(&self, now: Time) -> wire::AcmeCertificateView {
        let held = self.held.as_ref();
        let is_there = held.is_some_and(|held| held.not_after >= now);
        let ordering = self.turn().is_some();
        let state = match (is_there, ordering) {
            (true, _) => wire::AcmeState::Valid,
            (false, true) => wire::AcmeState::Ordering,
            (false, false) if self.past.is_some() || !self.blocked.is_empty() => {
                wire::AcmeState::Failed
            }
            (false, false) => wire::AcmeState::Waiting,
        };
        let failure = self.past.as_ref().map(|past| wire::AcmeFailure {
            kind: past.failure.word().to_owned(),
            message: past.failure.sentence(),
            authority: past.authority.clone(),
            at: past.at,
            tries: past.tries,
        });
        let strings =
            |domains: &BTreeSet<Domain>| domains.iter().map(ToString::to_string).collect();
        wire::AcmeCertificateView {
            names: strings(&self.names),
            state,
            covers: held.map(|held| strings(&held.covers)).unwrap_or_default(),
            not_before: held.map(|held| held.not_before),
            not_after: held.map(|held| held.not_after),
            fingerprint: held.map(|held| held.fingerprint.clone()),
            authority: held.map(|held| held.authority.clone()),
            renew_at: held.map(|_| self.renewal()),
            ordering,
            blocked: self
                .blocked
                .iter()
                .map(|(domain, failure)| (domain.to_string(), failure.sentence()))
                .collect(),
            failure,
            next_try: self.retry_at.filter(|at| *at > schedule::DAY),
        }
    }
}
