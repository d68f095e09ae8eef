//! Several changes in one step, and nothing of them if there is no room for all.

use super::{Full, State};
use crate::config::{Changes, ServiceChanges};
use crate::limits;
use crate::name::Name;

impl State {
    /// Makes all of these changes, as one. What they do not name stays as it is, and what is the same stays the
    /// same object.
    pub(crate) fn amend(&mut self, changes: Changes) -> Result<(), Full> {
        self.check_room(&changes)?;
        let before = self.generation;
        let made = self.amend_each(changes);
        self.generation = before + u64::from(self.generation != before);
        made
    }

    fn amend_each(&mut self, changes: Changes) -> Result<(), Full> {
        if let Some(front) = changes.front {
            self.put_front(front);
        }
        if let Some(settings) = changes.tls {
            self.put_tls(settings);
        }
        for (name, certificate) in changes.certificates {
            match certificate {
                Some(certificate) => drop(self.put_certificate(&name, certificate)?),
                None => _ = self.delete_certificate(&name),
            }
        }
        if let Some((acme, stored)) = changes.acme {
            self.put_acme(acme, stored);
        }
        for (name, service) in changes.services {
            match service {
                Some(service) => self.amend_service(&name, service)?,
                None => drop(self.delete_service(&name, None)),
            }
        }
        for (key, route) in changes.routes {
            match route {
                Some(route) => drop(self.put_route(route)?),
                None => _ = self.delete_route(&key),
            }
        }
        Ok(())
    }

    fn amend_service(&mut self, name: &Name, changes: ServiceChanges) -> Result<(), Full> {
        if let Some(settings) = changes.settings {
            self.put_service(name, settings)?;
        }
        match changes.maintenance {
            Some(Some(maintenance)) => drop(self.put_maintenance(name, maintenance)?),
            Some(None) => _ = self.delete_maintenance(name),
            None => {}
        }
        for (target, wanted) in changes.targets {
            match wanted {
                Some((address, wire)) => drop(self.put_target(name, &target, address, wire)?),
                None => drop(self.retire(name, &target, None)),
            }
        }
        Ok(())
    }

    /// Whether there would be too many of a kind: what is taken away makes no room for what comes with it.
    fn check_room(&self, changes: &Changes) -> Result<(), Full> {
        let is_new = |name: &&Name| !self.services.contains_key(*name);
        let put = changes.services.iter().filter(|(_, service)| service.is_some());
        let services = put.map(|(name, _)| name).filter(is_new).count();
        let put = changes.routes.iter().filter(|(_, route)| route.is_some());
        let routes = put.filter(|(key, _)| !self.routes.contains_key(*key)).count();
        let is_full = |there: usize, new: usize| there.saturating_add(new) > limits::OBJECTS;
        let there = self.keyring.certificates();
        let put = changes.certificates.iter().filter(|(_, certificate)| certificate.is_some());
        let certificates = put.filter(|(name, _)| !there.contains_key(*name)).count();
        if is_full(there.len(), certificates) {
            return Err(Full("certificates"));
        }
        if is_full(self.services.len(), services) {
            return Err(Full("services"));
        }
        if is_full(self.routes.len(), routes) {
            return Err(Full("routes"));
        }
        for (name, service) in &changes.services {
            let new = service.iter().flat_map(|service| &service.targets);
            let there = self.services.get(name).map_or(0, |wanted| wanted.targets.len());
            if is_full(there, new.filter(|(_, target)| target.is_some()).count()) {
                return Err(Full("targets"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyd_wire as wire;

    use super::*;
    use crate::config::Config;

    type Few = proptest::collection::SizeRange;

    /// Changes of a few routes and services. What is put is never what a default would be.
    fn changes() -> impl Strategy<Value = wire::Changes> {
        let size = || Few::from(0..4);
        let route = (0..4_u8, prop::option::of(0..3_u8));
        let target = (0..3_u8, prop::option::of(1..3_u16));
        let maintenance = prop::option::of(prop::option::of(Just(wire::Maintenance::default())));
        let settings = prop::option::of(1..3_u32);
        let service =
            prop::option::of((settings, maintenance, prop::collection::vec(target, size())));
        let routes = prop::collection::vec(route, size());
        let services = prop::collection::vec((0..3_u8, service), size());
        (routes, services).prop_map(|(routes, services)| wire::Changes {
            front: None,
            acme: None,
            routes: routes
                .into_iter()
                .map(|(host, to)| {
                    (format!("h{host}.test"), to.map(|to| wire::Route::to(format!("s{to}"))))
                })
                .collect(),
            services: services
                .into_iter()
                .map(|(name, change)| {
                    let change = change.map(|(queue, maintenance, targets)| {
                        let target = |(name, port): (u8, Option<u16>)| {
                            let at = |port| wire::Target::at(format!("tcp:127.0.0.1:{port}"));
                            (format!("t{name}"), port.map(at))
                        };
                        wire::ServiceChanges {
                            settings: queue
                                .map(|queue| wire::Service { queue, ..wire::Service::default() }),
                            maintenance,
                            targets: targets.into_iter().map(target).collect(),
                        }
                    });
                    (format!("s{name}"), change)
                })
                .collect(),
            ..wire::Changes::default()
        })
    }

    /// What a document comes to.
    fn amended(mut document: wire::Config, changes: &wire::Changes) -> wire::Config {
        for (key, route) in &changes.routes {
            match route {
                Some(route) => drop(document.routes.insert(key.clone(), route.clone())),
                None => drop(document.routes.remove(key)),
            }
        }
        for (name, change) in &changes.services {
            let Some(change) = change else {
                document.services.remove(name);
                continue;
            };
            let service = document.services.entry(name.clone()).or_default();
            if let Some(settings) = &change.settings {
                service.settings = Some(settings.clone());
            }
            if let Some(maintenance) = &change.maintenance {
                service.maintenance.clone_from(maintenance);
            }
            for (target, wanted) in &change.targets {
                match wanted {
                    Some(wanted) => drop(service.targets.insert(target.clone(), wanted.clone())),
                    None => drop(service.targets.remove(target)),
                }
            }
            if *service == wire::ServiceConfig::default() {
                document.services.remove(name);
            }
        }
        document
    }

    proptest! {
        #[test]
        fn one_change_whatever_it_names(all in proptest::collection::vec(changes(), 1..6)) {
            let mut state = State::default();
            for changes in all {
                let (before, generation) = (state.config(), state.generation());
                let text = serde_json::to_string(&changes).expect("plain");
                let read: wire::Changes = serde_json::from_str(&text).expect("it was written");
                prop_assert_eq!(&read, &changes);
                let wanted = amended(before.clone(), &changes);
                state.amend(Changes::new(changes).expect("nothing is wrong")).expect("there is room");
                prop_assert_eq!(&state.config(), &wanted);
                let grown = state.generation() - generation;
                prop_assert!(grown <= 1 && (grown == 1 || before == wanted));
                Config::new(state.config()).expect("it is a document");
            }
        }
    }

    #[test]
    fn one_mistake_refuses_all_of_it() {
        let route = |to: &str| Some(wire::Route::to(to));
        let changes = wire::Changes {
            routes: [("a.test".to_owned(), route("a")), ("b b".to_owned(), route("b"))].into(),
            services: [("no name".to_owned(), None)].into(),
            ..wire::Changes::default()
        };
        assert_eq!(Changes::new(changes).expect_err("two mistakes").len(), 2);
    }
}
