//! The difference between the proxy's table and the one that is wanted.
//!
//! An instance is a target exactly while it is ready. While that is not known yet, after bootctl
//! has started anew, its target is left as it is, and a proxy that lets nobody in yet goes on so.

use std::collections::{BTreeMap, BTreeSet};

use proxyd_wire::{Maintenance, Route, Service, Target};

use super::{
    Desired, Life, Observed, Proxy, Push, Seen, Table, Wanted, instances_in, instances_of, key, tls,
};
use crate::health::Health;
use crate::name::{AppName, InstanceId};
use crate::place::{Place, PlaceKind};
use crate::site::owner;
use crate::tls::Coverage;
use crate::touched::Touched;

/// The changes that make `table` what is wanted, about the apps that were touched: what is added comes before
/// what is removed. What nobody owns is removed when all were.
pub(super) fn pushes(
    desired: &Desired,
    observed: &Observed,
    table: &Table,
    retired: &BTreeSet<InstanceId>,
    touched: &Touched,
) -> impl Iterator<Item = Push> {
    let mut puts = Vec::new();
    let mut removals = Vec::new();
    if *table.front != desired.front {
        puts.push(Push::Front(Box::new(desired.front.clone())));
    }
    tls::pushes(desired, observed, table, touched, &mut puts, &mut removals);
    services(desired, observed, table, touched, &mut puts, &mut removals);
    let routes = routes(desired, observed, touched);
    for (route, to) in &routes {
        if table.routes.get(route) != Some(to) {
            puts.push(Push::Route { route: route.clone(), to: Box::new(to.clone()) });
        }
    }
    if touched.is_all() {
        for route in table.routes.keys().filter(|route| !routes.contains_key(*route)) {
            removals.push(Push::NoRoute { route: route.clone() });
        }
    }
    let mut stays = BTreeSet::new();
    for (id, seen) in instances_in(touched, observed) {
        if seen.place == Place::Nowhere {
            continue;
        }
        match seen.life {
            // Whoever retires it takes the target away, and waits for what is in flight.
            Life::Leaving | Life::Running(_) if retired.contains(id) => drop(stays.insert(key(id))),
            Life::Leaving | Life::Running(Health::Unknown) => drop(stays.insert(key(id))),
            Life::Running(Health::Ready) => {
                let key = key(id);
                let there = table.targets.get(&key);
                let target = target(desired, id, seen, there);
                if there != Some(&target) {
                    puts.push(Push::Target { id: id.clone(), target });
                }
                stays.insert(key);
            }
            Life::Coming | Life::Running(Health::Unready) if is_kept(id, seen, observed) => {
                stays.insert(key(id));
            }
            Life::Running(Health::Unready | Health::Failing)
            | Life::Asked
            | Life::Coming
            | Life::Stopped
            | Life::Ended => {}
        }
    }
    for (service, target) in targets(table, touched).filter(|key| !stays.contains(key)) {
        let (service, target) = (service.clone(), target.clone());
        removals.push(Push::NoTarget { service, target });
    }
    let in_doubt = |seen: &Seen| seen.life == Life::Running(Health::Unknown);
    let opens = !table.serving && !observed.instances.values().any(in_doubt);
    puts.into_iter().chain(removals).chain(opens.then_some(Push::Open))
}

/// Whether requests may wait for an instance between two of its processes: where init listens for
/// it nobody is refused meanwhile, and no other one of its app would answer them.
fn is_kept(id: &InstanceId, seen: &Seen, observed: &Observed) -> bool {
    let mut others = instances_of(&id.app, observed);
    seen.place.kind() == PlaceKind::Fd
        && !others.any(|(_, other)| other.life == Life::Running(Health::Ready))
}

/// An instance as a target. What is not known of an app whose file is broken stays as it is.
fn target(desired: &Desired, id: &InstanceId, seen: &Seen, there: Option<&Target>) -> Target {
    let address = seen.place.address();
    match (desired.apps.get(&id.app).and_then(Wanted::app), there) {
        (Some(app), _) => app.site.target(address),
        (None, Some(there)) => Target { address, ..there.clone() },
        (None, None) => Target::at(address),
    }
}

/// How services are used. Those of an app whose file is broken are as any generation has them.
fn services(
    desired: &Desired,
    observed: &Observed,
    table: &Table,
    touched: &Touched,
    puts: &mut Vec<Push>,
    removals: &mut Vec<Push>,
) {
    for (name, wanted) in touched.among(&desired.apps) {
        let (settings, answer) = match wanted.app() {
            Some(app) => (app.site.service.clone(), app.site.maintenance.clone()),
            None => as_it_is(name, observed),
        };
        let service = name.to_string();
        if table.services.get(&service).unwrap_or(&Service::default()) != &settings {
            let settings = Box::new(settings);
            puts.push(Push::Service { service: service.clone(), settings });
        }
        match (answer, table.maintenance.get(&service)) {
            (Some(answer), there) if there != Some(&answer) => {
                puts.push(Push::Maintenance { service, answer: Box::new(answer) });
            }
            (None, Some(_)) => removals.push(Push::NoMaintenance { service }),
            (Some(_) | None, _) => {}
        }
    }
    for service in said(table, touched) {
        // What it still answers is answered as it was.
        let is_left = || observed.instances.keys().any(|id| id.app.as_str() == service);
        let has_targets = || table.targets_of(service).next().is_some();
        if !desired.apps.contains_key(service) && !is_left() && !has_targets() {
            removals.push(Push::NoService { service: service.to_owned() });
        }
    }
}

/// The services of apps that were touched, of which something is said.
fn said<'a>(table: &'a Table, touched: &'a Touched) -> Vec<&'a str> {
    let is_said =
        |name: &str| table.services.contains_key(name) || table.maintenance.contains_key(name);
    match touched {
        Touched::All => {
            let all: BTreeSet<&String> =
                table.services.keys().chain(table.maintenance.keys()).collect();
            all.into_iter().map(String::as_str).collect()
        }
        Touched::Only(apps) => apps.iter().map(AppName::as_str).filter(|n| is_said(n)).collect(),
    }
}

/// The targets of apps that were touched.
fn targets<'a>(
    table: &'a Table,
    touched: &'a Touched,
) -> Box<dyn Iterator<Item = &'a (String, String)> + 'a> {
    match touched {
        Touched::All => Box::new(table.targets.keys()),
        Touched::Only(apps) => Box::new(apps.iter().flat_map(|a| table.targets_of(a.as_str()))),
    }
}

fn as_it_is(name: &AppName, observed: &Observed) -> (Service, Option<Maintenance>) {
    let mut settings = None;
    let mut answer = None;
    for table in tables(observed) {
        settings = settings.or_else(|| table.services.get(name.as_str()).cloned());
        answer = answer.or_else(|| table.maintenance.get(name.as_str()).cloned());
    }
    (settings.unwrap_or_default(), answer)
}

/// Stopped apps keep their hosts: who asks for one learns that it is down, not that it is unknown.
/// Those of an app whose file is broken stay as any generation has them.
fn routes(desired: &Desired, observed: &Observed, touched: &Touched) -> BTreeMap<String, Route> {
    let mut routes = BTreeMap::new();
    let nobody = Coverage::default();
    let coverage = desired.tls.as_ref().map_or(&nobody, |tls| &tls.coverage);
    for (name, wanted) in touched.among(&desired.apps) {
        if let Some(app) = wanted.app() {
            let (origin, shown) = (desired.origin, wanted.shown());
            routes.extend(app.site.routes(name, app.hosts(), origin, coverage, shown));
            continue;
        }
        let all = tables(observed).flat_map(|table| &table.routes);
        let its = all.filter(|(_, route)| owner(route).as_ref() == Some(name));
        for (route, to) in its {
            routes.entry(route.clone()).or_insert_with(|| to.clone());
        }
        let own = || Route::to(name.as_str());
        routes.entry(name.to_string()).or_insert_with(own);
    }
    routes
}

pub(super) fn tables(observed: &Observed) -> impl Iterator<Item = &Table> {
    observed.proxies.values().filter_map(|seen| match &seen.table {
        Proxy::Known(table) => Some(&**table),
        Proxy::Down | Proxy::Unknown => None,
    })
}
