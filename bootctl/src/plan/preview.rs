//! What a config would come to, without doing any of it: which instances would be replaced, started
//! and retired, and what the proxy would be told. Pure, and by the same notions as the plan itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Desired, Life, Observed, Proxy, Push, Wanted, instances_of, proxy, proxy_serves};
use crate::name::{AppName, InstanceId};
use crate::touched::Touched;

/// All that would happen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Preview {
    /// Instances that others take the place of, one by one.
    pub(crate) replaced: Vec<InstanceId>,
    pub(crate) retired: Vec<InstanceId>,
    /// How many are started that replace none.
    pub(crate) started: BTreeMap<AppName, usize>,
    /// Whether a new generation of the proxy takes over.
    pub(crate) takes_over: bool,
    /// What the one that serves would be told, targets aside.
    pub(crate) pushes: Vec<Push>,
}

pub(crate) fn preview(desired: &Desired, observed: &Observed) -> Preview {
    let mut preview = Preview::default();
    let alive = |life: Life| !matches!(life, Life::Leaving | Life::Ended);
    let living = || observed.instances.iter().filter(|(_, seen)| alive(seen.life));
    for (name, wanted) in desired.apps.iter() {
        let (order, count) = match wanted {
            Wanted::Running(order) => (Some(order), order.app.instances as usize),
            Wanted::Stopped(_) => (None, 0),
            Wanted::AsItIs => continue,
        };
        let mine = instances_of(name, observed).filter(|(_, seen)| alive(seen.life));
        let (current, outdated): (Vec<_>, Vec<_>) =
            mine.partition(|(id, seen)| order.is_some_and(|order| order.is_current(id, seen)));
        let missing = count.saturating_sub(current.len());
        let surplus: Vec<_> = current.iter().skip(count).map(|(id, _)| (*id).clone()).collect();
        let mut outdated: Vec<_> = outdated.into_iter().map(|(id, _)| id.clone()).collect();
        let rest = outdated.split_off(missing.min(outdated.len()));
        let started = missing.saturating_sub(outdated.len());
        if started > 0 {
            preview.started.insert(name.clone(), started);
        }
        preview.replaced.extend(outdated);
        preview.retired.extend(rest.into_iter().chain(surplus));
    }
    let gone = living().filter(|(id, _)| !desired.apps.contains_key(&id.app));
    preview.retired.extend(gone.map(|(id, _)| id.clone()));
    if let Some(wanted) = &desired.proxy {
        let mut all = observed.proxies.iter();
        preview.takes_over =
            !all.any(|(generation, seen)| wanted.is_current(*generation, &seen.spec));
    }
    if let Some(seen) = observed.proxies.values().rfind(|seen| proxy_serves(seen))
        && let Proxy::Known(table) = &seen.table
    {
        let nobody = BTreeSet::new();
        let pushes = proxy::pushes(desired, observed, table, &nobody, &Touched::All);
        preview.pushes = pushes.filter(is_of_the_config).collect();
    }
    preview
}

/// Targets come and go with their instances.
fn is_of_the_config(push: &Push) -> bool {
    match push {
        Push::Front(_)
        | Push::Route { .. }
        | Push::NoRoute { .. }
        | Push::Service { .. }
        | Push::Maintenance { .. }
        | Push::NoMaintenance { .. }
        | Push::Tls(_)
        | Push::Certificate { .. }
        | Push::NoCertificate { .. }
        | Push::Acme(_) => true,
        Push::Target { .. }
        | Push::NoTarget { .. }
        | Push::NoService { .. }
        | Push::Tickets(_)
        | Push::Open => false,
    }
}
