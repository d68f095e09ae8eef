//! All that is wanted, as one document: checked as a whole, and every mistake told at once.

mod changes;
mod file;
mod mistake;

use std::collections::BTreeMap;
use std::sync::Arc;

use proxyd_wire as wire;

pub(crate) use changes::{Changes, ServiceChanges};
pub(crate) use file::{CannotRead, check, read};
pub(crate) use mistake::{Mistake, Why};

use crate::acme;
use crate::front::Front;
use crate::limits;
use crate::maintenance::Maintenance;
use crate::name::Name;
use crate::route::{Key, Route};
use crate::settings::{BadSetting, Settings, check_pause, check_target};
use crate::target::Address;
use crate::tls::{self, Certificate};

/// A document that can be.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) front: Front,
    pub(crate) routes: BTreeMap<Key, Route>,
    pub(crate) services: BTreeMap<Name, Service>,
    pub(crate) tls: tls::Settings,
    pub(crate) certificates: BTreeMap<Name, Arc<Certificate>>,
    pub(crate) acme: acme::Wanted,
    /// What of that was obtained before: see [`Config::take_obtained`].
    pub(crate) stored: acme::Stored,
    /// What was said of TLS and not read yet: see [`Config::read_certificates`].
    unread: (wire::Tls, BTreeMap<Name, wire::Certificate>),
}

/// A service as it is wanted.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// `None`: it is there for something else only.
    pub(crate) settings: Option<Settings>,
    pub(crate) pause: Option<wire::Pause>,
    pub(crate) maintenance: Option<Maintenance>,
    pub(crate) targets: BTreeMap<Name, (Address, wire::Target)>,
}

impl Config {
    /// Pages that are files are not read yet: see [`Config::read_pages`].
    pub(crate) fn new(wire: wire::Config) -> Result<Config, Vec<Mistake>> {
        let mut config = Config::default();
        let mut mistakes = Vec::new();
        match Front::new(wire.front) {
            Ok(front) => config.front = front,
            Err(error) => mistakes.push(Mistake::within(&["front"], error.key(), error.into())),
        }
        let counts = [
            ("routes", wire.routes.len()),
            ("services", wire.services.len()),
            ("certificates", wire.certificates.len()),
        ];
        for (kind, count) in counts {
            if count > limits::OBJECTS {
                mistakes.push(Mistake::new(&[kind], Why::Many(kind)));
            }
        }
        for (text, route) in wire.routes {
            config.add_route(&text, route, &mut mistakes);
        }
        for (text, service) in wire.services {
            config.add_service(&text, service, &mut mistakes);
        }
        for (text, certificate) in wire.certificates {
            match Name::parse(&text) {
                Ok(name) => drop(config.unread.1.insert(name, certificate)),
                Err(e) => mistakes.push(Mistake::new(&["certificates", &text], e.into())),
            }
        }
        match acme::Wanted::new(wire.acme) {
            Ok(wanted) => config.acme = wanted,
            Err(error) => mistakes.push(Mistake::within(&["acme"], error.key(), error.into())),
        }
        config.unread.0 = wire.tls;
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }

    /// Reads and understands what is said of TLS. A certificate that cannot be used is as good as none.
    /// `old`: those that are there, for chains that come without their keys. `now`: refuses those that
    /// have expired by then.
    pub(crate) fn read_certificates(
        &mut self,
        old: &BTreeMap<Name, Arc<Certificate>>,
        now: Option<i64>,
    ) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let (settings, certificates) = std::mem::take(&mut self.unread);
        match tls::Settings::new(settings) {
            Ok(settings) => self.tls = settings,
            Err(error) => mistakes.push(Mistake::within(&["tls"], error.key(), error.into())),
        }
        for (name, wire) in certificates {
            let read = tls::Material::read(&wire, old.get(&name).map(Arc::as_ref));
            match read.and_then(|material| Certificate::new(wire, material, now)) {
                Ok(certificate) => drop(self.certificates.insert(name, Arc::new(certificate))),
                Err(error) => {
                    let path = ["certificates", name.as_str()];
                    mistakes.push(Mistake::within(&path, error.key(), error.into()));
                }
            }
        }
        mistakes
    }

    /// Takes what was obtained before, and is not shown yet, from where it is kept.
    pub(crate) fn take_obtained(&mut self, known: &acme::Known) {
        self.stored = acme::take_new(&self.acme, known);
    }

    /// Reads the error pages that are files. One that cannot be read is as good as none.
    pub(crate) fn read_pages(&mut self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (key, route) in &mut self.routes {
            if let Err(wrong) = route.read_pages() {
                mistakes.extend(wrong.0.into_iter().map(|e| Mistake::route(&key.to_string(), e)));
            }
        }
        mistakes
    }

    fn add_route(&mut self, text: &str, route: wire::Route, mistakes: &mut Vec<Mistake>) {
        let key = Key::parse(text).map_err(|error| mistakes.push(Mistake::key(text, error)));
        // What it says is looked at even if nobody can come to it.
        let place = key.as_ref().ok().cloned().unwrap_or_default();
        let route = Route::new(place, route)
            .map_err(|wrong| mistakes.extend(wrong.0.into_iter().map(|e| Mistake::route(text, e))));
        if let (Ok(key), Ok(route)) = (key, route) {
            let shown = key.to_string();
            if self.routes.insert(key, route).is_some() {
                mistakes.push(Mistake::new(&["routes", text], Why::Twice(shown)));
            }
        }
    }

    fn add_service(
        &mut self,
        text: &str,
        service: wire::ServiceConfig,
        mistakes: &mut Vec<Mistake>,
    ) {
        let path = ["services", text];
        if service.targets.len() > limits::OBJECTS {
            mistakes.push(Mistake::new(&path, Why::Many("targets")));
        }
        let name = Name::parse(text);
        let name = name.map_err(|error| mistakes.push(Mistake::new(&path, error.into()))).ok();
        let mut bad = |section: &str, error: BadSetting| {
            let path = [&path[..], &[section]].concat();
            mistakes.push(Mistake::within(&path, error.key(), error.into()));
        };
        let settings = service.settings.map(|settings| {
            Settings::new(settings).unwrap_or_else(|error| {
                bad("settings", error);
                Settings::default()
            })
        });
        let maintenance = service.maintenance.and_then(|rule| {
            Maintenance::new(rule).map_err(|error| bad("maintenance", error)).ok()
        });
        if let Some(Err(error)) = service.pause.as_ref().map(check_pause) {
            bad("pause", error);
        }
        let targets = targets(text, service.targets, mistakes);
        let mut made = Service { settings, pause: service.pause, maintenance, targets };
        if made.pause.is_none() && made.maintenance.is_none() && made.targets.is_empty() {
            // Declared and with nothing to it, it is there all the same.
            made.settings.get_or_insert_default();
        }
        if let Some(name) = name {
            self.services.insert(name, made);
        }
    }
}

fn targets(
    service: &str,
    targets: BTreeMap<String, wire::Target>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<Name, (Address, wire::Target)> {
    let mut made = BTreeMap::new();
    for (text, target) in targets {
        let path = ["services", service, "targets", &text];
        let name = Name::parse(&text);
        let name = name.map_err(|error| mistakes.push(Mistake::new(&path, error.into()))).ok();
        if let Err(error) = check_target(&target) {
            mistakes.push(Mistake::within(&path, error.key(), error.into()));
        }
        let address = Address::parse(&target.address);
        let address = address.map_err(|error| {
            mistakes.push(Mistake::within(&path, vec!["address".to_owned()], error.into()));
        });
        if let (Some(name), Ok(address)) = (name, address) {
            made.insert(name, (address, target));
        }
    }
    made
}
