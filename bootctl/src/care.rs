//! The supervisor's care for what runs badly: instances that fail are restarted, and what dead
//! processes and forgotten probes have left is cleared away.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use init_wire::{JobInfo, JobSpec, Policy, Status};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::info;

use crate::app::identify;
use crate::event::Event;
use crate::health::{Health, Probe};
use crate::liveness::Pulse;
use crate::name::InstanceId;
use crate::place::Place;
use crate::plan::{Life, Seen, Wanted};
use crate::socket_file;
use crate::supervise::Supervisor;

impl Supervisor {
    /// Does what is due.
    pub(crate) fn care(&mut self) {
        self.restart_failing();
        self.clear_sockets();
        self.sweep_probes();
    }

    fn restart_failing(&mut self) {
        let now = Instant::now();
        let observed = self.roster.observed();
        let all = observed.instances.iter();
        let seen: BTreeMap<_, _> =
            all.map(|(id, seen)| (id.clone(), self.pulse(id, seen))).collect();
        for id in self.roster.liveness.step(now, &seen) {
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
    fn clear_sockets(&self) {
        for job in self.roster.instances().filter(|job| job.status == Status::Backoff) {
            if let Some(Place::Unix(path)) = Place::of(&job.spec)
                && let Some(ended) = ended(job)
            {
                socket_file::clear_stale(&path, ended);
            }
        }
    }

    /// What init has given up is started again when the config is taken over, changed or not.
    pub(crate) fn clear_failed(&mut self) {
        let failed = self.roster.instances().filter(|job| job.status == Status::Failed);
        let failed = failed.filter_map(|job| identify(&job.id, &job.spec));
        let runs = |id: &InstanceId| matches!(self.wanted.get(&id.app), Some(Wanted::Running(_)));
        let failed: Vec<_> = failed.map(|(id, _)| id).filter(runs).collect();
        for id in failed {
            self.retire(&id);
        }
    }

    /// A job that asks is cleared by whoever has started it. If that is no more, it is here.
    fn sweep_probes(&mut self) {
        let is_watched = |whom: &str| {
            let mut watches = self.watches.iter();
            watches.any(|(id, watched)| {
                id.to_string() == whom && matches!(watched.check.probe, Probe::Exec(_))
            })
        };
        let left = self
            .roster
            .asking()
            .filter(|(job, whom)| !self.sweeping.contains(&job.id) && !is_watched(whom));
        let left: Vec<(String, JobSpec)> =
            left.map(|(job, _)| (job.id.clone(), job.spec.clone())).collect();
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
