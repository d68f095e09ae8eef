//! Choosing one of the targets that do the same.
//!
//! Chosen is who has room and is not ejected. If the first choice is not fit, all are gone through, in
//! the order that the policy prefers. Counting the request in is the last word: a target that was
//! retired or filled in between is passed over.

use std::sync::Arc;
use std::time::Instant;

use proxyd_wire as wire;

use crate::health::Sight;
use crate::ledger::Ledger;
use crate::rendezvous::{self, Bid, fingerprint};
use crate::rounds::Rounds;
use crate::target::{Look, Target};

/// A target as its service has it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) target: Arc<Target>,
    pub(crate) group: wire::Group,
    weight: u16,
    bound: u64,
    /// By which it is known in cookies and to those who hash.
    pub(crate) seed: u64,
}

/// A target that a request was counted in to.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) target: Arc<Target>,
    pub(crate) sight: Sight,
    pub(crate) group: wire::Group,
    pub(crate) seed: u64,
}

/// By which policy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    LeastLoaded,
    RoundRobin,
    Hash(u64),
}

/// What a choice depends on beside the policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) random: u64,
    /// Targets that were asked already, by their numbers.
    pub(crate) tried: &'a [u64],
    /// Of a hundred targets so many must be left, or ejection counts for nothing. More than a hundred
    /// cannot be.
    pub(crate) panic: u32,
    /// Whether ejected ones are better than none.
    pub(crate) last_resort: bool,
}

impl Member {
    pub(crate) fn new(target: Arc<Target>, wire: &wire::Target) -> Member {
        let seed = fingerprint(target.label.as_bytes());
        let bound = wire.max_in_flight.map_or(u64::MAX, u64::from);
        Member { target, group: wire.group, weight: wire.weight, bound, seed }
    }

    fn is_full(&self, look: Look) -> bool {
        look.in_flight() >= self.bound
    }

    /// Whether it could be counted in to, as far as it is up to itself alone.
    fn is_possible(&self, look: Look, choice: &Choice<'_>) -> bool {
        !look.is_retired() && !self.is_full(look) && !choice.tried.contains(&self.target.number)
    }

    /// Counts the request in if the target is fit. `all`: ejected ones are, too.
    pub(crate) fn claim(&self, choice: &Choice<'_>, all: impl Fn() -> bool) -> Option<Held> {
        let look = self.target.look();
        if !self.is_possible(look, choice) {
            return None;
        }
        let trial = look.is_ejected() && self.target.try_out();
        if look.is_ejected() && !trial && !all() {
            return None;
        }
        let Some(sight) = self.target.claim(self.bound) else {
            if trial {
                self.target.untold();
            }
            return None;
        };
        Some(Held {
            target: Arc::clone(&self.target),
            sight: if trial { Sight::Trial } else { sight },
            group: self.group,
            seed: self.seed,
        })
    }
}

/// Targets that do the same, but for those of weight 0.
#[derive(Debug, Default)]
pub(crate) struct Group {
    members: Vec<Member>,
    /// Where each one's share ends; none if all weigh the same.
    ends: Vec<u64>,
    rounds: Rounds,
}

impl Group {
    pub(crate) fn new(members: Vec<Member>, balance: &wire::Balance) -> Group {
        let weights: Vec<u16> = members.iter().map(|member| member.weight).collect();
        let same = weights.iter().all(|weight| weights.first() == Some(weight));
        let ends = weights.iter().scan(0, |sum, weight| {
            *sum += u64::from(*weight);
            Some(*sum)
        });
        let ends = if same { Vec::new() } else { ends.collect() };
        let rounds = match balance {
            wire::Balance::RoundRobin => Rounds::new(&weights),
            wire::Balance::LeastLoaded | wire::Balance::Hash(_) => Rounds::default(),
        };
        Group { members, ends, rounds }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Claims the one that the policy chooses.
    pub(crate) fn claim(&self, by: By, ledger: &Ledger, choice: &Choice<'_>) -> Option<Held> {
        let first = match by {
            By::LeastLoaded => self.less_loaded_of_two(choice),
            By::RoundRobin => self.rounds.at(ledger.next_turn()),
            By::Hash(key) => self.highest_bidder(key),
        };
        let first = first.and_then(|at| self.members.get(at));
        let all = || self.is_in_panic(choice);
        first
            .and_then(|member| member.claim(choice, all))
            .or_else(|| self.claim_any(by, ledger, choice))
    }

    /// Whether somebody who could be asked has as many requests as he takes.
    pub(crate) fn is_full(&self, choice: &Choice<'_>) -> bool {
        self.members.iter().any(|member| {
            let look = member.target.look();
            let tried = choice.tried.contains(&member.target.number);
            !look.is_retired() && !tried && member.is_full(look)
        })
    }

    /// When somebody who is ejected, but could be counted in to, may be tried again.
    pub(crate) fn next_trial(&self, choice: &Choice<'_>) -> Option<Instant> {
        let possible = |member: &&Member| member.is_possible(member.target.look(), choice);
        self.members.iter().filter(possible).filter_map(|member| member.target.due_at()).min()
    }

    /// Whether there is somebody fit but the one of this number.
    pub(crate) fn has_other(&self, number: u64, choice: &Choice<'_>) -> bool {
        self.members.iter().any(|member| {
            let look = member.target.look();
            member.target.number != number && !look.is_ejected() && member.is_possible(look, choice)
        })
    }

    /// Whether so few are left that ejection counts for nothing.
    fn is_in_panic(&self, choice: &Choice<'_>) -> bool {
        let (mut live, mut well) = (0_u64, 0_u64);
        for member in &self.members {
            let look = member.target.look();
            if !look.is_retired() && !choice.tried.contains(&member.target.number) {
                live += 1;
                well += u64::from(!look.is_ejected());
            }
        }
        (well == 0 && choice.last_resort) || well * 100 < live * u64::from(choice.panic)
    }

    /// Two are picked at random by their weights, and the one that has less to do for its weight is
    /// taken. One that is not fit loses.
    fn less_loaded_of_two(&self, choice: &Choice<'_>) -> Option<usize> {
        if let [_] = self.members.as_slice() {
            return Some(0);
        }
        let (one, other) = self.two(choice.random)?;
        let (first, second) = (self.members.get(one)?, self.members.get(other)?);
        let (look, other_look) = (first.target.look(), second.target.look());
        let fit = |member: &Member, look: Look| {
            member.is_possible(look, choice)
                && (!look.is_ejected() || member.target.is_due() || self.is_in_panic(choice))
        };
        let less = other_look.in_flight() * u64::from(first.weight)
            < look.in_flight() * u64::from(second.weight);
        let second_fit = fit(second, other_look);
        let other_wins = second_fit && (less || !fit(first, look));
        Some(if other_wins { other } else { one })
    }

    /// Two different ones if there are two, each as likely as its weight has it.
    fn two(&self, random: u64) -> Option<(usize, usize)> {
        let place = |number: u64| usize::try_from(number).ok();
        if self.ends.is_empty() {
            let count = self.members.len() as u64;
            let first = random.checked_rem(count)?;
            // The second is one of the others, each as likely.
            let second = (random >> 32)
                .checked_rem(count - 1)
                .map_or(first, |step| (first + 1 + step) % count);
            return Some((place(first)?, place(second)?));
        }
        let at = |share: u64| self.ends.partition_point(|&end| end <= share);
        let sum = *self.ends.last()?;
        let first = at(random.checked_rem(sum)?);
        let start = first.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let (start, end) = (start.unwrap_or(0), *self.ends.get(first)?);
        // The share of the first is left out.
        let Some(share) = (random >> 32).checked_rem(sum - (end - start)) else {
            return Some((first, first));
        };
        Some((first, at(if share < start { share } else { share + (end - start) })))
    }

    fn highest_bidder(&self, key: u64) -> Option<usize> {
        let mut best: Option<(usize, Bid)> = None;
        for (at, member) in self.members.iter().enumerate() {
            let bid = member.bid(key);
            if best.is_none_or(|(_, highest)| bid > highest) {
                best = Some((at, bid));
            }
        }
        best.map(|(at, _)| at)
    }

    /// All are gone through, the preferred ones first.
    fn claim_any(&self, by: By, ledger: &Ledger, choice: &Choice<'_>) -> Option<Held> {
        let panic = self.is_in_panic(choice);
        let all = || panic;
        if let By::RoundRobin = by {
            // Further turns, so that who is not fit leaves its turns to all others alike.
            let turns = self.rounds.len().min(4 * self.members.len() as u64);
            let member = |turn| self.members.get(self.rounds.at(turn)?);
            let found = (0..turns).find_map(|_| member(ledger.next_turn())?.claim(choice, all));
            if found.is_some() {
                return found;
            }
        }
        let mut order: Vec<&Member> = self.members.iter().collect();
        match by {
            By::Hash(key) => order.sort_by(|a, b| {
                let (a, b) = (a.bid(key), b.bid(key));
                b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
            }),
            By::LeastLoaded | By::RoundRobin => {
                // Among those with as little to do it is anybody.
                let start = choice.random.checked_rem(order.len() as u64).unwrap_or(0);
                order.rotate_left(usize::try_from(start).unwrap_or(0));
                order.sort_by_key(|member| {
                    member.target.in_flight() * 256 / u64::from(member.weight.max(1))
                });
            }
        }
        order.into_iter().find_map(|member| member.claim(choice, all))
    }
}

impl Member {
    fn bid(&self, key: u64) -> Bid {
        rendezvous::bid(key, self.seed, self.weight)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::Address;

    fn group(wires: &[wire::Target], balance: &wire::Balance) -> Group {
        let member = |(number, wire): (usize, &wire::Target)| {
            let address = Address::parse("tcp:127.0.0.1:1").unwrap();
            let label = format!("app/app.{number}");
            Member::new(Arc::new(Target::new(number as u64, label, address, Arc::default())), wire)
        };
        Group::new(wires.iter().enumerate().map(member).collect(), balance)
    }

    fn weighing(weights: &[u16]) -> Vec<wire::Target> {
        let target = |&weight| wire::Target { weight, ..wire::Target::default() };
        weights.iter().map(target).collect()
    }

    fn choice(number: u64) -> Choice<'static> {
        let random = fingerprint(&number.to_le_bytes());
        Choice { random, tried: &[], panic: 0, last_resort: true }
    }

    fn eject(member: &Member) {
        let rule = wire::Eject {
            failures: 1,
            backoff_ms: 600_000,
            max_backoff_ms: 600_000,
            ..Default::default()
        };
        member.target.failed(Sight::Well, &rule);
    }

    /// Who gets how many of so many requests. `stay`: they all stay in flight.
    fn shares(group: &Group, by: By, requests: u64, stay: bool) -> Vec<u64> {
        let ledger = Ledger::new();
        let mut had = vec![0; group.members.len()];
        for number in 0..requests {
            let by = if let By::Hash(_) = by { By::Hash(choice(number).random) } else { by };
            let held = group.claim(by, &ledger, &choice(number)).unwrap();
            had[usize::try_from(held.target.number).unwrap()] += 1;
            if !stay {
                held.target.release();
            }
        }
        had
    }

    const POLICIES: [(By, wire::Balance); 3] = [
        (By::LeastLoaded, wire::Balance::LeastLoaded),
        (By::RoundRobin, wire::Balance::RoundRobin),
        (By::Hash(0), wire::Balance::Hash(wire::HashBy::Path)),
    ];

    #[test]
    fn shares_are_by_weight_with_every_policy() {
        for (by, balance) in POLICIES {
            let weights = [1, 4, 2, 1];
            let group = group(&weighing(&weights), &balance);
            for (had, weight) in shares(&group, by, 16_000, false).into_iter().zip(weights) {
                let fair = u64::from(weight) * 2000;
                assert!(had.abs_diff(fair) < 150, "{by:?}: {had}, not {fair}");
            }
        }
    }

    #[test]
    fn load_is_by_weight_when_nothing_ends() {
        let weights = [1, 4, 2, 1];
        let group = group(&weighing(&weights), &wire::Balance::LeastLoaded);
        for (had, weight) in shares(&group, By::LeastLoaded, 8000, true).into_iter().zip(weights) {
            let fair = u64::from(weight) * 1000;
            assert!(had.abs_diff(fair) < 50, "{had}, not {fair}");
        }
    }

    #[test]
    fn the_ejected_one_leaves_its_share_to_all_others() {
        for (by, balance) in POLICIES {
            let group = group(&weighing(&[1, 1, 1, 1]), &balance);
            eject(&group.members[1]);
            let had = shares(&group, by, 9000, false);
            assert_eq!(had[1], 0, "{by:?}");
            for had in [had[0], had[2], had[3]] {
                assert!(had.abs_diff(3000) < 200, "{by:?}: {had}, not 3000");
            }
        }
    }

    #[test]
    fn all_are_used_when_all_are_ejected_or_too_few_are_left() {
        for (by, balance) in POLICIES {
            let group = group(&weighing(&[1, 1, 1, 1]), &balance);
            group.members.iter().take(3).for_each(eject);
            let ledger = Ledger::new();
            let numbers = |panic| {
                let mut numbers: Vec<u64> = (0..300)
                    .map(|number| {
                        let by = if let By::Hash(_) = by { By::Hash(number << 40) } else { by };
                        let choice = Choice { panic, ..choice(number) };
                        let held = group.claim(by, &ledger, &choice).unwrap();
                        held.target.release();
                        held.target.number
                    })
                    .collect();
                numbers.sort_unstable();
                numbers.dedup();
                numbers
            };
            assert_eq!(numbers(25), [3], "{by:?}");
            assert_eq!(numbers(26), [0, 1, 2, 3], "{by:?}");
            eject(&group.members[3]);
            assert_eq!(numbers(0), [0, 1, 2, 3], "{by:?}");
            let no_resort = Choice { last_resort: false, ..choice(1) };
            assert!(group.claim(by, &ledger, &no_resort).is_none());
        }
    }

    #[test]
    fn who_was_tried_is_not_asked_again() {
        for (by, balance) in POLICIES {
            let group = group(&weighing(&[1, 1, 1]), &balance);
            for number in 0..100 {
                let choice = Choice { tried: &[2, 0], ..choice(number) };
                let held = group.claim(by, &Ledger::new(), &choice).unwrap();
                assert_eq!(held.target.number, 1);
                held.target.release();
                let choice = Choice { tried: &[2, 0, 1], ..choice };
                assert!(group.claim(by, &Ledger::new(), &choice).is_none());
                assert!(!group.is_full(&choice));
            }
        }
    }

    proptest! {
        #[test]
        fn two_are_different_and_by_weight(
            weights in proptest::collection::vec(1..=256_u16, 2..10),
        ) {
            let group = group(&weighing(&weights), &wire::Balance::LeastLoaded);
            let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
            let mut first = vec![0_u64; weights.len()];
            for number in 0..10_000 {
                let (one, other) = group.two(choice(number).random).unwrap();
                prop_assert!(one != other);
                first[one] += 1;
            }
            for (had, weight) in first.into_iter().zip(weights) {
                let fair = 10_000 * u64::from(weight) / sum;
                prop_assert!(had.abs_diff(fair) < 300, "{} not {}", had, fair);
            }
        }

        /// Whatever is retired, full, ejected or tried: if anybody is fit, somebody fit is claimed,
        /// and his bound is kept.
        #[test]
        fn somebody_fit_is_found(
            states in proptest::collection::vec((0..4_u8, 0..4_u32, 1..=256_u16), 0..8),
            policy in 0..3_usize,
            random in any::<u64>(),
        ) {
            let (by, balance) = POLICIES[policy].clone();
            let wires: Vec<wire::Target> = states.iter().map(|&(_, room, weight)| {
                wire::Target { weight, max_in_flight: Some(room + 1), ..Default::default() }
            }).collect();
            let group = group(&wires, &balance);
            let mut tried = Vec::new();
            let mut fit = 0_u64;
            for (member, &(state, room, _)) in group.members.iter().zip(&states) {
                member.target.claim(u64::MAX);
                match state {
                    0 => member.target.retire(std::time::Duration::ZERO),
                    1 => eject(member),
                    2 => tried.push(member.target.number),
                    _ => fit += u64::from(room),
                }
            }
            let choice = Choice { random, tried: &tried, panic: 0, last_resort: false };
            let ledger = Ledger::new();
            for _ in 0..fit {
                let held = group.claim(by, &ledger, &choice);
                prop_assert!(held.is_some());
                prop_assert_eq!(states[usize::try_from(held.unwrap().target.number).unwrap()].0, 3);
            }
            prop_assert!(group.claim(by, &ledger, &choice).is_none());
        }
    }
}
