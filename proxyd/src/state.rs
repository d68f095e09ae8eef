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

mod amend;
mod replace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxyd_wire as wire;
use thiserror::Error;

use crate::acme::{Known, Obtained, Proofs, Stored, Wanted as WantedAcme};
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
use crate::tls::{
    Certificate, Challenges, Keyring, Secret as TicketSecret, Settings as TlsSettings,
};

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
    /// Changes that nobody asked for, of what is obtained and proved.
    own_changes: u64,
    front: Arc<Front>,
    routes: BTreeMap<Key, Arc<Route>>,
    services: BTreeMap<Name, Wanted>,
    keyring: Keyring,
    acme: Arc<WantedAcme>,
    /// What authorities are answered.
    proofs: Arc<Proofs>,
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

    /// Grows with each change of the picture, also with those that nobody asked for.
    pub(crate) fn version(&self) -> u64 {
        self.generation + self.own_changes
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

    /// What is wanted of TLS.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub(crate) fn put_certificate(
        &mut self,
        name: &Name,
        certificate: Arc<Certificate>,
    ) -> Result<Put, Full> {
        let put = match self.keyring.certificates().get(name) {
            Some(old) if old.is_like(&certificate) => return Ok(Put::Unchanged),
            Some(_) => Put::Changed,
            None if self.keyring.is_full() => return Err(Full("certificates")),
            None => Put::Created,
        };
        self.keyring.put(name.clone(), certificate);
        self.generation += 1;
        Ok(put)
    }

    /// `false` if there was none.
    pub(crate) fn delete_certificate(&mut self, name: &Name) -> bool {
        let deleted = self.keyring.delete(name);
        self.generation += u64::from(deleted);
        deleted
    }

    /// Which certificates are to be obtained.
    pub(crate) fn acme(&self) -> &Arc<WantedAcme> {
        &self.acme
    }

    /// What was obtained and is shown.
    pub(crate) fn known(&self) -> Known {
        let names = self.keyring.obtained().keys().cloned().collect();
        Known { folder: self.acme.wire.folder.clone(), names }
    }

    /// `stored`: what of it was obtained before.
    pub(crate) fn put_acme(&mut self, wanted: WantedAcme, stored: Stored) -> Put {
        if self.acme.wire == wanted.wire {
            return Put::Unchanged;
        }
        let proofs = Arc::make_mut(&mut self.proofs);
        proofs.set_hosts(wanted.certificates.values().flatten());
        if let Some(thumbprint) = &stored.thumbprint {
            proofs.set_thumbprint(thumbprint);
        }
        self.keyring.keep_obtained(|name| wanted.certificates.contains_key(name));
        self.acme = Arc::new(wanted);
        for (name, obtained) in stored.certificates {
            self.put_obtained(&name, obtained);
        }
        self.generation += 1;
        Put::Changed
    }

    /// Shows a certificate, if it is still wanted.
    pub(crate) fn put_obtained(&mut self, name: &Name, obtained: Obtained) {
        let is_there = self.keyring.obtained().get(name);
        let is_same = is_there.is_some_and(|old| old.certificate.is_like(&obtained.certificate));
        if self.acme.certificates.contains_key(name) && !is_same {
            self.keyring.put_obtained(name.clone(), obtained);
            self.own_changes += 1;
        }
    }

    pub(crate) fn change_proofs(&mut self, change: impl FnOnce(&mut Proofs)) {
        change(Arc::make_mut(&mut self.proofs));
        self.own_changes += 1;
    }

    pub(crate) fn change_challenges(&mut self, change: impl FnOnce(&mut Challenges)) {
        self.keyring.change_challenges(change);
        self.own_changes += 1;
    }

    /// All workers have the same keys, and all of them from now on.
    pub(crate) fn put_tickets(&mut self, secret: TicketSecret) {
        self.generation += u64::from(self.keyring.tickets().put(secret));
    }

    pub(crate) fn put_tls(&mut self, settings: TlsSettings) -> Put {
        if self.keyring.settings.are_like(&settings) {
            return Put::Unchanged;
        }
        self.keyring.put_settings(settings);
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
    /// Who has been taken out before is given, too, while it is draining: whoever did that may have died while
    /// waiting. `None` if there is none of that name.
    pub(crate) fn retire(
        &mut self,
        service: &Name,
        name: &Name,
        stream_grace: Option<Duration>,
    ) -> Option<Arc<Target>> {
        let live = |wanted: &Wanted| wanted.targets.contains_key(name);
        if !self.services.get(service).is_some_and(live) {
            let is_it = |(whose, what, placed): &&(Name, Name, Placed)| {
                whose == service && what == name && !placed.target.is_drained()
            };
            let (_, _, placed) = self.draining.iter().rev().find(is_it)?;
            return Some(Arc::clone(&placed.target));
        }
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
        let mut table = Table::new(self.version(), entries, live);
        table.front = Arc::clone(&self.front);
        table.tls = self.keyring.picture();
        table.proofs = Arc::clone(&self.proofs);
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
            tls: self.keyring.settings.wire.clone(),
            // Their chains are told one by one.
            certificates: self
                .keyring
                .certificates()
                .iter()
                .map(|(name, certificate)| {
                    let view = wire::CertificateView { chain: None, ..certificate.view() };
                    (name.as_str().to_owned(), view)
                })
                .collect(),
            acme: self.acme.wire.clone(),
            tickets: self.keyring.tickets().name(),
        }
    }
}

#[cfg(test)]
mod tests;
