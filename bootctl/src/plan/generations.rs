//! Which generations of the proxy are started and stopped.
//!
//! ```text
//!   none serves        the next one comes       the next one serves
//!   (start)  ─▶ old serves ─────────────▶ both ─────────────────▶ old drains ─▶ cleared
//!                                          └─ it never does: the old one stays
//! ```
//!
//! At most two live at a time. One that serves is stopped only when another one serves that is as it
//! is wanted; which of several is the best follows from what is there, not from a memory of a change
//! under way, so a bootctl that starts anew goes on in the middle of it.

use std::sync::Arc;

use super::{Action, Desired, Observed, Proxy, ProxyLife, SeenProxy};
use crate::generation::{Generation, WantedProxy};

/// How many may live at a time.
const MOST: usize = 2;

/// What to do about the proxy's jobs.
pub(super) fn plan(desired: &Desired, observed: &Observed, actions: &mut Vec<Action>) {
    let Some(wanted) = &desired.proxy else {
        // The apps that go finish their requests first.
        if observed.instances.keys().all(|id| desired.apps.contains_key(&id.app)) {
            let all = observed.proxies.iter();
            let left = all.filter(|(_, seen)| stays(seen) || seen.life == ProxyLife::Ended);
            actions.extend(left.map(|(&generation, _)| Action::StopProxy { generation }));
        }
        return;
    };
    if observed.proxy_refused {
        return;
    }
    for (&generation, seen) in &observed.proxies {
        if seen.life == ProxyLife::Ended {
            actions.push(Action::StopProxy { generation });
        }
    }
    let surplus = surplus(wanted, observed);
    actions.extend(surplus.iter().map(|&generation| Action::StopProxy { generation }));
    let is_current = |(generation, seen): (&Generation, &SeenProxy)| {
        (stays(seen) || seen.life == ProxyLife::Asked) && wanted.is_current(*generation, &seen.spec)
    };
    let living = observed.proxies.values().filter(|seen| seen.life != ProxyLife::Ended).count();
    if !observed.proxies.iter().any(is_current) && living < MOST {
        let taken = observed.proxies.keys().chain(&observed.foreign_proxies);
        let taken = taken.chain(&wanted.outdated).max();
        let generation = taken.map_or(Generation::FIRST, |last| last.next());
        let spec = Arc::new(wanted.job(generation));
        actions.push(Action::StartProxy { generation, spec });
    }
}

/// Those that are to go, now that others do what they are there for.
fn surplus(wanted: &WantedProxy, observed: &Observed) -> Vec<Generation> {
    let there = || observed.proxies.iter().filter(|(_, seen)| stays(seen));
    let current = |(generation, seen): &(&Generation, &SeenProxy)| {
        wanted.is_current(**generation, &seen.spec)
    };
    let serving = |(_, seen): &(&Generation, &SeenProxy)| serves(seen);
    let best = there().filter(current).rfind(serving);
    if let Some((best, _)) = best {
        return there().map(|(other, _)| *other).filter(|other| other != best).collect();
    }
    // None is as it is wanted and serves. Of the outdated ones, one stays until then: the last that
    // serves, else the first, which is the one that the others were to replace.
    let outdated = || there().filter(|seen| !current(seen));
    let serving = outdated().rfind(serving);
    let in_doubt = || there().any(|(_, seen)| matches!(seen.table, Proxy::Unknown));
    // Whoever has not told yet may be the one that serves.
    if serving.is_none() && in_doubt() {
        return Vec::new();
    }
    let pillar = serving.or_else(|| outdated().next());
    let old = outdated().filter(|(other, _)| pillar.is_none_or(|(pillar, _)| pillar != *other));
    // One that comes is enough.
    let spare = there().filter(current).skip(1);
    old.chain(spare).map(|(other, _)| *other).collect()
}

/// Whether it is there and not on its way out.
fn stays(seen: &SeenProxy) -> bool {
    match seen.life {
        ProxyLife::Coming | ProxyLife::Running => true,
        ProxyLife::Asked | ProxyLife::Leaving | ProxyLife::Ended => false,
    }
}

/// Whether it lets clients in.
pub(crate) fn serves(seen: &SeenProxy) -> bool {
    match (&seen.life, &seen.table) {
        (ProxyLife::Running, Proxy::Known(table)) => table.serving,
        _ => false,
    }
}
