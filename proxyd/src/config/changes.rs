//! What is to be otherwise of all that is wanted: checked as a whole, as a document is.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxyd_wire as wire;

use super::{Config, Mistake};
use crate::acme;
use crate::front::Front;
use crate::maintenance::Maintenance;
use crate::name::Name;
use crate::route::{Key, Route};
use crate::settings::Settings;
use crate::target::Address;
use crate::tls::{self, Certificate};

/// Changes that can be. `None` takes away.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) front: Option<Front>,
    pub(crate) routes: BTreeMap<Key, Option<Route>>,
    pub(crate) services: BTreeMap<Name, Option<ServiceChanges>>,
    pub(crate) tls: Option<tls::Settings>,
    pub(crate) certificates: BTreeMap<Name, Option<Arc<Certificate>>>,
    /// What was said of TLS and not read yet: see [`Changes::read_certificates`].
    unread: Config,
    has_tls: bool,
    pub(crate) acme: Option<(acme::Wanted, acme::Stored)>,
}

/// What is to be otherwise of a service.
#[derive(Debug, Default)]
pub(crate) struct ServiceChanges {
    pub(crate) settings: Option<Settings>,
    #[expect(clippy::option_option, reason = "not named, taken away, put")]
    pub(crate) maintenance: Option<Option<Maintenance>>,
    pub(crate) targets: BTreeMap<Name, Option<(Address, wire::Target)>>,
}

impl Changes {
    pub(crate) fn new(wire: wire::Changes) -> Result<Changes, Vec<Mistake>> {
        let wire::Changes { front, routes, services, tls, certificates, acme } = wire;
        let mut changes = Changes::default();
        let mut mistakes = Vec::new();
        let (has_front, has_acme) = (front.is_some(), acme.is_some());
        changes.has_tls = tls.is_some();
        // What is put is looked at as a document would be, and by the same rules.
        let mut put = wire::Config {
            front: front.unwrap_or_default(),
            tls: tls.unwrap_or_default(),
            acme: acme.unwrap_or_default(),
            ..wire::Config::default()
        };
        for (text, route) in routes {
            match (route, Key::parse(&text)) {
                (Some(route), _) => drop(put.routes.insert(text, route)),
                (None, Ok(key)) => drop(changes.routes.insert(key, None)),
                (None, Err(error)) => mistakes.push(Mistake::key(&text, error)),
            }
        }
        for (text, certificate) in certificates {
            match (certificate, Name::parse(&text)) {
                (Some(certificate), _) => drop(put.certificates.insert(text, certificate)),
                (None, Ok(name)) => drop(changes.certificates.insert(name, None)),
                (None, Err(e)) => mistakes.push(Mistake::new(&["certificates", &text], e.into())),
            }
        }
        for (text, service) in services {
            let name = match Name::parse(&text) {
                Ok(name) => name,
                Err(error) => {
                    mistakes.push(Mistake::new(&["services", &text], error.into()));
                    continue;
                }
            };
            let change = service.map(|service| split(&text, service, &mut put, &mut mistakes));
            changes.services.insert(name, change);
        }
        match Config::new(put) {
            Ok(config) if mistakes.is_empty() => Ok(changes.with(config, has_front, has_acme)),
            Ok(_) => Err(mistakes),
            Err(more) => Err(mistakes.into_iter().chain(more).collect()),
        }
    }

    /// Reads the error pages that are files. One that cannot be read is as good as none.
    pub(crate) fn read_pages(&mut self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (key, route) in &mut self.routes {
            if let Some(Err(wrong)) = route.as_mut().map(Route::read_pages) {
                mistakes.extend(wrong.0.into_iter().map(|e| Mistake::route(&key.to_string(), e)));
            }
        }
        mistakes
    }

    /// Reads and understands what is said of TLS; see [`Config::read_certificates`].
    pub(crate) fn read_certificates(
        &mut self,
        old: &BTreeMap<Name, Arc<Certificate>>,
        now: Option<i64>,
    ) -> Vec<Mistake> {
        let mut read = std::mem::take(&mut self.unread);
        let mistakes = read.read_certificates(old, now);
        self.tls = self.has_tls.then_some(read.tls);
        let put =
            read.certificates.into_iter().map(|(name, certificate)| (name, Some(certificate)));
        self.certificates.extend(put);
        mistakes
    }

    /// Takes what was obtained before, and is not shown yet, from where it is kept.
    pub(crate) fn take_obtained(&mut self, known: &acme::Known) {
        if let Some((wanted, stored)) = &mut self.acme {
            *stored = acme::take_new(wanted, known);
        }
    }

    /// The same with what is put.
    fn with(mut self, mut config: Config, has_front: bool, has_acme: bool) -> Changes {
        self.front = has_front.then_some(std::mem::take(&mut config.front));
        self.acme = has_acme.then(|| (std::mem::take(&mut config.acme), acme::Stored::default()));
        let routes = std::mem::take(&mut config.routes);
        self.routes.extend(routes.into_iter().map(|(key, route)| (key, Some(route))));
        for (name, service) in std::mem::take(&mut config.services) {
            let Some(Some(change)) = self.services.get_mut(&name) else { continue };
            // A document declares a service with nothing to it, too; a change does not.
            change.settings = change.settings.take().and(service.settings);
            if let Some(maintenance) = service.maintenance {
                change.maintenance = Some(Some(maintenance));
            }
            let targets = service.targets.into_iter().map(|(name, put)| (name, Some(put)));
            change.targets.extend(targets);
        }
        self.unread = config;
        self
    }
}

/// What a service's changes take away; what they put goes into the document.
fn split(
    text: &str,
    service: wire::ServiceChanges,
    put: &mut wire::Config,
    mistakes: &mut Vec<Mistake>,
) -> ServiceChanges {
    let wire::ServiceChanges { settings, maintenance, targets } = service;
    let mut change = ServiceChanges {
        settings: settings.as_ref().map(|_| Settings::default()),
        maintenance: maintenance.as_ref().map(|_| None),
        targets: BTreeMap::new(),
    };
    let mut document =
        wire::ServiceConfig { settings, maintenance: maintenance.flatten(), ..Default::default() };
    for (target, wanted) in targets {
        match (wanted, Name::parse(&target)) {
            (Some(wanted), _) => drop(document.targets.insert(target, wanted)),
            (None, Ok(name)) => drop(change.targets.insert(name, None)),
            (None, Err(error)) => {
                let path = ["services", text, "targets", &target];
                mistakes.push(Mistake::new(&path, error.into()));
            }
        }
    }
    put.services.insert(text.to_owned(), document);
    change
}
