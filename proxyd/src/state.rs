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

mod replace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxyd_wire as wire;
use thiserror::Error;

use crate::front::Front;
use crate::ledger::Ledger;
use crate::limits;
use crate::maintenance::Maintenance;
use crate::meter::Meter;
use crate::name::Name;
use crate::queue::Queue;
use crate::route::{Key, Route};
use crate::service::Service;
use crate::settings::Settings;
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
    front: Arc<Front>,
    routes: BTreeMap<Key, Arc<Route>>,
    services: BTreeMap<Name, Wanted>,
    /// Retired, and perhaps still in use.
    draining: Vec<(Name, Name, Placed)>,
    /// Where requests may wait for services that are gone.
    orphaned: Vec<Arc<Queue>>,
    targets_made: u64,
}

/// A service as it is wanted.
#[derive(Debug)]
struct Wanted {
    /// `None`: it is there for something else only.
    settings: Option<Arc<Settings>>,
    targets: BTreeMap<Name, Placed>,
    pause: Option<wire::Pause>,
    maintenance: Option<Arc<Maintenance>>,
    ledger: Arc<Ledger>,
    /// All that, for the data path.
    picture: Arc<Service>,
}

/// A target, and what it was put with.
#[derive(Clone, Debug)]
struct Placed {
    target: Arc<Target>,
    wire: wire::Target,
}

impl Wanted {
    fn new(name: &Name) -> Wanted {
        let (settings, ledger) = (Arc::<Settings>::default(), Arc::new(Ledger::new()));
        let none = std::iter::empty();
        let picture = Service::new(name.clone(), settings, (None, None), Arc::clone(&ledger), none);
        Wanted {
            settings: None,
            targets: BTreeMap::new(),
            pause: None,
            maintenance: None,
            ledger,
            picture: Arc::new(picture),
        }
    }

    /// Whether nothing is left that it would be there for.
    fn is_nothing(&self) -> bool {
        self.settings.is_none()
            && self.targets.is_empty()
            && self.pause.is_none()
            && self.maintenance.is_none()
    }
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

    pub(crate) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    pub(crate) fn put_front(&mut self, front: Front) -> Put {
        if self.front.wire == front.wire {
            return Put::Unchanged;
        }
        self.front = Arc::new(front);
        self.generation += 1;
        Put::Changed
    }

    pub(crate) fn route(&self, key: &Key) -> Option<&Arc<Route>> {
        self.routes.get(key)
    }

    pub(crate) fn target(&self, service: &Name, name: &Name) -> Option<wire::TargetView> {
        let placed = self.services.get(service)?.targets.get(name)?;
        Some(placed.target.view(&placed.wire))
    }

    /// The service of a name, made if there is none.
    fn service(&mut self, name: &Name) -> Result<&mut Wanted, Full> {
        if !self.services.contains_key(name) && self.services.len() >= limits::OBJECTS {
            return Err(Full("services"));
        }
        Ok(self.services.entry(name.clone()).or_insert_with(|| Wanted::new(name)))
    }

    /// After a change of a service: shows it to the data path, or lets go of it.
    fn changed(&mut self, name: &Name) {
        self.generation += 1;
        let Some(wanted) = self.services.get_mut(name) else { return };
        if wanted.is_nothing() {
            self.orphaned.push(Arc::clone(&wanted.ledger.queue));
            self.services.remove(name);
            return;
        }
        let targets = wanted.targets.values().map(|placed| (&placed.target, &placed.wire));
        wanted.picture = Arc::new(Service::new(
            name.clone(),
            wanted.settings.clone().unwrap_or_default(),
            (wanted.pause.clone(), wanted.maintenance.clone()),
            Arc::clone(&wanted.ledger),
            targets,
        ));
    }

    /// Where somebody waits who may find something new.
    pub(crate) fn waited_for(&mut self) -> Vec<Arc<Queue>> {
        self.orphaned.retain(|queue| !queue.is_empty());
        let queues = self.services.values().map(|wanted| &wanted.ledger.queue);
        queues.filter(|queue| !queue.is_empty()).chain(&self.orphaned).cloned().collect()
    }

    pub(crate) fn put_route(&mut self, mut route: Route) -> Result<Put, Full> {
        let put = match self.routes.get(&route.key) {
            Some(old) if route.is_like(old) => return Ok(Put::Unchanged),
            Some(old) => {
                route.succeed(old);
                Put::Changed
            }
            None if self.routes.len() >= limits::OBJECTS => return Err(Full("routes")),
            None => Put::Created,
        };
        self.routes.insert(route.key.clone(), Arc::new(route));
        self.generation += 1;
        Ok(put)
    }

    /// What each route has counted.
    pub(crate) fn meters(&self) -> impl Iterator<Item = (&Key, &Arc<Meter>)> {
        self.routes.values().map(|route| (&route.key, &route.meter))
    }

    /// `false` if there was none.
    pub(crate) fn delete_route(&mut self, key: &Key) -> bool {
        let deleted = self.routes.remove(key).is_some();
        self.generation += u64::from(deleted);
        deleted
    }

    pub(crate) fn put_service(&mut self, name: &Name, settings: Settings) -> Result<Put, Full> {
        let is_new = !self.services.contains_key(name);
        let wanted = self.service(name)?;
        if wanted.settings.as_deref() == Some(&settings) {
            return Ok(Put::Unchanged);
        }
        wanted.settings = Some(Arc::new(settings));
        self.changed(name);
        Ok(if is_new { Put::Created } else { Put::Changed })
    }

    /// From now on a service's requests wait.
    pub(crate) fn put_pause(&mut self, name: &Name, pause: &wire::Pause) -> Result<Put, Full> {
        let wanted = self.service(name)?;
        let put = match wanted.pause.replace(pause.clone()) {
            Some(old) if old == *pause => return Ok(Put::Unchanged),
            Some(_) => Put::Changed,
            None => Put::Created,
        };
        self.changed(name);
        Ok(put)
    }

    /// `false` if it is not paused.
    pub(crate) fn delete_pause(&mut self, name: &Name) -> bool {
        let paused = self.services.get_mut(name).and_then(|wanted| wanted.pause.take()).is_some();
        if paused {
            self.changed(name);
        }
        paused
    }

    /// From now on a service's requests are answered without its targets.
    pub(crate) fn put_maintenance(
        &mut self,
        name: &Name,
        maintenance: Maintenance,
    ) -> Result<Put, Full> {
        let wanted = self.service(name)?;
        let put = match &wanted.maintenance {
            Some(old) if old.wire == maintenance.wire => return Ok(Put::Unchanged),
            Some(_) => Put::Changed,
            None => Put::Created,
        };
        wanted.maintenance = Some(Arc::new(maintenance));
        self.changed(name);
        Ok(put)
    }

    /// `false` if it is not under maintenance.
    pub(crate) fn delete_maintenance(&mut self, name: &Name) -> bool {
        let wanted = self.services.get_mut(name);
        let ended = wanted.and_then(|wanted| wanted.maintenance.take()).is_some();
        if ended {
            self.changed(name);
        }
        ended
    }

    /// With the same address it stays the target that it is, whatever else is new.
    pub(crate) fn put_target(
        &mut self,
        service: &Name,
        name: &Name,
        address: Address,
        wire: wire::Target,
    ) -> Result<Put, Full> {
        let (put, retired) = self.place(service, name, address, wire)?;
        if put != Put::Unchanged {
            self.draining.extend(retired.map(|old| (service.clone(), name.clone(), old)));
            self.changed(service);
        }
        Ok(put)
    }

    /// Puts a target into its place, where the data path does not see it yet. Returns the one that was
    /// there and is retired now.
    fn place(
        &mut self,
        service: &Name,
        name: &Name,
        address: Address,
        wire: wire::Target,
    ) -> Result<(Put, Option<Placed>), Full> {
        self.targets_made += 1;
        let number = self.targets_made;
        let wanted = self.service(service)?;
        let old = wanted.targets.get(name);
        let put = match old {
            Some(old) if old.wire == wire => return Ok((Put::Unchanged, None)),
            Some(_) => Put::Changed,
            None if wanted.targets.len() >= limits::OBJECTS => return Err(Full("targets")),
            None => Put::Created,
        };
        let target = match old {
            Some(old) if old.target.address == address => Arc::clone(&old.target),
            _ => {
                let label = format!("{}/{}", service.as_str(), name.as_str());
                let queue = Arc::clone(&wanted.ledger.queue);
                Arc::new(Target::new(number, label, address, queue))
            }
        };
        let placed = Placed { target: Arc::clone(&target), wire };
        let old = wanted.targets.insert(name.clone(), placed);
        let retired = old.filter(|old| old.target.number != target.number);
        if let Some(old) = &retired {
            old.target.retire(wanted.picture.settings.stream_grace);
        }
        Ok((put, retired))
    }

    /// Takes a target out of service; its streams go on for so long, or for as long as the service says.
    /// `None` if there is none of that name.
    pub(crate) fn retire(
        &mut self,
        service: &Name,
        name: &Name,
        stream_grace: Option<Duration>,
    ) -> Option<Arc<Target>> {
        let wanted = self.services.get_mut(service)?;
        let placed = wanted.targets.remove(name)?;
        let target = Arc::clone(&placed.target);
        target.retire(stream_grace.unwrap_or(wanted.picture.settings.stream_grace));
        self.draining.push((service.clone(), name.clone(), placed));
        self.changed(service);
        Some(target)
    }

    /// Takes all targets of a service out. `None` if there is no such service.
    pub(crate) fn delete_service(
        &mut self,
        service: &Name,
        stream_grace: Option<Duration>,
    ) -> Option<Vec<Arc<Target>>> {
        let wanted = self.services.remove(service)?;
        let stream_grace = stream_grace.unwrap_or(wanted.picture.settings.stream_grace);
        self.orphaned.push(Arc::clone(&wanted.ledger.queue));
        let retired = wanted.targets.values().map(|placed| Arc::clone(&placed.target)).collect();
        for (name, placed) in wanted.targets {
            placed.target.retire(stream_grace);
            self.draining.push((service.clone(), name, placed));
        }
        self.generation += 1;
        Some(retired)
    }

    /// Lets go of retired targets that nobody uses any more.
    pub(crate) fn forget_drained(&mut self) {
        self.draining.retain(|(_, _, placed)| !placed.target.is_drained());
    }

    /// The picture for a worker.
    pub(crate) fn table(&self) -> Table {
        let picture =
            |name: &Name| self.services.get(name).map(|wanted| Arc::clone(&wanted.picture));
        let entry = |route: &Arc<Route>| Entry {
            route: Arc::clone(route),
            service: route.service.as_ref().and_then(picture),
        };
        let live = self.services.values().flat_map(|wanted| wanted.targets.values());
        let live = live.map(|placed| placed.target.number).collect();
        let entries = self.routes.values().map(entry).collect();
        let mut table = Table::new(self.generation, entries, live);
        table.front = Arc::clone(&self.front);
        table
    }

    /// The picture for the control API. A retired target is shown until it is drained, unless
    /// its name has a new bearer.
    pub(crate) fn view(&self) -> wire::State {
        let settings = |(name, wanted): (&Name, &Wanted)| {
            let view = wire::ServiceView {
                settings: wanted.picture.settings.wire.clone(),
                pause: wanted.pause.clone(),
                maintenance: wanted.maintenance.as_ref().map(|m| m.wire.clone()),
                waiting: wanted.ledger.queue.len() as u64,
                targets: BTreeMap::new(),
            };
            (name.as_str().to_owned(), view)
        };
        let mut services: BTreeMap<String, _> = self.services.iter().map(settings).collect();
        let live = self.services.iter().flat_map(|(service, wanted)| {
            wanted.targets.iter().map(move |(name, placed)| (service, name, placed))
        });
        let draining = self.draining.iter().filter(|(_, _, placed)| !placed.target.is_drained());
        for (service, name, placed) in draining.map(|(s, n, p)| (s, n, p)).chain(live) {
            services
                .entry(service.as_str().to_owned())
                .or_default()
                .targets
                .insert(name.as_str().to_owned(), placed.target.view(&placed.wire));
        }
        wire::State {
            serving: true,
            generation: self.generation,
            front: self.front.wire.clone(),
            routes: self.routes.values().map(|r| (r.key.to_string(), r.wire.clone())).collect(),
            services,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::h1::request::RequestHead;
    use crate::origin::Peer;
    use crate::service::Asker;

    #[derive(Clone, Debug)]
    enum Step {
        PutRoute(u8, u8),
        DeleteRoute(u8),
        PutFront(u8),
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
            few.clone().prop_map(Step::PutFront),
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
                    Step::PutFront(fields) => {
                        let fields = Some(u32::from(fields) + 1);
                        let wire = wire::Front { fields, ..wire::Front::default() };
                        let put = state.put_front(Front::new(wire.clone()).unwrap());
                        prop_assert_eq!(&state.table().front.wire, &wire);
                        put != Put::Unchanged
                    }
                    Step::PutTarget(s, t, a) => {
                        let wire = wire::Target::at(format!("tcp:127.0.0.1:{}", a + 1));
                        let address = Address::parse(&wire.address).unwrap();
                        let placed = |state: &State| {
                            let wanted = state.services.get(&name(s))?;
                            wanted.targets.get(&name(t)).map(|placed| Arc::clone(&placed.target))
                        };
                        let old = placed(&state);
                        let put = state.put_target(&name(s), &name(t), address, wire).unwrap();
                        if put == Put::Changed {
                            retired.extend(old);
                        }
                        put != Put::Unchanged
                    }
                    Step::Retire(s, t) => {
                        let target = state.retire(&name(s), &name(t), None);
                        retired.extend(target.clone());
                        target.is_some()
                    }
                    Step::DeleteService(s) => {
                        let targets = state.delete_service(&name(s), None);
                        retired.extend(targets.clone().unwrap_or_default());
                        targets.is_some()
                    }
                    Step::Claim(h, old, random) => {
                        let picture = &pictures[pictures.len().saturating_sub(1 + usize::from(old))];
                        let found = picture.find(&host(h), b"/").ok().and_then(|at| picture.entry(at));
                        let asker = Asker {
                            client: &Peer::new(std::net::Ipv4Addr::LOCALHOST.into()),
                            head: b"",
                            request: &RequestHead::default(),
                            tried: &[],
                            called: false,
                        };
                        if let Some(service) = found.and_then(|found| found.service.as_ref())
                            && let Ok(held) = service.claim(&asker, random, &mut Vec::new()) {
                                let target = held.target;
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
            let address = Address::parse("unix:/x").unwrap();
            let target = Target::new(1, String::new(), address, Arc::default());
            (0..claims).for_each(|_| prop_assert_claim(&target));
            target.retire(Duration::ZERO);
            let drained = (0..releases).filter(|_| target.release()).count();
            prop_assert_eq!(target.in_flight(), u64::from(claims.saturating_sub(releases)));
            prop_assert_eq!(drained, usize::from(claims > 0 && releases >= claims));
            prop_assert!(target.claim(u64::MAX).is_none());
        }
    }

    fn prop_assert_claim(target: &Target) {
        assert!(target.claim(u64::MAX).is_some());
    }
}
