//! What bootctl knows about what is there: init's jobs, what it has asked for itself and has not
//! seen happen yet, and what the probes and the proxy say.

use std::collections::{BTreeMap, BTreeSet};

use init_wire::{JobEvent, JobInfo, JobSpec, Status};

use crate::app::identify;
use crate::collecting;
use crate::generation::{Generation, is_ours};
use crate::health::{Fault, Health};
use crate::liveness::Liveness;
use crate::name::{AppName, InstanceId};
use crate::order::Digest;
use crate::place::Place;
use crate::plan::{
    Collector, CollectorLife, Life, Observed, Proxy, ProxyLife, Push, Seen, SeenProxy, Table,
    Waiting, key,
};
use crate::probe::{Verdict, asks};
use crate::verdict::PATIENCE;

/// Why a job has ended that was stopped, in init's words.
const STOPPED: &str = "stopped on request";

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    jobs: BTreeMap<String, JobInfo>,
    /// The jobs as init tells them anew, until it has told all.
    telling: Option<BTreeMap<String, JobInfo>>,
    /// Whether `jobs` is what init has.
    pub(crate) is_current: bool,
    doing: BTreeMap<InstanceId, Doing>,
    health: BTreeMap<InstanceId, Known>,
    /// Those that fail, and when they are restarted.
    pub(crate) liveness: Liveness,
    /// Apps that are not started yet, and for whom they wait.
    pub(crate) waiting: BTreeMap<AppName, Waiting>,
    /// How the proxy's jobs are being changed.
    changing: BTreeMap<Generation, Change>,
    /// The same of the collector's.
    collecting: Option<Change>,
    /// What the generations have told; nothing of those that were not asked.
    pub(crate) told: BTreeMap<Generation, Told>,
    /// Instances that the pushes under way are about.
    pub(crate) pushing: BTreeMap<Generation, BTreeSet<InstanceId>>,
    /// What those that are being retired have to finish.
    pub(crate) in_flight: BTreeMap<InstanceId, u64>,
    /// Orders that init refused, with its words.
    pub(crate) refused: BTreeMap<AppName, (Digest, String)>,
}

/// What was asked of init, until its effect is seen.
#[derive(Clone, Debug)]
enum Doing {
    Start {
        place: Place,
        spec: Box<JobSpec>,
        answered: bool,
    },
    Retire {
        answered: bool,
    },
    /// It is stopped and started again, and its job stays.
    Restart,
}

/// What the probes of a process say.
#[derive(Clone, Debug)]
struct Known {
    pid: u32,
    verdict: Verdict,
    /// It was the first that this bootctl has heard of it, and no good news.
    is_doubted: bool,
}

/// A change of a generation's job, until its effect is seen.
#[derive(Clone, Debug)]
enum Change {
    Start { spec: Box<JobSpec>, answered: bool },
    Stop { answered: bool },
}

/// What a generation has told, and which process of it.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Asked { pid: u32 },
    Table { pid: u32, table: Table },
}

impl Told {
    /// Whom it is from.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Asked { pid } | Self::Table { pid, .. } => *pid,
        }
    }
}

impl Roster {
    /// init begins to tell all jobs anew.
    pub(crate) fn begin_anew(&mut self) {
        self.telling = Some(BTreeMap::new());
        self.is_current = false;
    }

    /// init does not answer.
    pub(crate) fn lose(&mut self) {
        self.telling = None;
        self.is_current = false;
    }

    /// Takes an event of init's.
    pub(crate) fn take(&mut self, event: JobEvent) {
        match event {
            JobEvent::Job { job, .. } => {
                if let Some((id, _)) = identify(&job.id, &job.spec)
                    && let Some(Doing::Start { answered: true, .. }) = self.doing.get(&id)
                {
                    self.doing.remove(&id);
                }
                let jobs = self.telling.as_mut().unwrap_or(&mut self.jobs);
                jobs.insert(job.id.clone(), *job);
            }
            JobEvent::Gone { id, .. } => {
                self.telling.as_mut().unwrap_or(&mut self.jobs).remove(&id);
                self.doing.retain(|instance, doing| {
                    let over = matches!(doing, Doing::Retire { answered: true });
                    !(over && instance.to_string() == id)
                });
            }
            JobEvent::Ready { .. } => {
                self.jobs = self.telling.take().unwrap_or_default();
                self.doing.retain(|_, doing| match doing {
                    Doing::Start { answered, .. } | Doing::Retire { answered } => !*answered,
                    Doing::Restart => true,
                });
                self.changing.retain(|_, change| match change {
                    Change::Start { answered, .. } | Change::Stop { answered } => !*answered,
                });
                self.collecting.take_if(|change| match change {
                    Change::Start { answered, .. } | Change::Stop { answered } => *answered,
                });
                self.is_current = true;
            }
            JobEvent::Missed { .. } => self.lose(),
        }
        self.see_proxies();
        self.see_collector();
    }

    pub(crate) fn starting(&mut self, id: &InstanceId, place: Place, spec: Box<JobSpec>) {
        self.doing.insert(id.clone(), Doing::Start { place, spec, answered: false });
    }

    pub(crate) fn retiring(&mut self, id: &InstanceId) {
        self.doing.insert(id.clone(), Doing::Retire { answered: false });
    }

    pub(crate) fn restarting(&mut self, id: &InstanceId) {
        self.doing.insert(id.clone(), Doing::Restart);
    }

    /// init has answered a restart. What is known of the process before it is void.
    pub(crate) fn restarted(&mut self, id: &InstanceId) {
        if matches!(self.doing.get(id), Some(Doing::Restart)) {
            self.doing.remove(id);
        }
    }

    /// init has answered a start or a retirement. If it did as asked, its event tells, before or
    /// after this.
    pub(crate) fn answered(&mut self, id: &InstanceId, done: bool) {
        let there = self.jobs.contains_key(&id.to_string());
        match self.doing.get_mut(id) {
            Some(Doing::Start { answered, .. }) if done && !there => *answered = true,
            Some(Doing::Retire { answered }) if done && there => *answered = true,
            Some(_) => drop(self.doing.remove(id)),
            None => {}
        }
    }

    pub(crate) fn starting_proxy(&mut self, generation: Generation, spec: Box<JobSpec>) {
        self.changing.insert(generation, Change::Start { spec, answered: false });
    }

    pub(crate) fn stopping_proxy(&mut self, generation: Generation) {
        self.changing.insert(generation, Change::Stop { answered: false });
    }

    /// init has answered to a change of a generation's job, as with instances.
    pub(crate) fn proxy_changed(&mut self, generation: Generation, done: bool) {
        match self.changing.get_mut(&generation) {
            Some(Change::Start { answered, .. } | Change::Stop { answered }) if done => {
                *answered = true;
            }
            Some(_) => drop(self.changing.remove(&generation)),
            None => {}
        }
        self.see_proxies();
    }

    pub(crate) fn starting_collector(&mut self, spec: Box<JobSpec>) {
        self.collecting = Some(Change::Start { spec, answered: false });
    }

    pub(crate) fn stopping_collector(&mut self) {
        self.collecting = Some(Change::Stop { answered: false });
    }

    /// init has answered to a change of the collector's job, as with instances.
    pub(crate) fn collector_changed(&mut self, done: bool) {
        match &mut self.collecting {
            Some(Change::Start { answered, .. } | Change::Stop { answered }) if done => {
                *answered = true;
            }
            Some(_) => self.collecting = None,
            None => {}
        }
        self.see_collector();
    }

    fn see_collector(&mut self) {
        let there = self.jobs.contains_key(collecting::JOB);
        self.collecting.take_if(|change| match change {
            Change::Start { answered, .. } => *answered && there,
            Change::Stop { answered } => *answered && !there,
        });
    }

    /// What init says about the collector.
    pub(crate) fn collector(&self) -> Option<&JobInfo> {
        self.jobs.get(collecting::JOB).filter(|job| collecting::is_ours(&job.spec))
    }

    fn seen_collector(&self) -> Collector {
        match (&self.collecting, self.jobs.get(collecting::JOB)) {
            (_, Some(job)) if !collecting::is_ours(&job.spec) => Collector::Foreign,
            (Some(Change::Start { spec, .. }), _) => {
                Collector::Ours { spec: spec.clone(), life: CollectorLife::Changing }
            }
            (change, Some(job)) => {
                let life = match (change, job.status) {
                    (Some(_), _) | (None, Status::Stopping) => CollectorLife::Changing,
                    (None, Status::Starting | Status::Backoff) => CollectorLife::Coming,
                    (None, Status::Running) => CollectorLife::Running,
                    (None, Status::Success | Status::Failed) => CollectorLife::Ended,
                };
                Collector::Ours { spec: Box::new(job.spec.clone()), life }
            }
            (Some(Change::Stop { .. }) | None, None) => Collector::Absent,
        }
    }

    /// Lets go of changes whose effect is there.
    fn see_proxies(&mut self) {
        let jobs = &self.jobs;
        self.changing.retain(|generation, change| {
            let there = jobs.contains_key(&generation.to_string());
            match change {
                Change::Start { answered, .. } => !(*answered && there),
                Change::Stop { answered } => !*answered || there,
            }
        });
    }

    /// Notes what a probe of a process says.
    pub(crate) fn judge(&mut self, id: InstanceId, pid: u32, verdict: Verdict) {
        let before = self.health.get(&id).filter(|known| known.pid == pid);
        let was_failing = before.is_some_and(|known| known.verdict.health == Health::Failing);
        let was_doubted = before.is_some_and(|known| known.is_doubted);
        let is_unready = verdict.health == Health::Unready;
        let health = if was_failing && is_unready { Health::Failing } else { verdict.health };
        let is_first = self.health(&id, pid) == Health::Unknown;
        let is_doubted = is_unready && (is_first || was_doubted);
        let verdict = Verdict { health, ..verdict };
        self.health.insert(id, Known { pid, verdict, is_doubted });
    }

    /// Notes changes that a generation made.
    pub(crate) fn pushed(&mut self, generation: Generation, process: u32, made: Vec<Push>) {
        self.pushing.remove(&generation);
        let Some(Told::Table { pid, table }) = self.told.get_mut(&generation) else { return };
        if *pid != process {
            return;
        }
        for push in made {
            table.apply(push);
        }
    }

    /// Notes that an instance is no target any more.
    pub(crate) fn drained(&mut self, id: &InstanceId) {
        for told in self.told.values_mut() {
            if let Told::Table { table, .. } = told {
                table.targets.remove(&key(id));
            }
        }
    }

    /// What init says about a job of this name, whosever it is.
    pub(crate) fn named(&self, job: &str) -> Option<&JobInfo> {
        self.jobs.get(job)
    }

    /// What init says about an instance.
    pub(crate) fn job(&self, id: &InstanceId) -> Option<&JobInfo> {
        self.jobs.get(&id.to_string()).filter(|job| identify(&job.id, &job.spec).is_some())
    }

    /// The same about all instances.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &JobInfo> {
        self.jobs.values().filter(|job| identify(&job.id, &job.spec).is_some())
    }

    /// What init says about the generations of the proxy.
    pub(crate) fn proxies(&self) -> impl DoubleEndedIterator<Item = (Generation, &JobInfo)> {
        let all: BTreeMap<Generation, &JobInfo> = self.named_like_proxies().collect();
        all.into_iter().filter(|(_, job)| is_ours(&job.spec))
    }

    /// The same about one.
    pub(crate) fn proxy(&self, generation: Generation) -> Option<&JobInfo> {
        self.jobs.get(&generation.to_string()).filter(|job| is_ours(&job.spec))
    }

    /// The processes of the generations, while they live.
    pub(crate) fn proxy_pids(&self) -> BTreeMap<Generation, u32> {
        let alive = |job: &JobInfo| matches!(job.status, Status::Running | Status::Stopping);
        let living = self.proxies().filter(|(_, job)| alive(job));
        living.filter_map(|(generation, job)| Some((generation, job.pid?))).collect()
    }

    fn named_like_proxies(&self) -> impl Iterator<Item = (Generation, &JobInfo)> {
        let jobs = self.jobs.values();
        jobs.filter_map(|job| Some((Generation::of_job(&job.id)?, job)))
    }

    /// Our processes that can be probed.
    pub(crate) fn processes(&self) -> BTreeMap<InstanceId, (u32, Place, &JobInfo)> {
        let running = self.jobs.values().filter(|job| job.status == Status::Running);
        let ours = running.filter_map(|job| {
            let (id, place) = identify(&job.id, &job.spec)?;
            Some((id, (job.pid?, place, job)))
        });
        ours.filter(|(id, _)| !self.doing.contains_key(id)).collect()
    }

    /// What is known of a process; forgets what was known of an earlier one.
    pub(crate) fn health(&self, id: &InstanceId, pid: u32) -> Health {
        match self.health.get(id) {
            Some(known) if known.pid == pid => known.verdict.health,
            // Its predecessor was seen, so this one has just begun.
            Some(_) => Health::Unready,
            None => Health::Unknown,
        }
    }

    /// Why the last probe of a process has failed, if it has.
    pub(crate) fn fault(&self, id: &InstanceId, pid: u32) -> Option<&Fault> {
        let known = self.health.get(id).filter(|known| known.pid == pid)?;
        known.verdict.fault.as_ref()
    }

    /// What this bootctl has never seen ready was so before, if a proxy has it as a target.
    pub(crate) fn see_lost(&mut self) {
        let Self { health, told, jobs, .. } = self;
        for (id, known) in health.iter_mut().filter(|(_, known)| known.is_doubted) {
            let place = jobs.get(&id.to_string()).and_then(|job| Place::of(&job.spec));
            let address = place.map(|place| place.address());
            let is_target = |told: &Told| match told {
                Told::Table { table, .. } => {
                    table.targets.get(&key(id)).map(|target| &target.address) == address.as_ref()
                }
                Told::Asked { .. } => false,
            };
            if address.is_some() && told.values().any(is_target) {
                known.verdict.health = Health::Failing;
            }
        }
    }

    /// The jobs that ask instances, each with whom it asks.
    pub(crate) fn asking(&self) -> impl Iterator<Item = (&JobInfo, String)> {
        self.jobs.values().filter_map(|job| Some((job, asks(&job.id, &job.spec)?)))
    }

    /// All of it as the planner wants it.
    pub(crate) fn observed(&self) -> Observed {
        let mut observed = Observed {
            proxies: self.seen_proxies(),
            collector: self.seen_collector(),
            refused: self
                .refused
                .iter()
                .map(|(name, (spec, _))| (name.clone(), spec.clone()))
                .collect(),
            ..Observed::default()
        };
        for job in self.jobs.values() {
            if let Some((id, place)) = identify(&job.id, &job.spec) {
                let life = self.life(&id, job);
                let restarts = job.respawn.saturating_add(self.liveness.restarts(&id));
                if restarts >= PATIENCE && life != Life::Running(Health::Ready) {
                    observed.struggling.insert(id.clone());
                }
                let spec = job.spec.clone();
                observed.instances.insert(id, Seen { place, spec, life, restarts });
            }
        }
        let foreign = self.named_like_proxies().filter(|(_, job)| !is_ours(&job.spec));
        observed.foreign_proxies = foreign.map(|(generation, _)| generation).collect();
        observed.proxy_refused = observed.foreign_proxies.contains(&Generation::FIRST);
        for (id, doing) in &self.doing {
            if let Doing::Start { place, spec, .. } = doing {
                let (spec, life) = (*spec.clone(), Life::Asked);
                let seen = Seen { place: place.clone(), spec, life, restarts: 0 };
                observed.instances.insert(id.clone(), seen);
            }
        }
        observed
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

    fn seen_proxies(&self) -> BTreeMap<Generation, SeenProxy> {
        let pids = self.proxy_pids();
        let mut seen: BTreeMap<_, _> = self
            .proxies()
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
                        Proxy::Known(table.clone())
                    }
                    (Some(_), _) => Proxy::Unknown,
                };
                (generation, SeenProxy { spec: job.spec.clone(), life, table })
            })
            .collect();
        for (generation, change) in &self.changing {
            if let Change::Start { spec, .. } = change {
                let spec = *spec.clone();
                let asked = SeenProxy { spec, life: ProxyLife::Asked, table: Proxy::Down };
                seen.insert(*generation, asked);
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;
    use crate::name::Port;
    use crate::order::Order;

    fn id() -> InstanceId {
        InstanceId::new(AppName::parse("a").expect("a name"), 1)
    }

    fn place() -> Place {
        Place::Port(Port::new(9000).expect("not 0"))
    }

    fn event(status: Status, pid: u32) -> JobEvent {
        let spec = Order::new(sample("a", 1)).job(1, &place());
        let job = JobInfo {
            id: "a.1".into(),
            status,
            pid: Some(pid),
            last_exit: None,
            respawn: 0,
            why: String::new(),
            started_at: None,
            ended_at: None,
            next_start: None,
            status_text: None,
            spec,
        };
        JobEvent::Job { seq: 1, job: Box::new(job) }
    }

    fn life(roster: &Roster) -> Option<Life> {
        roster.observed().instances.get(&id()).map(|seen| seen.life)
    }

    #[test]
    fn a_start_is_counted_until_its_event_comes_whichever_comes_first() {
        for event_first in [true, false] {
            let mut roster = Roster::default();
            let spec = Box::new(Order::new(sample("a", 1)).job(1, &place()));
            roster.starting(&id(), place(), spec);
            assert_eq!(life(&roster), Some(Life::Asked));
            if event_first {
                roster.take(event(Status::Running, 7));
                assert_eq!(life(&roster), Some(Life::Asked));
                roster.answered(&id(), true);
            } else {
                roster.answered(&id(), true);
                assert_eq!(life(&roster), Some(Life::Asked));
                roster.take(event(Status::Running, 7));
            }
            assert_eq!(life(&roster), Some(Life::Running(Health::Unknown)));
        }
    }

    #[test]
    fn a_retired_one_is_leaving_until_it_is_gone() {
        let mut roster = Roster::default();
        roster.take(event(Status::Running, 7));
        roster.retiring(&id());
        assert_eq!(life(&roster), Some(Life::Leaving));
        roster.answered(&id(), true);
        roster.take(event(Status::Success, 7));
        assert_eq!(life(&roster), Some(Life::Leaving));
        roster.take(JobEvent::Gone { seq: 2, id: "a.1".into() });
        assert_eq!(life(&roster), None);
    }

    #[test]
    fn what_somebody_had_stopped_and_did_not_clear_has_not_failed() {
        for (status, why, expected) in [
            (Status::Success, STOPPED, Life::Stopped),
            (Status::Success, "ended with exit code 0", Life::Ended),
            (Status::Failed, "ended with exit code 1", Life::Ended),
        ] {
            let mut roster = Roster::default();
            let JobEvent::Job { seq, mut job } = event(status, 7) else { panic!("it is a job") };
            job.why = why.into();
            roster.take(JobEvent::Job { seq, job });
            assert_eq!(life(&roster), Some(expected), "{why}");
        }
    }

    #[test]
    fn a_new_process_is_not_ready_because_the_old_one_was() {
        let mut roster = Roster::default();
        roster.take(event(Status::Running, 7));
        roster.judge(id(), 7, Verdict { health: Health::Ready, fault: None });
        assert_eq!(life(&roster), Some(Life::Running(Health::Ready)));
        roster.take(event(Status::Running, 8));
        assert_eq!(life(&roster), Some(Life::Running(Health::Unready)));
    }
}
