//! Tells a generation of the proxy what is new: all of it in one change, which costs about as much as a single one.
//!
//! A change that it refuses is told piece by piece instead, so that one that is wrong is in nobody else's way, and
//! is refused in words that are about nothing else.

use proxyd_wire::{Changes, ServiceChanges};
use tracing::warn;

use crate::generation::Generation;
use crate::plan::{Push, certificate};
use crate::proxy::{Control, ProxyError};

/// What has come of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) made: Vec<Push>,
    /// With its words.
    pub(crate) refused: Vec<(Push, String)>,
    /// Why it went no further.
    pub(crate) error: Option<ProxyError>,
}

pub(crate) async fn tell(
    control: &Control,
    generation: Generation,
    mut pushes: Vec<Push>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let is_apart = |push: &mut Push| matches!(push, Push::Tickets(_) | Push::Open);
    let mut apart: Vec<Push> = pushes.extract_if(.., is_apart).collect();
    // Clients come when all is there.
    apart.sort_by_key(|push| *push == Push::Open);
    if !pushes.is_empty() {
        match control.amend(&changes(&pushes)).await {
            Ok(()) => outcome.made = pushes,
            Err(ProxyError::Refused(status, _)) if status.is_client_error() => {
                one_by_one(control, generation, pushes, &mut outcome).await;
            }
            Err(failed) => outcome.error = Some(failed),
        }
    }
    if outcome.error.is_none() {
        one_by_one(control, generation, apart, &mut outcome).await;
    }
    outcome
}

async fn one_by_one(
    control: &Control,
    generation: Generation,
    pushes: Vec<Push>,
    outcome: &mut Outcome,
) {
    for push in pushes {
        match control.push(&push).await {
            Ok(()) => outcome.made.push(push),
            Err(ProxyError::Refused(status, why)) if status.is_client_error() => {
                warn!("{generation} was not told {push}: {why}");
                outcome.refused.push((push, why));
            }
            Err(failed) => {
                outcome.error = Some(failed);
                return;
            }
        }
    }
}

/// All of them as one change.
fn changes(pushes: &[Push]) -> Changes {
    let mut changes = Changes::default();
    for push in pushes {
        match push {
            Push::Front(front) => changes.front = Some((**front).clone()),
            Push::Route { route, to } => {
                changes.routes.insert(route.clone(), Some((**to).clone()));
            }
            Push::NoRoute { route } => drop(changes.routes.insert(route.clone(), None)),
            Push::Service { service, settings } => {
                of(&mut changes, service).settings = Some((**settings).clone());
            }
            Push::NoService { service } => drop(changes.services.insert(service.clone(), None)),
            Push::Maintenance { service, answer } => {
                of(&mut changes, service).maintenance = Some(Some((**answer).clone()));
            }
            Push::NoMaintenance { service } => of(&mut changes, service).maintenance = Some(None),
            Push::Target { id, target } => {
                let targets = &mut of(&mut changes, id.app.as_str()).targets;
                targets.insert(id.to_string(), Some(target.clone()));
            }
            Push::NoTarget { service, target } => {
                of(&mut changes, service).targets.insert(target.clone(), None);
            }
            Push::Tls(tls) => changes.tls = Some((**tls).clone()),
            Push::Certificate { name, pair } => {
                changes.certificates.insert(name.clone(), Some(certificate(pair)));
            }
            Push::NoCertificate { name } => drop(changes.certificates.insert(name.clone(), None)),
            Push::Acme(acme) => changes.acme = Some((**acme).clone()),
            Push::Tickets(_) | Push::Open => {}
        }
    }
    changes
}

/// What is to be otherwise of a service. One that was to be gone is there again.
fn of<'a>(changes: &'a mut Changes, service: &str) -> &'a mut ServiceChanges {
    let change = changes.services.entry(service.to_owned()).or_default();
    change.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use proxyd_wire::{Maintenance, Route, Service, Target};

    use super::*;
    use crate::name::{AppName, InstanceId};

    #[test]
    fn o10_what_is_new_is_one_change() {
        let id = InstanceId::new(AppName::parse("a").expect("a name"), 2);
        let all = [
            Push::Route { route: "a".into(), to: Box::new(Route::to("a")) },
            Push::NoRoute { route: "b".into() },
            Push::Service { service: "a".into(), settings: Box::new(Service::default()) },
            Push::Maintenance { service: "c".into(), answer: Box::new(Maintenance::default()) },
            Push::NoMaintenance { service: "a".into() },
            Push::NoService { service: "b".into() },
            Push::Target { id, target: Target::at("unix:/a") },
            Push::NoTarget { service: "a".into(), target: "a.1".into() },
            Push::Tls(Box::default()),
            Push::NoCertificate { name: "a".into() },
            Push::Open,
        ];
        let told = serde_json::to_value(changes(&all)).expect("plain");
        let maintenance = serde_json::to_value(Maintenance::default()).expect("plain");
        let wanted = serde_json::json!({
            "routes": {"a": {"service": "a"}, "b": null},
            "services": {
                "a": {
                    "settings": {},
                    "maintenance": null,
                    "targets": {"a.1": null, "a.2": {"address": "unix:/a"}},
                },
                "b": null,
                "c": {"maintenance": maintenance},
            },
            "tls": {},
            "certificates": {"a": null},
        });
        assert_eq!(told, wanted);
    }
}
