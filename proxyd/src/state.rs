//! Routes and targets as they are wanted: the core, without clock, lock or I/O.
//!
//! ```text
//!             put                    retire                   last release
//!   (none) ─────────▶ live, claimed ────────▶ retired, draining ─────────▶ forgotten
//!             put, other address: the old one is retired, a new one is live
//! ```
//!
//! A target is chosen only while it is live. The generation grows by one with each change of what
//! is wanted, and with nothing else: draining is not a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxyd_wire as wire;
use thiserror::Error;

use crate::limits;
use crate::name::Name;
use crate::route::{Key, Route};
use crate::service::Service;
use crate::table::{Entry, Table};
use crate::target::{Address, Target};

/// What a `PUT` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    Changed,
    Unchanged,
}

/// There are too many objects of a kind already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there are 10000 {0} already: delete some before adding another")]
pub(crate) struct Full(&'static str);

/// The state is not at the generation that a change was decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the generation is {now}, not {wanted}: something has changed since; read `GET /state` and \
     decide anew"
)]
pub(crate) struct Stale {
    now: u64,
    wanted: u64,
}

/// All that is wanted, and what drains.
#[derive(Debug, Default)]
pub(crate) struct State {
    generation: u64,
    routes: BTreeMap<Key, Arc<Route>>,
    services: BTreeMap<Name, Wanted>,
    /// Retired, and perhaps still in use.
    draining: Vec<(Name, Name, Arc<Target>)>,
    targets_made: u64,
}

/// A service as it is wanted.
#[derive(Debug, Default)]
struct Wanted {
    /// `None`: it is there for its targets only.
    settings: Option<wire::Service>,
    targets: BTreeMap<Name, Arc<Target>>,
}

impl State {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Refuses if the caller has decided by another picture than the present one.
    pub(crate) fn expect_generation(&self, wanted: Option<u64>) -> Result<(), Stale> {
        match wanted {
            Some(wanted) if wanted != self.generation => {
                Err(Stale { now: self.generation, wanted })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn route(&self, key: &Key) -> Option<&Arc<Route>> {
        self.routes.get(key)
    }

    pub(crate) fn target(&self, service: &Name, name: &Name) -> Option<&Arc<Target>> {
        self.services.get(service)?.targets.get(name)
    }

    pub(crate) fn put_route(&mut self, route: Route) -> Result<Put, Full> {
        let put = match self.routes.get(&route.key) {
            Some(old) if old.wire == route.wire => return Ok(Put::Unchanged),
            Some(_) => Put::Changed,
            None if self.routes.len() >= limits::OBJECTS => return Err(Full("routes")),
            None => Put::Created,
        };
        self.routes.insert(route.key.clone(), Arc::new(route));
        self.generation += 1;
        Ok(put)
    }

    /// `false` if there was none.
    pub(crate) fn delete_route(&mut self, key: &Key) -> bool {
        let deleted = self.routes.remove(key).is_some();
        self.generation += u64::from(deleted);
        deleted
    }

    pub(crate) fn put_service(
        &mut self,
        name: &Name,
        settings: wire::Service,
    ) -> Result<Put, Full> {
        let put = match self.services.get(name) {
            Some(old) if old.settings.as_ref() == Some(&settings) => return Ok(Put::Unchanged),
            Some(_) => Put::Changed,
            None if self.services.len() >= limits::OBJECTS => return Err(Full("services")),
            None => Put::Created,
        };
        self.services.entry(name.clone()).or_default().settings = Some(settings);
        self.generation += 1;
        Ok(put)
    }

    pub(crate) fn put_target(
        &mut self,
        service: &Name,
        name: &Name,
        address: Address,
    ) -> Result<Put, Full> {
        if !self.services.contains_key(service) && self.services.len() >= limits::OBJECTS {
            return Err(Full("services"));
        }
        let targets = &mut self.services.entry(service.clone()).or_default().targets;
        let put = match targets.get(name) {
            Some(old) if old.address == address => return Ok(Put::Unchanged),
            Some(_) => Put::Changed,
            None if targets.len() >= limits::OBJECTS => return Err(Full("targets")),
            None => Put::Created,
        };
        self.targets_made += 1;
        let label = format!("{}/{}", service.as_str(), name.as_str());
        let target = Arc::new(Target::new(self.targets_made, label, address));
        if let Some(old) = targets.insert(name.clone(), target) {
            old.retire();
            self.draining.push((service.clone(), name.clone(), old));
        }
        self.generation += 1;
        Ok(put)
    }

    /// Takes a target out of service. `None` if there is none of that name.
    pub(crate) fn retire(&mut self, service: &Name, name: &Name) -> Option<Arc<Target>> {
        let wanted = self.services.get_mut(service)?;
        let target = wanted.targets.remove(name)?;
        if wanted.targets.is_empty() && wanted.settings.is_none() {
            self.services.remove(service);
        }
        target.retire();
        self.draining.push((service.clone(), name.clone(), Arc::clone(&target)));
        self.generation += 1;
        Some(target)
    }

    /// Takes all targets of a service out. `None` if there is no such service.
    pub(crate) fn delete_service(&mut self, service: &Name) -> Option<Vec<Arc<Target>>> {
        let targets = self.services.remove(service)?.targets;
        let retired = targets.values().cloned().collect();
        for (name, target) in targets {
            target.retire();
            self.draining.push((service.clone(), name, target));
        }
        self.generation += 1;
        Some(retired)
    }

    /// Lets go of retired targets that nobody uses any more.
    pub(crate) fn forget_drained(&mut self) {
        self.draining.retain(|(_, _, target)| !target.is_drained());
    }

    /// The picture for a worker.
    pub(crate) fn table(&self) -> Table {
        let service = |(name, wanted): (&Name, &Wanted)| {
            let targets = wanted.targets.values().cloned().collect();
            (name.clone(), Arc::new(Service { name: name.clone(), targets }))
        };
        let services: BTreeMap<Name, Arc<Service>> = self.services.iter().map(service).collect();
        let entry = |route: &Arc<Route>| Entry {
            route: Arc::clone(route),
            service: route.service.as_ref().and_then(|name| services.get(name).cloned()),
        };
        let live = self.services.values().flat_map(|wanted| wanted.targets.values());
        let live = live.map(|target| target.number).collect();
        Table::new(self.generation, self.routes.values().map(entry).collect(), live)
    }

    /// The picture for the control API. A retired target is shown until it is drained, unless
    /// its name has a new bearer.
    pub(crate) fn view(&self) -> wire::State {
        let settings = |(name, wanted): (&Name, &Wanted)| {
            let settings = wanted.settings.clone().unwrap_or_default();
            let view = wire::ServiceView { settings, ..wire::ServiceView::default() };
            (name.as_str().to_owned(), view)
        };
        let mut services: BTreeMap<String, _> = self.services.iter().map(settings).collect();
        let live = self.services.iter().flat_map(|(service, wanted)| {
            wanted.targets.iter().map(move |(name, target)| (service, name, target))
        });
        let draining = self.draining.iter().filter(|(_, _, target)| !target.is_drained());
        for (service, name, target) in draining.map(|(s, n, t)| (s, n, t)).chain(live) {
            services
                .entry(service.as_str().to_owned())
                .or_default()
                .targets
                .insert(name.as_str().to_owned(), target.view());
        }
        wire::State {
            serving: true,
            generation: self.generation,
            routes: self.routes.values().map(|r| (r.key.to_string(), r.wire.clone())).collect(),
            services,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        PutRoute(u8, u8),
        DeleteRoute(u8),
        PutTarget(u8, u8, u8),
        Retire(u8, u8),
        DeleteService(u8),
        /// A request for a host begins, seen through a picture as old as the second says.
        Claim(u8, u8, u64),
        /// One of the requests in flight ends.
        Release(usize),
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        let few = 0..3_u8;
        prop_oneof![
            (few.clone(), few.clone()).prop_map(|(h, s)| Step::PutRoute(h, s)),
            few.clone().prop_map(Step::DeleteRoute),
            (few.clone(), few.clone(), few.clone()).prop_map(|(s, t, a)| Step::PutTarget(s, t, a)),
            (few.clone(), few.clone()).prop_map(|(s, t)| Step::Retire(s, t)),
            few.clone().prop_map(Step::DeleteService),
            (few.clone(), few, any::<u64>()).prop_map(|(h, old, r)| Step::Claim(h, old, r)),
            any::<usize>().prop_map(Step::Release),
            Just(Step::Forget),
        ]
    }

    fn name(number: u8) -> Name {
        Name::parse(&format!("n{number}")).unwrap()
    }

    fn host(number: u8) -> String {
        format!("h{number}.example")
    }

    fn key(number: u8) -> Key {
        Key::parse(&host(number)).unwrap()
    }

    proptest! {
        #[test]
        fn holds_in_any_order(steps in proptest::collection::vec(step(), 1..200)) {
            let mut state = State::default();
            let mut pictures = vec![state.table()];
            let mut in_flight: Vec<Arc<Target>> = Vec::new();
            let mut retired: Vec<Arc<Target>> = Vec::new();
            for step in steps {
                let before = state.view();
                let changed = match step.clone() {
                    Step::PutRoute(h, s) => {
                        let to = wire::Route::to(name(s).as_str());
                        state.put_route(Route::new(key(h), to).unwrap()).unwrap() != Put::Unchanged
                    }
                    Step::DeleteRoute(h) => state.delete_route(&key(h)),
                    Step::PutTarget(s, t, a) => {
                        let address = Address::parse(&format!("tcp:127.0.0.1:{}", a + 1)).unwrap();
                        let old = state.target(&name(s), &name(t)).cloned();
                        let put = state.put_target(&name(s), &name(t), address).unwrap();
                        if put == Put::Changed {
                            retired.extend(old);
                        }
                        put != Put::Unchanged
                    }
                    Step::Retire(s, t) => {
                        let target = state.retire(&name(s), &name(t));
                        retired.extend(target.clone());
                        target.is_some()
                    }
                    Step::DeleteService(s) => {
                        let targets = state.delete_service(&name(s));
                        retired.extend(targets.clone().unwrap_or_default());
                        targets.is_some()
                    }
                    Step::Claim(h, old, random) => {
                        let picture = &pictures[pictures.len().saturating_sub(1 + usize::from(old))];
                        let found = picture.find(&host(h), b"/").and_then(|at| picture.entry(at));
                        if let Some(service) = found.and_then(|found| found.service.as_ref())
                            && let Some(target) = service.claim(random, None) {
                                prop_assert!(!target.is_retired());
                                prop_assert!(!retired.iter().any(|r| r.number == target.number));
                                in_flight.push(target);
                            }
                        false
                    }
                    Step::Release(which) => {
                        if !in_flight.is_empty() {
                            let target = in_flight.swap_remove(which % in_flight.len());
                            let drained = target.release();
                            prop_assert_eq!(drained, target.is_drained());
                        }
                        false
                    }
                    Step::Forget => {
                        state.forget_drained();
                        false
                    }
                };
                let after = state.view();
                prop_assert_eq!(after.generation, before.generation + u64::from(changed));
                if changed {
                    pictures.push(state.table());
                    prop_assert_eq!(pictures.last().unwrap().generation, after.generation);
                } else {
                    prop_assert_eq!(before.routes, after.routes);
                }
                for target in retired.iter().chain(&in_flight) {
                    let count = in_flight.iter().filter(|t| t.number == target.number).count();
                    prop_assert_eq!(target.in_flight(), count as u64);
                    prop_assert_eq!(target.is_drained(), target.is_retired() && count == 0);
                }
                // Whatever is in flight is shown somewhere unless its name has a new bearer.
                let shown: u64 = after.services.values().flat_map(|s| s.targets.values()).map(|t| t.in_flight).sum();
                prop_assert!(shown <= in_flight.len() as u64);
            }
            in_flight.drain(..).for_each(|target| { target.release(); });
            state.forget_drained();
            prop_assert!(state.draining.is_empty());
        }

        #[test]
        fn never_below_zero(claims in 0..5_u32, releases in 0..10_u32) {
            let target = Target::new(1, String::new(), Address::parse("unix:/x").unwrap());
            (0..claims).for_each(|_| prop_assert_claim(&target));
            target.retire();
            let drained = (0..releases).filter(|_| target.release()).count();
            prop_assert_eq!(target.in_flight(), u64::from(claims.saturating_sub(releases)));
            prop_assert_eq!(drained, usize::from(claims > 0 && releases >= claims));
            prop_assert!(!target.claim());
        }
    }

    fn prop_assert_claim(target: &Target) {
        assert!(target.claim());
    }
}
