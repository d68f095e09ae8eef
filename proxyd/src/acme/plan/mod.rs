//! When which certificate is ordered, and from whom: the core, without clock, file or network.
//!
//! ```text
//!   unread ──what is stored is known──▶ idle
//!   idle ──due──▶ checking ──something to order──▶ ordering ──issued──▶ idle, until it is due
//!     ▲               │                             │    │
//!     │               └ all names are blocked,      │    └──failed──▶ ordering from the next authority
//!     └──── later ────┴ or there is no need ────────┴──failed, and no authority is left
//! ```
//!
//! What it wants done it says as effects, each with a turn; what came of it is told as an event with the
//! same turn, and of an earlier turn nothing is heard.

mod entry;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use proxyd_wire as wire;

use self::entry::{Doing, Entry};
pub(crate) use self::schedule::Time;
use self::schedule::{Random, look_again};
use super::domain::Domain;
use super::failure::{Cause, Failure};
use crate::limits;
use crate::name::Name;

/// Tells what was begun once from what was begun before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(u64);

/// The certificate that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) covers: BTreeSet<Domain>,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    pub(crate) fingerprint: String,
    /// The directory of the authority that it is from.
    pub(crate) authority: String,
}

/// What is known of tries that failed, across the end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) failure: Failure,
    pub(crate) authority: String,
    pub(crate) at: Time,
    pub(crate) tries: u32,
    pub(crate) next: Time,
}

/// Something has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// These are wanted, from these authorities, and no others. `anew`: what has failed may succeed now.
    Wanted {
        authorities: Vec<String>,
        certificates: BTreeMap<Name, BTreeSet<Domain>>,
        anew: bool,
    },
    /// What the storage has of one.
    Found {
        name: Name,
        held: Option<Held>,
        past: Option<Past>,
    },
    /// Whether it is ours to obtain.
    Active(bool),
    /// Its names were looked for. `silent`: we do not answer at port 80 of one, as far as can be seen from here.
    Checked {
        turn: Turn,
        name: Name,
        blocked: BTreeMap<Domain, Failure>,
        silent: bool,
    },
    Issued {
        turn: Turn,
        name: Name,
        held: Held,
    },
    Failed {
        turn: Turn,
        name: Name,
        failure: Failure,
    },
    /// When the authority suggests to renew, and in how many seconds it wants to be asked that again.
    /// `None`: it does not say.
    Suggested {
        name: Name,
        window: Option<(Time, Time)>,
        again: Time,
    },
    /// Somebody wants it to be ordered now.
    Asked {
        name: Name,
    },
    /// Time has passed.
    Woken,
}

/// Something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Check {
        turn: Turn,
        name: Name,
        names: BTreeSet<Domain>,
    },
    /// `tries`: how many have failed; another way to prove may be better. `replaces`: it is for the one that is
    /// there.
    Order {
        turn: Turn,
        name: Name,
        names: BTreeSet<Domain>,
        authority: String,
        tries: u32,
        silent: bool,
        replaces: bool,
    },
    AskWindow {
        name: Name,
        authority: String,
    },
    /// Nothing is to come of what was begun.
    Abandon {
        turn: Turn,
    },
    /// To be kept across the end of the process; `None`: there is nothing to know any more.
    Remember {
        name: Name,
        past: Option<Past>,
    },
}

/// An authority, as far as it matters when to ask it.
#[derive(Clone, Debug)]
struct Authority {
    directory: String,
    /// It was not well, and said until when.
    closed_until: Time,
}

/// All certificates that are wanted.
#[derive(Debug)]
pub(crate) struct Planner {
    authorities: Vec<Authority>,
    entries: BTreeMap<Name, Entry>,
    active: bool,
    turns: u64,
    random: Random,
    now: Time,
}

impl Planner {
    pub(crate) fn new(seed: u64) -> Planner {
        Planner {
            authorities: Vec::new(),
            entries: BTreeMap::new(),
            active: false,
            turns: 0,
            random: Random::new(seed),
            now: Time::MIN,
        }
    }

    pub(crate) fn step(&mut self, now: Time, event: Event) -> Vec<Effect> {
        if now < self.now {
            // What was put off by a clock that was wrong would wait for it to be right.
            self.entries.values_mut().for_each(|entry| entry.turn_back(self.now - now, now));
            for authority in &mut self.authorities {
                authority.closed_until = authority.closed_until.min(now + schedule::DAY);
            }
        }
        self.now = now;
        let mut effects = Vec::new();
        match event {
            Event::Wanted { authorities, certificates, anew } => {
                self.want(authorities, certificates, anew, &mut effects);
            }
            Event::Found { name, held, past } => self.found(&name, held, past),
            Event::Active(active) => self.activate(active, &mut effects),
            Event::Checked { turn, name, blocked, silent } => {
                self.checked(turn, &name, blocked, silent, &mut effects);
            }
            Event::Issued { turn, name, held } => self.issued(turn, &name, held, &mut effects),
            Event::Failed { turn, name, failure } => {
                self.failed(turn, &name, failure, &mut effects);
            }
            Event::Suggested { name, window, again } => {
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.suggested(now, window, again, &mut self.random);
                }
            }
            Event::Asked { name } => {
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.ask();
                }
            }
            Event::Woken => {}
        }
        self.begin(&mut effects);
        effects
    }

    /// When there is something to do next; `None`: not before something happens.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if !self.active || self.authorities.is_empty() {
            return None;
        }
        let is_full = self.under_way() >= limits::ACME_ORDERS;
        let entries = self.entries.values();
        let orders = entries.clone().filter(|_| !is_full).filter_map(Entry::due);
        orders.chain(entries.filter_map(Entry::asks_at)).min()
    }

    /// The names of all that are wanted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.entries.keys()
    }

    /// How one stands.
    pub(crate) fn view(&self, name: &Name) -> Option<wire::AcmeCertificateView> {
        self.entries.get(name).map(|entry| entry.view(self.now))
    }

    fn turn(&mut self) -> Turn {
        self.turns += 1;
        Turn(self.turns)
    }

    fn under_way(&self) -> usize {
        self.entries.values().filter(|entry| entry.turn().is_some()).count()
    }

    fn want(
        &mut self,
        authorities: Vec<String>,
        certificates: BTreeMap<Name, BTreeSet<Domain>>,
        anew: bool,
        effects: &mut Vec<Effect>,
    ) {
        let closed_until = |directory: &String| {
            let old = self.authorities.iter().find(|old| old.directory == *directory);
            old.map_or(Time::MIN, |old| old.closed_until)
        };
        let others = anew
            || self.authorities.len() != authorities.len()
            || self.authorities.iter().zip(&authorities).any(|(old, new)| old.directory != *new);
        self.authorities = authorities
            .into_iter()
            .map(|directory| Authority { closed_until: closed_until(&directory), directory })
            .collect();
        self.entries.retain(|name, entry| {
            let stays = certificates.contains_key(name);
            effects.extend(entry.turn().filter(|_| !stays).map(|turn| Effect::Abandon { turn }));
            stays
        });
        for (name, names) in certificates {
            let entry = self.entries.entry(name).or_insert_with(|| Entry::new(names.clone()));
            let turn = entry.want(names, others);
            effects.extend(turn.map(|turn| Effect::Abandon { turn }));
        }
    }

    fn found(&mut self, name: &Name, held: Option<Held>, past: Option<Past>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.read();
        if let Some(held) = held {
            // Not all at once, where there are many.
            let ask_at = self.now + self.random.below(60 * schedule::MINUTE);
            entry.hold(held, ask_at, &mut self.random);
        }
        match past {
            Some(past) => entry.remember(past, self.now),
            None => entry.forget(),
        }
    }

    fn activate(&mut self, active: bool, effects: &mut Vec<Effect>) {
        self.active = active;
        if !active {
            for entry in self.entries.values_mut() {
                effects.extend(entry.rest().map(|turn| Effect::Abandon { turn }));
            }
        }
    }

    fn checked(
        &mut self,
        turn: Turn,
        name: &Name,
        blocked: BTreeMap<Domain, Failure>,
        silent: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if !matches!(&entry.doing, Doing::Checking { turn: own } if *own == turn) {
            return;
        }
        match entry.checked(self.now, blocked) {
            Some(names) => {
                entry.doing = Doing::Ordering { turn, names, asked: Vec::new(), silent };
                self.ask_next(name, None, effects);
            }
            None if entry.blocked.is_empty() => entry.put_off(None),
            None => {
                let wait = look_again(entry.rounds) + self.random.below(schedule::MINUTE);
                entry.put_off(Some(self.now + wait));
            }
        }
    }

    fn issued(&mut self, turn: Turn, name: &Name, held: Held, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Some(ordered) = entry.ordered(turn) else { return };
        if !held.covers.is_superset(ordered) {
            let said = "the certificate that it made is not for all names that were ordered";
            let failure = Failure::new(Cause::Authority, said);
            return self.failed(turn, name, failure, effects);
        }
        entry.hold(held, self.now, &mut self.random);
        entry.note_made(self.now);
        entry.succeed();
        if !entry.blocked.is_empty() {
            entry.rounds += 1;
            let wait = look_again(entry.rounds) + self.random.below(schedule::MINUTE);
            entry.put_off(Some(self.now + wait));
        }
        effects.push(Effect::Remember { name: name.clone(), past: None });
    }

    fn failed(&mut self, turn: Turn, name: &Name, failure: Failure, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Doing::Ordering { turn: own, asked, .. } = &entry.doing else { return };
        if *own != turn {
            return;
        }
        let asked = asked.last().cloned().unwrap_or_default();
        if let Some(after) = failure.retry_after {
            let until = self.now + after.clamp(0, schedule::CLOSED);
            entry.deferred.insert(asked.clone(), until);
            if failure.cause == Cause::Authority
                && let Some(closed) = self.authorities.iter_mut().find(|a| a.directory == asked)
            {
                closed.closed_until = until;
            }
        }
        let failed = (asked, failure);
        self.ask_next(name, Some(failed), effects);
    }

    /// Asks the next authority that may be asked; if there is none, gives up for now.
    fn ask_next(
        &mut self,
        name: &Name,
        failed: Option<(String, Failure)>,
        effects: &mut Vec<Effect>,
    ) {
        let turn = self.turn();
        let now = self.now;
        let Some(entry) = self.entries.get_mut(name) else { return };
        let is_ours = failed.as_ref().is_some_and(|(_, failure)| failure.is_ours());
        let until = |directory: &str, closed_until: Time| {
            entry.deferred.get(directory).copied().unwrap_or(Time::MIN).max(closed_until)
        };
        let Doing::Ordering { names, asked, silent, .. } = &entry.doing else { return };
        let next = self.authorities.iter().find(|next| {
            !is_ours
                && !asked.contains(&next.directory)
                && until(&next.directory, next.closed_until) <= now
        });
        if let Some(next) = next {
            let (names, silent, mut asked) = (names.clone(), *silent, asked.clone());
            asked.push(next.directory.clone());
            effects.push(Effect::Order {
                turn,
                name: name.clone(),
                names: names.clone(),
                authority: next.directory.clone(),
                tries: entry.rounds,
                silent,
                replaces: entry.held.as_ref().is_some_and(|h| h.authority == next.directory),
            });
            entry.doing = Doing::Ordering { turn, names, asked, silent };
            return;
        }
        // Not before one of them wants to be asked.
        let opens = self.authorities.iter().map(|a| until(&a.directory, a.closed_until)).min();
        entry.rounds += 1;
        let wait = schedule::backoff(entry.rounds) + self.random.below(schedule::MINUTE);
        let next = (now + wait).max(opens.unwrap_or(Time::MIN));
        entry.put_off(Some(next));
        let failed = failed.or_else(|| {
            let past = entry.past.as_ref()?;
            Some((past.authority.clone(), past.failure.clone()))
        });
        if let Some((authority, failure)) = failed {
            let past = Past { failure, authority, at: now, tries: entry.rounds, next };
            entry.past = Some(past.clone());
            effects.push(Effect::Remember { name: name.clone(), past: Some(past) });
        }
    }

    /// Begins what is due, as far as there is room.
    fn begin(&mut self, effects: &mut Vec<Effect>) {
        if !self.active || self.authorities.is_empty() {
            return;
        }
        let now = self.now;
        let mut room = limits::ACME_ORDERS.saturating_sub(self.under_way());
        for (name, entry) in &mut self.entries {
            if let Some(authority) = entry.begin_to_ask(now)
                && self.authorities.iter().any(|known| known.directory == authority)
            {
                effects.push(Effect::AskWindow { name: name.clone(), authority });
            }
            if room > 0 && entry.due().is_some_and(|due| due <= now) {
                room -= 1;
                self.turns += 1;
                let turn = Turn(self.turns);
                entry.doing = Doing::Checking { turn };
                let names = entry.names.clone();
                effects.push(Effect::Check { turn, name: name.clone(), names });
            }
        }
    }
}
