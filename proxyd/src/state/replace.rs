//! The whole of what is wanted, as a document and from one.

use std::sync::Arc;

use proxyd_wire as wire;

use super::{Full, Placed, Put, State, Wanted};
use crate::config::{self, Config};
use crate::maintenance::Maintenance;
use crate::name::Name;
use crate::route::Key;
use crate::settings::Settings;
use crate::target::Target;

impl State {
    /// All that is wanted, private keys included.
    pub(crate) fn config(&self) -> wire::Config {
        let routes = self.routes.values().map(|r| (r.key.to_string(), r.wire.clone())).collect();
        let services = self.services.iter().map(|(name, wanted)| {
            let target =
                |(name, placed): (&Name, &Placed)| (name.as_str().to_owned(), placed.wire.clone());
            let service = wire::ServiceConfig {
                settings: wanted.settings.as_ref().map(|settings| settings.wire.clone()),
                pause: wanted.pause.clone(),
                maintenance: wanted.maintenance.as_ref().map(|rule| rule.wire.clone()),
                targets: wanted.targets.iter().map(target).collect(),
            };
            (name.as_str().to_owned(), service)
        });
        let certificates = self.keyring.certificates().iter();
        wire::Config {
            front: self.front.wire.clone(),
            routes,
            services: services.collect(),
            tls: self.keyring.settings.wire.clone(),
            certificates: certificates
                .map(|(name, certificate)| (name.as_str().to_owned(), certificate.wire.clone()))
                .collect(),
            acme: self.acme.wire.clone(),
        }
    }

    /// The same as it may be shown: without private keys.
    pub(crate) fn shown_config(&self) -> wire::Config {
        let mut config = self.config();
        for certificate in config.certificates.values_mut() {
            certificate.key = None;
        }
        config
    }

    /// Wants this and nothing else, as one change. What is the same stays the same object: connections,
    /// claims and counters go on. Returns the targets that were retired.
    pub(crate) fn replace(&mut self, config: Config) -> Result<Vec<Arc<Target>>, Full> {
        let before = self.generation;
        let retired = self.replace_each(config);
        // One change, however many objects it is about.
        self.generation = before + u64::from(self.generation != before);
        retired
    }

    /// The same for a state that nobody has seen yet, which goes on counting where an earlier one was.
    pub(crate) fn resume(&mut self, config: Config, generation: u64) -> Result<(), Full> {
        self.replace(config)?;
        self.generation = generation.max(self.generation);
        Ok(())
    }

    fn replace_each(&mut self, config: Config) -> Result<Vec<Arc<Target>>, Full> {
        self.put_front(config.front);
        self.put_tls(config.tls);
        self.put_acme(config.acme, config.stored);
        let there = self.keyring.certificates().keys();
        let gone = there.filter(|name| !config.certificates.contains_key(*name));
        let gone: Vec<Name> = gone.cloned().collect();
        for name in &gone {
            self.delete_certificate(name);
        }
        for (name, certificate) in config.certificates {
            self.put_certificate(&name, certificate)?;
        }
        let gone = self.routes.keys().filter(|key| !config.routes.contains_key(*key));
        let gone: Vec<Key> = gone.cloned().collect();
        for key in &gone {
            self.delete_route(key);
        }
        let mut retired = Vec::new();
        let gone = self.services.keys().filter(|name| !config.services.contains_key(*name));
        let gone: Vec<Name> = gone.cloned().collect();
        for name in &gone {
            retired.extend(self.delete_service(name, None).unwrap_or_default());
        }
        for (name, service) in config.services {
            let gone = self.replace_service(&name, service)?;
            retired.extend(gone.iter().map(|(_, placed)| Arc::clone(&placed.target)));
            self.draining
                .extend(gone.into_iter().map(|(target, placed)| (name.clone(), target, placed)));
        }
        for route in config.routes.into_values() {
            self.put_route(route)?;
        }
        Ok(retired)
    }

    /// Shows the data path a service once, when all of it is as it is wanted. Returns what was retired.
    fn replace_service(
        &mut self,
        name: &Name,
        new: config::Service,
    ) -> Result<Vec<(Name, Placed)>, Full> {
        let mut retired = Vec::new();
        let wanted = self.service(name)?;
        let stream_grace = wanted.picture.settings.stream_grace;
        let gone = wanted.targets.keys().filter(|target| !new.targets.contains_key(*target));
        let gone: Vec<Name> = gone.cloned().collect();
        for target in gone {
            if let Some(placed) = wanted.targets.remove(&target) {
                placed.target.retire(stream_grace);
                retired.push((target, placed));
            }
        }
        let mut changed = wanted.replace_settings(new.settings, new.pause, new.maintenance);
        changed |= !retired.is_empty();
        for (target, (address, wire)) in new.targets {
            let (put, old) = self.place(name, &target, address, wire)?;
            retired.extend(old.map(|old| (target, old)));
            changed |= put != Put::Unchanged;
        }
        if changed {
            self.changed(name);
        }
        Ok(retired)
    }
}

impl Wanted {
    /// Whether anything is new.
    fn replace_settings(
        &mut self,
        settings: Option<Settings>,
        pause: Option<wire::Pause>,
        maintenance: Option<Maintenance>,
    ) -> bool {
        let old = self.maintenance.as_ref().map(|rule| &rule.wire);
        let changed = self.settings.as_deref() != settings.as_ref()
            || self.pause != pause
            || old != maintenance.as_ref().map(|rule| &rule.wire);
        if changed {
            self.settings = settings.map(Arc::new);
            self.pause = pause;
            self.maintenance = maintenance.map(Arc::new);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document() -> impl Strategy<Value = wire::Config> {
        let few = 0..3_u8;
        let routes = proptest::collection::btree_map(few.clone(), few.clone(), 0..3);
        let targets = proptest::collection::btree_map(few.clone(), few.clone(), 0..3);
        let service = (any::<bool>(), targets);
        let services = proptest::collection::btree_map(few, service, 0..3);
        (routes, services).prop_map(|(routes, services)| wire::Config {
            front: wire::Front::default(),
            routes: routes
                .into_iter()
                .map(|(host, service)| {
                    (format!("h{host}.test"), wire::Route::to(format!("s{service}")))
                })
                .collect(),
            services: services
                .into_iter()
                .map(|(name, (has_settings, targets))| {
                    let target = |(name, port): (u8, u8)| {
                        (
                            format!("t{name}"),
                            wire::Target::at(format!("tcp:127.0.0.1:{}", port + 1)),
                        )
                    };
                    let targets = targets
                        .into_iter()
                        .map(target)
                        .collect::<std::collections::BTreeMap<_, _>>();
                    let settings =
                        (has_settings || targets.is_empty()).then(wire::Service::default);
                    let pause = (name == 1 && has_settings).then(wire::Pause::default);
                    let service =
                        wire::ServiceConfig { settings, pause, targets, maintenance: None };
                    (format!("s{name}"), service)
                })
                .collect(),
            ..wire::Config::default()
        })
    }

    proptest! {
        #[test]
        fn one_change_from_any_document_to_any_other(documents in proptest::collection::vec(document(), 1..6)) {
            let mut state = State::default();
            let mut before = wire::Config::default();
            for document in documents {
                let generation = state.generation();
                let live: Vec<_> = state.table().live.into_iter().collect();
                let retired = state.replace(Config::new(document.clone()).unwrap()).unwrap();
                prop_assert_eq!(&state.config(), &document);
                prop_assert_eq!(state.generation(), generation + u64::from(before != document));
                prop_assert!(retired.iter().all(|target| target.is_retired()));
                // Who was live is live still, or was retired.
                let now = state.table().live;
                for number in live {
                    let gone = retired.iter().any(|target| target.number == number);
                    prop_assert!(now.contains(&number) != gone);
                }
                // An unchanged target is the same one.
                for (name, service) in &document.services {
                    for (target, wire) in &service.targets {
                        let same = before.services.get(name).and_then(|s| s.targets.get(target)) == Some(wire);
                        let name = Name::parse(name).unwrap();
                        let target = &state.services[&name].targets[&Name::parse(target).unwrap()].target;
                        prop_assert!(!target.is_retired());
                        prop_assert!(!same || !retired.iter().any(|r| Arc::ptr_eq(r, target)));
                    }
                }
                before = document;
            }
        }
    }
}
