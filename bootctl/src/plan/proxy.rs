//! The difference between the proxy's table and the one that is wanted.
//!
//! An instance is a target exactly while it is ready. While that is not known yet, after bootctl
//! has started anew, its target is left as it is, and a proxy that lets nobody in yet goes on so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Desired, Life, Observed, Proxy, Push, Seen, Table, Wanted, key};
use crate::health::Health;
use crate::name::{AppName, Host, InstanceId};
use crate::order::Order;
use crate::place::PlaceKind;

/// The changes that make `table` what is wanted: what is added comes before what is removed.
pub(super) fn pushes(
    desired: &Desired,
    observed: &Observed,
    table: &Table,
    retired: &BTreeSet<InstanceId>,
) -> impl Iterator<Item = Push> {
    let routes = routes(desired, observed);
    let mut puts = Vec::new();
    let mut removals = Vec::new();
    for (host, service) in &routes {
        if table.routes.get(host.as_str()).map(String::as_str) != Some(service.as_str()) {
            puts.push(Push::Route { host: host.clone(), service: service.clone() });
        }
    }
    let wanted: BTreeSet<&str> = routes.keys().map(Host::as_str).collect();
    for host in table.routes.keys().filter(|host| !wanted.contains(host.as_str())) {
        removals.push(Push::NoRoute { host: host.clone() });
    }
    let mut stays = BTreeSet::new();
    for (id, seen) in &observed.instances {
        match seen.life {
            // Whoever retires it takes the target away, and waits for what is in flight.
            Life::Leaving | Life::Running(_) if retired.contains(id) => drop(stays.insert(key(id))),
            Life::Leaving | Life::Running(Health::Unknown) => drop(stays.insert(key(id))),
            Life::Running(Health::Ready) => {
                let address = seen.place.address();
                if table.targets.get(&key(id)) != Some(&address) {
                    puts.push(Push::Target { id: id.clone(), address });
                }
                stays.insert(key(id));
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
    for (service, target) in table.targets.keys() {
        if !stays.contains(&(service.clone(), target.clone())) {
            let (service, target) = (service.clone(), target.clone());
            removals.push(Push::NoTarget { service, target });
        }
    }
    let in_doubt = |seen: &Seen| seen.life == Life::Running(Health::Unknown);
    let opens = !table.serving && !observed.instances.values().any(in_doubt);
    puts.into_iter().chain(removals).chain(opens.then_some(Push::Open))
}

/// Whether requests may wait for an instance between two of its processes: where init listens for
/// it nobody is refused meanwhile, and no other one of its app would answer them.
fn is_kept(id: &InstanceId, seen: &Seen, observed: &Observed) -> bool {
    let mut others = observed.instances.iter().filter(|(other, _)| other.app == id.app);
    seen.place.kind() == PlaceKind::Fd
        && !others.any(|(_, other)| other.life == Life::Running(Health::Ready))
}

/// Stopped apps keep their hosts: who asks for one learns that it is down, not that it is unknown.
/// Those of an app whose file is broken stay as any generation has them.
fn routes(desired: &Desired, observed: &Observed) -> BTreeMap<Host, AppName> {
    let mut routes = BTreeMap::new();
    for (name, wanted) in &desired.apps {
        match wanted {
            Wanted::Running(Order { app, .. }) | Wanted::Stopped(app) => {
                routes.extend(app.hosts().map(|host| (host.clone(), name.clone())));
            }
            Wanted::AsItIs => {
                let tables = observed.proxies.values().filter_map(|seen| match &seen.table {
                    Proxy::Known(table) => Some(table),
                    Proxy::Down | Proxy::Unknown => None,
                });
                let all = tables.flat_map(|table| &table.routes);
                let its = all.filter(|(_, service)| *service == name.as_str());
                let hosts = its.filter_map(|(host, _)| Host::parse(host).ok());
                for host in hosts.chain([name.host().clone()]) {
                    routes.entry(host).or_insert_with(|| name.clone());
                }
            }
        }
    }
    routes
}
