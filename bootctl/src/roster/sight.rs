//! From what is known to what the planner wants of it, piece by piece as it changes.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use init_wire::Status;

use super::Roster;
use super::doing::{Change, Doing};
use super::proxies::{Told, shape};
use crate::collecting;
use crate::generation::{Generation, is_ours};
use crate::health::Health;
use crate::job::JobInfo;
use crate::name::InstanceId;
use crate::plan::{Collector, CollectorLife, Life, Observed, Proxy, ProxyLife, Seen, SeenProxy};
use crate::verdict::PATIENCE;

/// Why a job has ended that was stopped, in init's words.
const STOPPED: &str = "stopped on request";

impl Roster {
    /// Looks at an instance once more.
    pub(super) fn see(&mut self, id: &InstanceId) {
        let (seen, struggles) = (self.seen_instance(id), self.struggles(id));
        if self.seen.instances.get(id) == seen.as_ref()
            && self.seen.struggling.contains(id) == struggles
        {
            return;
        }
        let observed = Rc::make_mut(&mut self.seen);
        match seen {
            Some(seen) => drop(observed.instances.insert(id.clone(), seen)),
            None => drop(observed.instances.remove(id)),
        }
        if struggles {
            observed.struggling.insert(id.clone());
        } else {
            observed.struggling.remove(id);
        }
        self.touch(&id.app);
    }

    /// Looks at everything once more.
    pub(super) fn see_all(&mut self) {
        let asks = |known: &crate::job::Known| match &known.role {
            crate::job::Role::Asks(whom) => Some((known.info.id.clone(), whom.clone())),
            crate::job::Role::Instance(..) | crate::job::Role::Other => None,
        };
        self.asking = self.jobs.values().filter_map(asks).collect();
        let there = self.instances().map(|(id, _)| id.clone());
        let asked = self.doing.keys().cloned();
        let ids: std::collections::BTreeSet<InstanceId> = there.chain(asked).collect();
        let seen = ids.iter().filter_map(|id| Some((id.clone(), self.seen_instance(id)?)));
        let instances = seen.collect();
        let struggling = ids.iter().filter(|id| self.struggles(id)).cloned().collect();
        let observed = Rc::make_mut(&mut self.seen);
        *observed = Observed { instances, struggling, ..std::mem::take(observed) };
        self.see_collector();
        self.see_proxies();
        self.touch_all();
    }

    fn seen_instance(&self, id: &InstanceId) -> Option<Seen> {
        if let Some(Doing::Start { place, spec, .. }) = self.doing.get(id) {
            let (place, spec) = (place.clone(), Arc::clone(spec));
            return Some(Seen { place, spec, life: Life::Asked, restarts: 0 });
        }
        let (job, place) = self.instance(id)?;
        let (place, spec) = (place.clone(), Arc::clone(&job.spec));
        Some(Seen { place, spec, life: self.life(id, job), restarts: self.restarts(id, job) })
    }

    /// Whether it was started again and again without getting ready.
    fn struggles(&self, id: &InstanceId) -> bool {
        self.job(id).is_some_and(|job| {
            self.restarts(id, job) >= PATIENCE && self.life(id, job) != Life::Running(Health::Ready)
        })
    }

    fn restarts(&self, id: &InstanceId, job: &JobInfo) -> u32 {
        job.respawn.saturating_add(self.liveness.restarts(id))
    }

    fn life(&self, id: &InstanceId, job: &JobInfo) -> Life {
        match self.doing.get(id) {
            Some(Doing::Retire { .. }) => return Life::Leaving,
            Some(Doing::Restart) => return Life::Coming,
            Some(Doing::Start { .. }) | None => {}
        }
        match (job.status, job.pid) {
            (Status::Running, Some(pid)) => Life::Running(self.health(id, pid)),
            (Status::Running, None) | (Status::Starting | Status::Backoff, _) => Life::Coming,
            (Status::Stopping, _) => Life::Leaving,
            (Status::Success, _) if job.why == STOPPED => Life::Stopped,
            (Status::Success | Status::Failed, _) => Life::Ended,
        }
    }

    /// Looks at the collector once more.
    pub(super) fn see_collector(&mut self) {
        self.let_go_of_collector();
        let collector = self.seen_collector();
        Rc::make_mut(&mut self.seen).collector = collector;
    }

    fn seen_collector(&self) -> Collector {
        match (&self.collecting, self.named(collecting::JOB)) {
            (_, Some(job)) if !collecting::is_ours(&job.spec) => Collector::Foreign,
            (Some(Change::Start { spec, .. }), _) => {
                Collector::Ours { spec: Arc::clone(spec), life: CollectorLife::Changing }
            }
            (change, Some(job)) => {
                let life = match (change, job.status) {
                    (Some(_), _) | (None, Status::Stopping) => CollectorLife::Changing,
                    (None, Status::Starting | Status::Backoff) => CollectorLife::Coming,
                    (None, Status::Running) => CollectorLife::Running,
                    (None, Status::Success | Status::Failed) => CollectorLife::Ended,
                };
                Collector::Ours { spec: Arc::clone(&job.spec), life }
            }
            (Some(Change::Stop { .. }) | None, None) => Collector::Absent,
        }
    }

    /// Looks at the generations of the proxy once more.
    pub(super) fn see_proxies(&mut self) {
        self.let_go_of_proxies();
        let proxies = self.seen_proxies();
        let foreign = self.named_like_proxies().filter(|(_, job)| !is_ours(&job.spec));
        let foreign_proxies: std::collections::BTreeSet<_> =
            foreign.map(|(generation, _)| generation).collect();
        let shape = shape(&proxies);
        let observed = Rc::make_mut(&mut self.seen);
        observed.proxies = proxies;
        observed.proxy_refused = foreign_proxies.contains(&Generation::FIRST);
        observed.foreign_proxies = foreign_proxies;
        if shape != self.shape {
            self.shape = shape;
            self.touch_all();
        }
    }

    fn seen_proxies(&self) -> BTreeMap<Generation, SeenProxy> {
        let pids = self.proxy_pids();
        let ours = self.named_like_proxies().filter(|(_, job)| is_ours(&job.spec));
        let mut seen: BTreeMap<_, _> = ours
            .map(|(generation, job)| {
                let life = match (self.changing.get(&generation), job.status) {
                    (Some(Change::Stop { .. }), _) | (_, Status::Stopping) => ProxyLife::Leaving,
                    (_, Status::Success | Status::Failed) => ProxyLife::Ended,
                    (_, Status::Running) if job.pid.is_some() => ProxyLife::Running,
                    (_, Status::Starting | Status::Running | Status::Backoff) => ProxyLife::Coming,
                };
                let table = match (pids.get(&generation), self.told.get(&generation)) {
                    (None, _) => Proxy::Down,
                    (Some(pid), Some(Told::Table { pid: told, table })) if pid == told => {
                        Proxy::Known(Rc::clone(table))
                    }
                    (Some(_), _) => Proxy::Unknown,
                };
                (generation, SeenProxy { spec: Arc::clone(&job.spec), life, table })
            })
            .collect();
        for (generation, change) in &self.changing {
            if let Change::Start { spec, .. } = change {
                let spec = Arc::clone(spec);
                let asked = SeenProxy { spec, life: ProxyLife::Asked, table: Proxy::Down };
                seen.insert(*generation, asked);
            }
        }
        seen
    }
}
