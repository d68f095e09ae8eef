//! The supervisor's care for what runs badly: instances that fail are restarted, and what dead
//! processes and forgotten probes have left is cleared away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use init_wire::{JobSpec, Policy, Status};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::info;

use crate::event::Event;
use crate::health::{Health, Probe};
use crate::job::JobInfo;
use crate::liveness::Pulse;
use crate::name::InstanceId;
use crate::place::Place;
use crate::plan::{Life, Seen, Wanted, instances_in};
use crate::socket_file;
use crate::supervise::Supervisor;
use crate::touched::Touched;

impl Supervisor {
    /// Does what is due about apps that were touched, and what time has made due about others.
    pub(crate) fn care(&mut self, touched: &Touched) {
        self.restart_failing(touched);
        self.clear_sockets(touched);
        self.sweep_probes();
    }

    fn restart_failing(&mut self, touched: &Touched) {
        let now = Instant::now();
        for id in self.roster.liveness.step(now, &self.pulses(touched)) {
            let Some(job) = self.roster.job(&id) else { continue };
            let (spec, pid) = (job.spec.clone(), job.pid.unwrap_or_default());
            let fault = self.roster.fault(&id, pid).map(ToString::to_string).unwrap_or_default();
            info!("restarting {id} (pid {pid}), which fails: {fault}");
            self.roster.restarting(&id);
            self.unwatch(&id);
            self.hands.restart(id, spec);
        }
        let Some(at) = self.roster.liveness.next(now) else { return };
        if self.look_at.is_none_or(|set| at < set) {
            self.look_at = Some(at);
            let after = at.saturating_duration_since(now);
            Self::remind(&self.hands.tell, after, Event::Look);
        }
    }

    /// How those are of whom something is new; nothing of those that are gone.
    fn pulses(&self, touched: &Touched) -> BTreeMap<InstanceId, Option<Pulse>> {
        let observed = self.roster.observed();
        let restless = self.roster.liveness.restless().map(|id| (id, None));
        let known = self.roster.liveness.known(touched).map(|id| (id, None));
        let there = instances_in(touched, &observed).map(|(id, seen)| (id, Some(seen)));
        let mut all: BTreeMap<&InstanceId, Option<&Seen>> = known.chain(restless).collect();
        for (id, seen) in &mut all {
            *seen = observed.instances.get(*id);
        }
        all.extend(there);
        let pulse = |(id, seen): (&InstanceId, Option<&Seen>)| {
            (id.clone(), seen.map(|seen| self.pulse(id, seen)))
        };
        all.into_iter().map(pulse).collect()
    }

    fn pulse(&self, id: &InstanceId, seen: &Seen) -> Pulse {
        match seen.life {
            Life::Running(Health::Ready) => Pulse::Well,
            Life::Running(Health::Failing) if self.may_restart(id, seen) => Pulse::Failing,
            Life::Running(Health::Failing | Health::Unknown | Health::Unready)
            | Life::Asked
            | Life::Coming
            | Life::Leaving
            | Life::Stopped
            | Life::Ended => Pulse::Coming,
        }
    }

    fn may_restart(&self, id: &InstanceId, seen: &Seen) -> bool {
        let is_wanted = match self.wanted.get(&id.app) {
            Some(Wanted::Running(order)) => order.app.health.restart,
            Some(Wanted::Stopped(_) | Wanted::AsItIs) | None => false,
        };
        is_wanted && seen.spec.restart.policy != Policy::Never && !self.winding_down
    }

    /// Before init starts the next process, the socket of the last one is gone.
    fn clear_sockets(&self, touched: &Touched) {
        let observed = self.roster.observed();
        for (id, seen) in instances_in(touched, &observed) {
            if let Place::Unix(path) = &seen.place
                && let Some(job) = self.roster.job(id)
                && job.status == Status::Backoff
                && let Some(ended) = ended(job)
            {
                socket_file::clear_stale(path, ended);
            }
        }
    }

    /// What init has given up is started again when the config is taken over, changed or not.
    pub(crate) fn clear_failed(&mut self) {
        let failed = self.roster.instances().filter(|(_, job)| job.status == Status::Failed);
        let runs = |id: &&InstanceId| matches!(self.wanted.get(&id.app), Some(Wanted::Running(_)));
        let failed: Vec<_> = failed.map(|(id, _)| id).filter(runs).cloned().collect();
        for id in failed {
            self.retire(&id);
        }
    }

    /// A job that asks is cleared by whoever has started it. If that is no more, it is here.
    fn sweep_probes(&mut self) {
        let is_watched = |whom: Option<&InstanceId>| {
            let watched = whom.and_then(|id| self.watches.get(id));
            watched.is_some_and(|watched| matches!(watched.check.probe, Probe::Exec(_)))
        };
        let left = self
            .roster
            .asking()
            .filter(|(job, whom)| !self.sweeping.contains(&job.id) && !is_watched(*whom));
        let left: Vec<(String, Arc<JobSpec>)> =
            left.map(|(job, _)| (job.id.clone(), Arc::clone(&job.spec))).collect();
        for (job, spec) in left {
            self.sweeping.insert(job.clone());
            self.hands.sweep(job, spec);
        }
    }
}

fn ended(job: &JobInfo) -> Option<SystemTime> {
    let ended = OffsetDateTime::parse(job.ended_at.as_deref()?, &Rfc3339).ok()?;
    Some(ended.into())
}
