//! An app's instances: which of them are as wanted, how many more may be started, and which are to go.
//!
//! ```text
//!   enough current ones serve      outdated ones go
//!   not yet                        as many outdated ones stay as are needed
//!   the current ones have failed   the outdated ones stay, and the current ones go
//! ```

use super::{Life, Observed, Seen, Wanted, instances_of, serves};
use crate::health::Health;
use crate::name::{AppName, InstanceId};

/// An app's instances that are not leaving, sorted by whether they are what is wanted.
pub(super) struct Crew<'a> {
    wanted: usize,
    /// As the app file says now.
    current: Vec<Member<'a>>,
    /// As an earlier one said.
    outdated: Vec<Member<'a>>,
    /// Those that are in nobody's hands any more.
    stopped: Vec<Member<'a>>,
    /// Whether it is too early to judge who serves.
    in_doubt: bool,
    /// Whether the outdated ones are to go on instead of the current ones.
    held: bool,
}

struct Member<'a> {
    id: &'a InstanceId,
    life: Life,
    serves: bool,
    settled: bool,
}

impl Member<'_> {
    fn is_alive(&self) -> bool {
        self.life != Life::Ended
    }
}

impl<'a> Crew<'a> {
    pub(super) fn muster(name: &AppName, wanted: &Wanted, observed: &'a Observed) -> Self {
        let (order, count) = match wanted {
            Wanted::Running(order) => (Some(order), order.app.instances as usize),
            Wanted::Stopped(_) => (None, 0),
            Wanted::AsItIs => {
                let (current, outdated, stopped) = (Vec::new(), Vec::new(), Vec::new());
                let (in_doubt, held) = (false, false);
                return Self { wanted: 0, current, outdated, stopped, in_doubt, held };
            }
        };
        let here = instances_of(name, observed).filter(|(_, seen)| seen.life != Life::Leaving);
        let (stopped, here): (Vec<_>, Vec<_>) =
            here.partition(|(_, seen)| seen.life == Life::Stopped);
        let unknown = |(_, seen): &(_, &Seen)| seen.life == Life::Running(Health::Unknown);
        let in_doubt = observed.is_any_proxy_unknown() || here.iter().any(unknown);
        let (current, outdated): (Vec<_>, Vec<_>) = here
            .into_iter()
            .partition(|(id, seen)| order.is_some_and(|order| order.is_current(id, seen)));
        let member = |(id, seen): (&'a InstanceId, &'a Seen)| Member {
            id,
            serves: serves(id, seen, observed),
            settled: !observed.unsettled.contains(id),
            life: seen.life,
        };
        let current = current.into_iter().map(member).collect();
        let outdated: Vec<_> = outdated.into_iter().map(member).collect();
        let stopped = stopped.into_iter().map(member).collect();
        let held = order.is_some_and(|order| order.held) && outdated.iter().any(Member::is_alive);
        Self { wanted: count, current, outdated, stopped, in_doubt, held }
    }

    /// How many may be started: up to as many as wanted, and while there are outdated ones, one
    /// more than wanted in all.
    pub(super) fn room(&self) -> usize {
        if self.held {
            return 0;
        }
        let living = |members: &[Member<'_>]| members.iter().filter(|m| m.is_alive()).count();
        let missing = self.wanted.saturating_sub(self.current.len());
        let outdated = living(&self.outdated);
        let limit = if outdated == 0 { self.wanted } else { self.wanted + 1 };
        missing.min(limit.saturating_sub(self.current.len() + outdated))
    }

    /// Those of the current ones that serve, and the others.
    fn living_current(&self) -> (Vec<&Member<'a>>, Vec<&Member<'a>>) {
        self.current.iter().filter(|m| m.is_alive()).partition(|m| m.serves)
    }

    /// Those that are to go, the highest numbers first.
    pub(super) fn surplus(&self) -> Vec<InstanceId> {
        let mut gone: Vec<&Member<'_>> = self.outdated.iter().filter(|m| !m.is_alive()).collect();
        if self.wanted == 0 {
            gone = self.current.iter().chain(&self.outdated).collect();
        } else if self.held {
            gone.extend(self.current.iter().filter(|m| !m.is_alive()));
            if !self.in_doubt {
                let serving = self.outdated.iter().filter(|m| m.serves).count();
                // One that serves all the same stays while it is needed.
                let needed = self.wanted.saturating_sub(serving);
                let (serve, rest) = self.living_current();
                // No more stay than are wanted, and of those that do not serve only as many as there is room for.
                let room = self.wanted.saturating_sub(needed.min(serve.len()));
                gone.extend(rest);
                gone.extend(beyond(needed, serve));
                gone.extend(beyond(room, self.outdated.iter().filter(|m| m.is_alive())));
            }
        } else if !self.in_doubt {
            let serving = self.current.iter().filter(|m| m.serves && m.settled).count();
            let needed = self.wanted.saturating_sub(serving);
            gone.extend(beyond(needed, self.outdated.iter().filter(|m| m.is_alive())));
            // A current one that does not serve yet must not push out one that does.
            gone.extend(beyond(self.wanted, &self.current));
        }
        gone.extend(&self.stopped);
        gone.retain(|member| member.life != Life::Asked);
        gone.sort_by_key(|member| std::cmp::Reverse(member.id));
        gone.into_iter().map(|member| member.id.clone()).collect()
    }
}

/// All but the `keep` best: those that serve come first, then the lower numbers.
fn beyond<'a, 'b: 'a>(
    keep: usize,
    members: impl IntoIterator<Item = &'a Member<'b>>,
) -> Vec<&'a Member<'b>> {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by_key(|member| (!member.serves, member.id));
    members.split_off(keep.min(members.len()))
}
