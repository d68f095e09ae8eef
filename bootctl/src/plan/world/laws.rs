//! What has to be true: of any plan, of the world at any time, and of the world at rest.

use std::collections::{BTreeMap, BTreeSet};

use super::{Declared, FOREIGN_PORT, Fate, File, Process, Proxyd, World};
use crate::app::{App, identify};
use crate::generation::Generation;
use crate::health::Health;
use crate::name::{AppName, InstanceId};
use crate::order::Order;
use crate::place::{Place, PlaceKind};
use crate::plan::{
    Action, Desired, Life, Observed, ProxyLife, Seen, Table, Wanted, key, proxy_serves, serves,
};
use crate::site::{Shown, owner};
use crate::tls::Coverage;
use crate::verdict::earlier;

impl World {
    /// What has to be true at rest.
    pub(in crate::plan) fn check_converged(&self) {
        let observed = self.observed();
        let serving: Vec<_> = self.proxies.iter().filter(|(_, p)| p.is_serving()).collect();
        if self.is_proxy_bad() {
            assert!(self.proxies.len() <= 2 && serving.len() <= 1, "{:#?}", self.proxies);
        } else {
            assert_eq!((self.proxies.len(), serving.len()), (1, 1), "{:#?}", self.proxies);
            let (generation, proxyd) = serving[0];
            assert!(self.wanted_proxy.is_current(*generation, &proxyd.spec));
        }
        let Some((_, Proxyd { table, .. })) = serving.first() else { return };
        for (name, declared) in &self.apps {
            let Declared { file, runs, .. } = declared;
            let order = declared.wanted();
            let mine: Vec<_> =
                observed.instances.iter().filter(|(id, _)| id.app == *name).collect();
            match (file, runs) {
                // One that has failed stays for the administrator to see, and what it was to
                // replace goes on.
                (File::Fine, true) if mine.iter().any(|(_, seen)| seen.life == Life::Ended) => {
                    assert!(mine.len() <= order.app.instances as usize + 1, "{name}: {mine:#?}");
                }
                (File::Fine, true) if mine.is_empty() && self.waits(&order.app) => {
                    check_site(&order.app, &self.desired(), table);
                }
                (File::Fine, true) if is_held(&order, &observed) => {
                    let most = (order.app.instances as usize).max(1);
                    assert!(mine.len() <= most, "{name} is held: {mine:#?}");
                }
                (File::Fine, true) if self.is_troubled(name) || self.waits_in_vain(&order.app) => {
                    assert!(mine.len() <= order.app.instances as usize + 1, "{name}: {mine:#?}");
                }
                (File::Fine, true) => {
                    assert_eq!(mine.len(), order.app.instances as usize, "{name}: {mine:#?}");
                    for (id, seen) in &mine {
                        assert_eq!(
                            *seen.spec,
                            order.job(id.number, &seen.place),
                            "{id} is current"
                        );
                    }
                    check_site(&order.app, &self.desired(), table);
                }
                (File::Fine, false) => {
                    assert!(mine.is_empty(), "{name} is stopped");
                    check_site(&order.app, &self.desired(), table);
                }
                (File::Broken, _) => {}
                (File::Removed, _) => {
                    assert!(mine.is_empty(), "{name} is removed");
                    let its = |route| owner(route).as_ref() == Some(name);
                    assert!(!table.routes.values().any(its), "{name} is removed");
                    assert!(!table.services.contains_key(name.as_str()), "{name} is removed");
                    assert!(!table.maintenance.contains_key(name.as_str()), "{name} is removed");
                }
            }
        }
        if let Some(tls) = &self.tls {
            assert_eq!(*table.tls, tls.settings, "how TLS is spoken");
            let known = table.certificates.iter().filter(|(name, _)| !tls.kept.contains(*name));
            let known: BTreeMap<_, _> = known.collect();
            let wanted = tls.certificates.iter().map(|(name, pair)| (name, &pair.fingerprint));
            assert_eq!(known, wanted.collect(), "certificates");
        }
        let ready = |(id, seen): (&InstanceId, &Seen)| {
            let is_target =
                seen.life == Life::Running(Health::Ready) && seen.place != Place::Nowhere;
            is_target.then(|| (key(id), seen.place.address()))
        };
        let expected: BTreeMap<_, _> = observed.instances.iter().filter_map(ready).collect();
        let targets = table.targets.iter().map(|(key, at)| (key.clone(), at.address.clone()));
        let targets: BTreeMap<_, _> = targets.collect();
        assert_eq!(targets, expected, "targets are those that are ready");
    }

    /// Whether an app insists on one that is not ready.
    fn waits(&self, app: &App) -> bool {
        let observed = self.observed();
        let desired = self.desired();
        app.requires.iter().any(|name| !is_up(name, &desired, &observed))
    }

    /// Whether what is started of an app comes to nothing, or has.
    fn is_troubled(&self, name: &AppName) -> bool {
        let mine = |id: &str, process: &Process| {
            identify(id, &process.spec).is_some_and(|(id, _)| id.app == *name)
        };
        let bad =
            |(id, process): (&String, &Process)| process.fate != Fate::Well && mine(id, process);
        let build = self.apps.get(name).map_or(Fate::Well, |declared| declared.build);
        let refused = self.refused.contains_key(name);
        build != Fate::Well || refused || self.jobs.iter().any(bad)
    }

    /// Whether an app waits for one that comes to nothing.
    fn waits_in_vain(&self, app: &App) -> bool {
        app.after.iter().chain(&app.requires).any(|name| self.is_troubled(name))
    }

    /// Clients find all that they could find.
    pub(super) fn check_opened(&self, table: &Table) {
        for (name, declared) in &self.apps {
            let routed = table.routes.contains_key(name.as_str());
            let is_asked = declared.wanted().app.socket != PlaceKind::Nowhere;
            let is_gone = declared.file == File::Removed;
            assert!(routed || is_gone || !is_asked, "{name} is not known: {table:?}");
        }
        for (id, seen) in &self.observed().instances {
            let ready = matches!(seen.life, Life::Running(Health::Ready));
            let there = table.targets.contains_key(&key(id));
            let is_asked = seen.place != Place::Nowhere;
            assert!(!ready || there || !is_asked, "{id} is no target: {table:?}");
            assert_ne!(seen.life, Life::Running(Health::Unknown), "{id} may be a target");
        }
    }

    pub(super) fn check(&self) {
        let mut ports = BTreeSet::new();
        for (id, seen) in &self.observed().instances {
            let Some(port) = seen.place.port() else { continue };
            assert!(ports.insert(port), "{id} shares port {port}");
            assert_ne!(port.number(), FOREIGN_PORT, "{id} got somebody else's port");
        }
        assert!(self.jobs.contains_key("a.1x"), "a foreign job was touched");
        let living = self.proxies.values().filter(|proxyd| proxyd.life != ProxyLife::Ended);
        assert!(living.count() <= 2, "{:#?}", self.proxies);
    }
}

/// The proxy knows all of an app, and no more.
pub(super) fn check_site(app: &App, desired: &Desired, table: &Table) {
    let nobody = Coverage::default();
    let coverage = desired.tls.as_ref().map_or(&nobody, |tls| &tls.coverage);
    let wanted = app.site.routes(&app.name, app.hosts(), desired.origin, coverage, Shown::Own);
    let its = table.routes.iter().filter(|(_, route)| owner(route).as_ref() == Some(&app.name));
    let its = its.map(|(route, to)| (route.clone(), to.clone()));
    assert_eq!(its.collect::<BTreeMap<_, _>>(), wanted, "{}", app.name);
    let settings = table.services.get(app.name.as_str()).cloned();
    assert_eq!(settings.unwrap_or_default(), app.site.service, "{}", app.name);
    assert_eq!(table.maintenance.get(app.name.as_str()), app.site.maintenance.as_ref());
}

/// Whether it is to run, and one of it is ready.
fn is_up(name: &AppName, desired: &Desired, observed: &Observed) -> bool {
    let wanted = match desired.apps.get(name) {
        Some(Wanted::Running(order)) => order.app.instances > 0,
        Some(Wanted::AsItIs) => true,
        Some(Wanted::Stopped(_)) | None => false,
    };
    let mut mine = observed.instances.iter().filter(|(id, _)| id.app == *name);
    wanted && mine.any(|(_, seen)| seen.life == Life::Running(Health::Ready))
}

/// The first instance of an app starts when those that it names are there, or will not come.
pub(super) fn check_precedence(desired: &Desired, observed: &Observed, actions: &[Action]) {
    for action in actions {
        let Action::Start { id, .. } = action else { continue };
        let Some(app) = desired.apps.get(&id.app).and_then(Wanted::app) else { continue };
        let lives = |name: &AppName| {
            let mine = observed.instances.iter().filter(|(id, _)| id.app == *name);
            mine.map(|(_, seen)| seen.life).collect::<Vec<_>>()
        };
        let alive = |life: &Life| !matches!(life, Life::Leaving | Life::Stopped | Life::Ended);
        if lives(&id.app).iter().any(alive) {
            continue;
        }
        for name in &app.requires {
            assert!(is_up(name, desired, observed), "{id} starts without {name}");
        }
        for name in &app.after {
            let lives = lives(name);
            let is_wanted = matches!(
                desired.apps.get(name),
                Some(Wanted::Running(order))
                    if order.app.instances > 0 && !observed.is_refused(order)
            );
            let comes = lives.iter().any(alive) || !lives.contains(&Life::Ended);
            let is_up = is_up(name, desired, observed);
            assert!(is_up || !is_wanted || !comes, "{id} starts before {name}: {lives:?}");
        }
    }
}

/// A proxy that serves is stopped only when another one serves.
pub(super) fn check_generations(observed: &Observed, actions: &[Action]) {
    let stopped =
        |generation: &Generation| actions.contains(&Action::StopProxy { generation: *generation });
    let serving = || observed.proxies.iter().filter(|(_, seen)| proxy_serves(seen));
    let left = serving().filter(|(generation, _)| !stopped(generation)).count();
    assert!(left > 0 || serving().count() == 0, "none serves any more: {actions:?}");
}

/// Whether an order is held back in favour of what runs of earlier ones.
fn is_held(order: &Order, observed: &Observed) -> bool {
    order.held && earlier(order, observed).next().is_some()
}

/// What is wanted and serves is not reduced below what is wanted.
pub(super) fn check_retirements(desired: &Desired, observed: &Observed, actions: &[Action]) {
    for (name, wanted) in desired.apps.iter() {
        let retired = |id: &InstanceId| actions.contains(&Action::Retire { id: id.clone() });
        let mine = || observed.instances.iter().filter(|(id, _)| id.app == *name);
        match wanted {
            Wanted::Running(order) => {
                let app = &order.app;
                let serving = || {
                    mine().filter(|(id, seen)| {
                        seen.life != Life::Leaving && serves(id, seen, observed)
                    })
                };
                let before = serving().count();
                let after = serving().filter(|(id, _)| !retired(id)).count();
                assert!(
                    after >= before.min(app.instances as usize),
                    "{name} loses {before} -> {after} of {}: {actions:?}",
                    app.instances
                );
                let living = mine().filter(|(_, seen)| {
                    !matches!(seen.life, Life::Leaving | Life::Stopped | Life::Ended)
                });
                let starts = actions
                    .iter()
                    .filter(|action| matches!(action, Action::Start { id, .. } if id.app == *name));
                let starts = starts.count();
                assert!(starts == 0 || !is_held(order, observed), "{name} is held: {actions:?}");
                let total = living.count() + starts;
                assert!(
                    starts == 0 || total <= app.instances as usize + 1,
                    "{name} gets {total} of {}",
                    app.instances
                );
            }
            Wanted::AsItIs => assert!(!mine().any(|(id, _)| retired(id)), "{name} is held"),
            Wanted::Stopped(_) => {}
        }
    }
}
