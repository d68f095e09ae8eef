//! Who waits for whom: at the start for those that an app names in `after` and `requires`, at the
//! end the other way round.
//!
//! Only the first instances of an app wait. What runs goes on whatever becomes of those that it
//! named, and a roll or a restart waits for nobody. Names lead in no circle, which the config sees
//! to; one that did would wait, and hang nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Desired, Life, Observed, Wanted};
use crate::app::App;
use crate::health::Health;
use crate::name::{AppName, InstanceId};
use crate::touched::Touched;
use crate::wanted::Apps;

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

/// Adds all apps that name one of those that were touched, or one that does: they may not have to wait any more.
pub(crate) fn widen(touched: Touched, apps: &Apps) -> Touched {
    let mut only = match touched {
        Touched::All => return Touched::All,
        Touched::Only(only) if only.is_empty() => return Touched::Only(only),
        Touched::Only(only) => only,
    };
    let naming: Vec<&Arc<App>> =
        apps.values().filter_map(Wanted::app).filter(|app| app.names().next().is_some()).collect();
    loop {
        let more = |app: &&&Arc<App>| {
            !only.contains(&app.name) && app.names().any(|named| only.contains(named))
        };
        let more: Vec<AppName> = naming.iter().filter(more).map(|app| app.name.clone()).collect();
        if more.is_empty() {
            return Touched::Only(only);
        }
        only.extend(more);
    }
}

/// Of those that were touched, all that wait are put among the `waiting`, and the others are taken out.
pub(crate) fn see_waiting(
    waits: &mut BTreeMap<AppName, Waiting>,
    desired: &Desired,
    observed: &Observed,
    touched: &Touched,
) {
    waits.retain(|name, _| !touched.has(name));
    let wait = |(name, wanted): (&AppName, &Wanted)| match wanted {
        Wanted::Running(order) if order.app.instances > 0 => {
            Some((name.clone(), waiting(&order.app, desired, observed)?))
        }
        Wanted::Running(_) | Wanted::Stopped(_) | Wanted::AsItIs => None,
    };
    waits.extend(touched.among(&desired.apps).filter_map(wait));
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
        Some(Wanted::Running(order)) if order.app.is_files() => return Footing::Ready,
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

/// The apps that are still needed by another one that has not ended, when all end.
pub(super) fn needed<'a>(
    precedence: &'a Precedence,
    observed: &'a Observed,
) -> BTreeSet<&'a AppName> {
    let left: BTreeSet<&AppName> = observed.instances.keys().map(|id| &id.app).collect();
    left.into_iter().flat_map(|from| named(from, precedence)).collect()
}

/// All that an app names, and that those name; not itself.
fn named<'a>(from: &'a AppName, precedence: &'a Precedence) -> BTreeSet<&'a AppName> {
    let mut known = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(app) = next.pop() {
        for named in precedence.get(app).into_iter().flatten() {
            if known.insert(named) {
                next.push(named);
            }
        }
    }
    known.remove(from);
    known
}

fn lives<'a>(
    name: &AppName,
    observed: &'a Observed,
) -> impl Iterator<Item = (&'a InstanceId, Life)> + use<'a> {
    observed.instances.range(InstanceId::all_of(name)).map(|(id, seen)| (id, seen.life))
}

/// Whether it runs, or will.
fn is_alive(life: Life) -> bool {
    match life {
        Life::Asked | Life::Coming | Life::Running(_) => true,
        Life::Leaving | Life::Stopped | Life::Ended => false,
    }
}
