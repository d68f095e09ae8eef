//! What has to be looked at when this was otherwise before: by the planner's tests, to plan that must come to what
//! planning everything comes to.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::AppName;
use crate::plan::{Desired, Observed, Proxy, Scope, SeenProxy, Wanted, widen};
use crate::touched::Touched;

/// What has to be looked at, by what is otherwise than before.
pub(super) fn scope(
    before: Option<&(Desired, [Observed; 2])>,
    desired: &Desired,
    observed: &Observed,
) -> Scope {
    let Some((wanted_before, before)) = before else { return Scope::all(observed) };
    let mut touched = touched_by_wish(wanted_before, desired);
    for before in before {
        touched.merge(touched_by_sight(before, desired, observed));
    }
    let tellings = observed.proxies.keys().map(|generation| (*generation, touched.clone()));
    let tellings = tellings.collect();
    Scope { apps: widen(touched, &desired.apps), tellings }
}

fn touched_by_wish(before: &Desired, desired: &Desired) -> Touched {
    if before.tls != desired.tls {
        return Touched::All;
    }
    let mut touched = Touched::default();
    let all = before.apps.keys().chain(desired.apps.keys());
    for name in all.cloned().collect::<BTreeSet<_>>() {
        let (was, is) = (before.apps.get(&name), desired.apps.get(&name));
        if was == is {
            continue;
        }
        match (was.map(Wanted::app), is.map(Wanted::app)) {
            (Some(Some(was)), Some(Some(is)))
                if was.site == is.site && was.hosts().eq(is.hosts()) =>
            {
                touched.add(&name);
            }
            _ => return Touched::All,
        }
    }
    touched
}

fn touched_by_sight(before: &Observed, desired: &Desired, observed: &Observed) -> Touched {
    let told = |seen: &SeenProxy| (seen.life, std::mem::discriminant(&seen.table));
    let stands = |observed: &Observed| -> Vec<_> {
        observed.proxies.iter().map(|(generation, seen)| (*generation, told(seen))).collect()
    };
    if stands(before) != stands(observed) {
        return Touched::All;
    }
    let mut touched = Touched::default();
    let ids = before.instances.keys().chain(observed.instances.keys());
    for id in ids.filter(|id| before.instances.get(id) != observed.instances.get(id)) {
        touched.add(&id.app);
    }
    for name in desired.apps.keys() {
        if before.refused.get(name) != observed.refused.get(name) {
            touched.add(name);
        }
    }
    for (generation, seen) in &observed.proxies {
        let table = |seen: Option<&SeenProxy>| match seen.map(|seen| &seen.table) {
            Some(Proxy::Known(table)) => table.targets.clone(),
            Some(Proxy::Down | Proxy::Unknown) | None => BTreeMap::new(),
        };
        let (was, is) = (table(before.proxies.get(generation)), table(Some(seen)));
        for key in was.keys().chain(is.keys()).filter(|key| was.get(key) != is.get(key)) {
            touched.add(&AppName::parse(&key.0).expect("a name"));
        }
    }
    touched
}
