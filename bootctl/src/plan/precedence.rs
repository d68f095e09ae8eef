//! Who waits for whom: at the start for those that an app names in `after` and `requires`, at the
//! end the other way round.
//!
//! Only the first instances of an app wait. What runs goes on whatever becomes of those that it
//! named, and a roll or a restart waits for nobody. Names lead in no circle, which the config sees
//! to; one that did would wait, and hang nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Desired, Life, Observed, Wanted};
use crate::app::App;
use crate::health::Health;
use crate::name::{AppName, InstanceId};

/// Whom each app names.
pub(crate) type Precedence = BTreeMap<AppName, BTreeSet<AppName>>;

/// What an app waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) on: AppName,
    /// Why that will not come by itself, if it will not.
    pub(crate) hopeless: Option<&'static str>,
}

/// How an app stands for those that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Footing {
    /// One of its instances is ready.
    Ready,
    /// It is on its way.
    Coming,
    /// It will not get there by itself.
    Hopeless(&'static str),
}

/// All apps that wait.
pub(crate) fn all_waiting(desired: &Desired, observed: &Observed) -> BTreeMap<AppName, Waiting> {
    let wait = |(name, wanted): (&AppName, &Wanted)| match wanted {
        Wanted::Running(order) if order.app.instances > 0 => {
            Some((name.clone(), waiting(&order.app, desired, observed)?))
        }
        Wanted::Running(_) | Wanted::Stopped(_) | Wanted::AsItIs => None,
    };
    desired.apps.iter().filter_map(wait).collect()
}

/// What an app waits for before its first instances are started; what will not come is told first.
pub(super) fn waiting(app: &App, desired: &Desired, observed: &Observed) -> Option<Waiting> {
    wait_of(app, desired, observed, &mut BTreeSet::new())
}

fn wait_of(
    app: &App,
    desired: &Desired,
    observed: &Observed,
    trail: &mut BTreeSet<AppName>,
) -> Option<Waiting> {
    if lives(&app.name, observed).any(|(_, life)| is_alive(life)) {
        return None;
    }
    let mut waiting = None;
    let required = app.requires.iter().map(|name| (name, true));
    for (name, is_required) in required.chain(app.after.iter().map(|name| (name, false))) {
        match footing(name, desired, observed, trail) {
            Footing::Hopeless(why) if is_required => {
                return Some(Waiting { on: name.clone(), hopeless: Some(why) });
            }
            Footing::Ready | Footing::Hopeless(_) => {}
            Footing::Coming => {
                waiting = waiting.or(Some(Waiting { on: name.clone(), hopeless: None }));
            }
        }
    }
    waiting
}

fn footing(
    name: &AppName,
    desired: &Desired,
    observed: &Observed,
    trail: &mut BTreeSet<AppName>,
) -> Footing {
    let order = match desired.apps.get(name) {
        None => return Footing::Hopeless("is not there"),
        Some(Wanted::Stopped(_)) => return Footing::Hopeless("is stopped"),
        Some(Wanted::Running(order)) if order.app.instances == 0 => {
            return Footing::Hopeless("is parked");
        }
        Some(Wanted::Running(order)) => Some(order),
        Some(Wanted::AsItIs) => None,
    };
    let is_ready = |life| life == Life::Running(Health::Ready);
    if lives(name, observed).any(|(_, life)| is_ready(life)) {
        return Footing::Ready;
    }
    let mut living = lives(name, observed).filter(|(_, life)| is_alive(*life)).peekable();
    if living.peek().is_some() {
        let comes = living.any(|(id, _)| !observed.struggling.contains(id));
        return if comes { Footing::Coming } else { Footing::Hopeless("does not get ready") };
    }
    let Some(order) = order else { return Footing::Hopeless("has a broken file") };
    if observed.is_refused(order) {
        return Footing::Hopeless("cannot be started");
    }
    if lives(name, observed).any(|(_, life)| life == Life::Ended) {
        return Footing::Hopeless("has ended");
    }
    let is_circle = !trail.insert(name.clone());
    let waits = if is_circle { None } else { wait_of(&order.app, desired, observed, trail) };
    trail.remove(name);
    match waits {
        Some(Waiting { hopeless: Some(_), .. }) => Footing::Hopeless("waits itself"),
        Some(Waiting { hopeless: None, .. }) | None => Footing::Coming,
    }
}

/// Whether an app is still needed by one that has not ended, when all end.
pub(super) fn is_needed(name: &AppName, precedence: &Precedence, observed: &Observed) -> bool {
    let left: BTreeSet<&AppName> = observed.instances.keys().map(|id| &id.app).collect();
    left.into_iter().any(|other| other != name && names(other, name, precedence))
}

/// Whether `from` names `to`, or one that does.
fn names(from: &AppName, to: &AppName, precedence: &Precedence) -> bool {
    let mut known = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(app) = next.pop() {
        for named in precedence.get(app).into_iter().flatten() {
            if named == to {
                return true;
            }
            if known.insert(named) {
                next.push(named);
            }
        }
    }
    false
}

fn lives<'a>(
    name: &AppName,
    observed: &'a Observed,
) -> impl Iterator<Item = (&'a InstanceId, Life)> + use<'a> {
    let from = InstanceId::new(name.clone(), 0);
    let to = InstanceId::new(name.clone(), u32::MAX);
    observed.instances.range(from..=to).map(|(id, seen)| (id, seen.life))
}

/// Whether it runs, or will.
fn is_alive(life: Life) -> bool {
    match life {
        Life::Asked | Life::Coming | Life::Running(_) => true,
        Life::Leaving | Life::Stopped | Life::Ended => false,
    }
}
