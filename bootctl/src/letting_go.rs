//! To let go of an app's instances alive, and to take them back.
//!
//! What is let go of is written down first: from then on its instances are not ended but handed back to themselves,
//! by whichever bootctl comes to it. They keep their process, their place and their clients; the proxy sends them
//! nobody any more, and nobody starts them again. They survive bootctl and init. Taken back, they are instances as
//! before, of the order that they were started by: if that is another one by now, they are replaced.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use axum::http::StatusCode;
use init_wire::Status;
use serde::{Deserialize, Serialize};

use crate::app::{ENV_APP, ENV_INSTANCE};
use crate::event::Reply;
use crate::name::{AppName, InstanceId, Port};
use crate::order::Digest;
use crate::place::{Place, PlaceKind};
use crate::plan::{Wanted, instances_of};
use crate::requests::{Goal, refused};
use crate::supervise::Supervisor;

/// What tells an instance that was started by another order than the one it is taken back into.
const ENV_OLD: &str = "BOOTCTL_TAKEN_BACK";

/// An instance that was let go of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetGo {
    pub(crate) number: u32,
    pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    socket: Option<PathBuf>,
    /// What it was started by, if that was what was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Digest>,
}

impl LetGo {
    fn place(&self) -> Place {
        match (self.port.and_then(Port::new), &self.socket) {
            (Some(port), _) => Place::Port(port),
            (None, Some(path)) => Place::Unix(path.clone()),
            (None, None) => Place::Nowhere,
        }
    }

    /// Whether the process of that number is still that instance, and not another one that has its number now.
    fn is_alive(&self, app: &AppName) -> bool {
        let Ok(environment) = fs::read(format!("/proc/{}/environ", self.pid)) else { return false };
        let has = |name: &str, value: &str| {
            let wanted = format!("{name}={value}");
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        };
        has(ENV_APP, app.as_str()) && has(ENV_INSTANCE, &self.number.to_string())
    }

    pub(crate) fn told(all: &[Self], app: &AppName) -> Option<String> {
        let pids: Vec<String> = all.iter().map(|one| one.pid.to_string()).collect();
        (!pids.is_empty()).then(|| {
            format!(
                "it was let go of and may still run, as pid {}; `bootctl adopt {app}` takes it back",
                pids.join(", ")
            )
        })
    }
}

impl Supervisor {
    pub(crate) fn let_go(&mut self, app: &str) -> Result<Goal, Box<Reply>> {
        let (name, app) = self.whole(app)?;
        let conflict = |error, message| refused(StatusCode::CONFLICT, error, message);
        if app.socket == PlaceKind::Fd {
            let message = format!(
                "the listener of {name} is init's and cannot go with it; let go of apps with `socket = \"port\"` \
                 or \"unix\""
            );
            return Err(conflict("kept_listener", message));
        }
        let order = match self.wanted.get(&name) {
            Some(Wanted::Running(order)) => Some(order.clone()),
            Some(Wanted::Stopped(_) | Wanted::AsItIs) | None => None,
        };
        let mut gone = Vec::new();
        for (id, seen) in instances_of(&name, &self.roster.observed()) {
            let job = self.roster.job(id).filter(|job| job.status == Status::Running);
            let Some(pid) = job.and_then(|job| job.pid) else { continue };
            let current = order.as_ref().filter(|order| order.is_current(id, seen));
            gone.push(LetGo {
                number: id.number,
                pid,
                port: seen.place.port().map(Port::number),
                socket: seen.place.path().map(PathBuf::from),
                order: current.map(crate::order::Order::digest),
            });
        }
        if gone.is_empty() {
            return Err(conflict("nothing_runs", format!("no instance of {name} runs")));
        }
        self.note(&name, |record| {
            record.stopped = true;
            record.held = None;
            record.let_go = gone;
        })?;
        self.want(&name, app);
        Ok(Goal::Stopped(name))
    }

    pub(crate) fn reclaim(&mut self, app: &str) -> Result<Goal, Box<Reply>> {
        let (name, app) = self.at_work(app)?;
        let there = self.store.record(&name).let_go;
        if there.is_empty() {
            let message =
                format!("nothing of {name} was let go of; `bootctl start {name}` starts it");
            return Err(refused(StatusCode::CONFLICT, "nothing_let_go", message));
        }
        self.note(&name, |record| {
            record.stopped = false;
            record.held = None;
            record.let_go.clear();
        })?;
        self.want(&name, app);
        let Some(Wanted::Running(order)) = self.wanted.get(&name).cloned() else {
            return Ok(Goal::Running(name));
        };
        for one in there.iter().filter(|one| one.is_alive(&name)) {
            let id = InstanceId::new(name.clone(), one.number);
            if self.roster.job(&id).is_some() {
                continue;
            }
            let place = one.place();
            let mut spec = order.job(one.number, &place);
            spec.adopt = Some(one.pid);
            if one.order.as_ref() != Some(&order.digest()) {
                spec.envs.insert(ENV_OLD.into(), "1".into());
            }
            let spec = Arc::new(spec);
            self.roster.starting(&id, place, Arc::clone(&spec));
            self.hands.take_back(id, spec);
        }
        Ok(Goal::Running(name))
    }

    /// Whether an instance is to be let go of instead of being ended.
    pub(crate) fn lets_go_of(&self, id: &InstanceId) -> bool {
        let record = self.store.record(&id.app);
        record.stopped && record.let_go.iter().any(|one| one.number == id.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z07_another_process_of_that_number_is_not_taken_back() {
        let app = AppName::parse("a").expect("a name");
        let pid = std::process::id();
        let one = LetGo { number: 1, pid, port: None, socket: None, order: None };
        assert!(!one.is_alive(&app), "this test is no instance");
        assert_eq!(one.place(), Place::Nowhere);
        assert!(LetGo::told(&[], &app).is_none());
        assert!(LetGo::told(&[one], &app).is_some_and(|told| told.contains(&pid.to_string())));
    }
}
