//! What a generation of the proxy has, and one change of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use proxyd_wire::{Acme, Front, Maintenance, Route, Service, Target, Tls};

use super::key;
use crate::name::{AppName, InstanceId};
use crate::tls::{GENERAL, Pair, Tickets};

/// What a generation of the proxy has been told, as far as that is ours to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) front: Box<Front>,
    /// By host, or host and the beginning of a path.
    pub(crate) routes: BTreeMap<String, Route>,
    /// The services that something is said of.
    pub(crate) services: BTreeMap<String, Service>,
    /// The services whose requests are answered without their targets.
    pub(crate) maintenance: BTreeMap<String, Maintenance>,
    /// Those that take requests, by service and name.
    pub(crate) targets: BTreeMap<(String, String), Target>,
    /// How TLS connections are made.
    pub(crate) tls: Box<Tls>,
    /// What each certificate is known by, by name.
    pub(crate) certificates: BTreeMap<String, String>,
    /// Certificates that are obtained, as it was told.
    pub(crate) acme: Box<Acme>,
    /// What the secret is known by that sessions are resumed by.
    pub(crate) tickets: String,
    /// Whether it lets clients in.
    pub(crate) serving: bool,
}

/// One change of a generation's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    Front(Box<Front>),
    Route {
        route: String,
        to: Box<Route>,
    },
    NoRoute {
        route: String,
    },
    Service {
        service: String,
        settings: Box<Service>,
    },
    /// It has no targets any more, and nothing is to be said of it.
    NoService {
        service: String,
    },
    Maintenance {
        service: String,
        answer: Box<Maintenance>,
    },
    NoMaintenance {
        service: String,
    },
    Target {
        id: InstanceId,
        target: Target,
    },
    NoTarget {
        service: String,
        target: String,
    },
    Tls(Box<Tls>),
    Certificate {
        name: String,
        pair: Arc<Pair>,
    },
    NoCertificate {
        name: String,
    },
    /// Certificates that are obtained.
    Acme(Box<Acme>),
    Tickets(Arc<Tickets>),
    /// It knows all that it has to: clients may come.
    Open,
}

/// As it is told of.
impl fmt::Display for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Front(_) => f.write_str("its own settings"),
            Self::Route { route, .. } => write!(f, "the route {route}"),
            Self::NoRoute { route } => write!(f, "that {route} is no route any more"),
            Self::Service { service, .. } => write!(f, "how {service} is used"),
            Self::NoService { service } => write!(f, "that {service} is gone"),
            Self::Maintenance { service, .. } => write!(f, "that {service} is under maintenance"),
            Self::NoMaintenance { service } => write!(f, "that {service} answers again"),
            Self::Target { id, .. } => write!(f, "the target {id}"),
            Self::NoTarget { target, .. } => write!(f, "that {target} is no target any more"),
            Self::Tls(_) => f.write_str("how TLS is spoken"),
            Self::Certificate { name, .. } if name == GENERAL => {
                f.write_str("the certificate for all")
            }
            Self::Certificate { name, .. } => write!(f, "the certificate of {name}"),
            Self::NoCertificate { name } if name == GENERAL => {
                f.write_str("that there is no certificate for all any more")
            }
            Self::NoCertificate { name } => write!(f, "that {name} has no certificate any more"),
            Self::Acme(_) => f.write_str("which certificates to obtain"),
            Self::Tickets(_) => f.write_str("what sessions are resumed by"),
            Self::Open => f.write_str("to let clients in"),
        }
    }
}

impl Push {
    /// The service whose targets are others then.
    pub(crate) fn about(&self) -> Option<AppName> {
        match self {
            Self::Target { id, .. } => Some(id.app.clone()),
            Self::NoTarget { service, .. } => AppName::parse(service).ok(),
            Self::Front(_)
            | Self::Route { .. }
            | Self::NoRoute { .. }
            | Self::Service { .. }
            | Self::NoService { .. }
            | Self::Maintenance { .. }
            | Self::NoMaintenance { .. }
            | Self::Tls(_)
            | Self::Certificate { .. }
            | Self::NoCertificate { .. }
            | Self::Acme(_)
            | Self::Tickets(_)
            | Self::Open => None,
        }
    }
}

impl Table {
    /// The targets of a service.
    pub(crate) fn targets_of(&self, service: &str) -> impl Iterator<Item = &(String, String)> {
        let from = (service.to_owned(), String::new());
        let of = self.targets.range(from..).map(|(key, _)| key);
        let service = service.to_owned();
        of.take_while(move |(whose, _)| *whose == service)
    }

    /// Makes a change.
    pub(crate) fn apply(&mut self, push: Push) {
        match push {
            Push::Front(front) => self.front = front,
            Push::Route { route, to } => drop(self.routes.insert(route, *to)),
            Push::NoRoute { route } => drop(self.routes.remove(&route)),
            Push::Service { service, settings } => drop(self.services.insert(service, *settings)),
            Push::NoService { service } => {
                self.services.remove(&service);
                self.maintenance.remove(&service);
            }
            Push::Maintenance { service, answer } => {
                self.maintenance.insert(service, *answer);
            }
            Push::NoMaintenance { service } => drop(self.maintenance.remove(&service)),
            Push::Target { id, target } => drop(self.targets.insert(key(&id), target)),
            Push::NoTarget { service, target } => drop(self.targets.remove(&(service, target))),
            Push::Tls(tls) => self.tls = tls,
            Push::Certificate { name, pair } => {
                self.certificates.insert(name, pair.fingerprint.clone());
            }
            Push::NoCertificate { name } => drop(self.certificates.remove(&name)),
            Push::Acme(acme) => self.acme = acme,
            Push::Tickets(tickets) => self.tickets.clone_from(&tickets.name),
            Push::Open => self.serving = true,
        }
    }
}
