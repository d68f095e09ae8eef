//! What bootctl knows about what is there: init's jobs, what it has asked for itself and has not
//! seen happen yet, and what the probes and the proxy say.

use std::collections::{BTreeMap, BTreeSet};

use init_wire::{JobEvent, JobInfo, JobSpec, Status};

use crate::app::{App, identify};
use crate::health::Health;
use crate::name::{AppName, InstanceId, Port};
use crate::plan::{Life, Observed, Proxy, ProxyJob, Push, Seen, Table, key};
use crate::proxy;

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    jobs: BTreeMap<String, JobInfo>,
    /// The jobs as init tells them anew, until it has told all.
    telling: Option<BTreeMap<String, JobInfo>>,
    /// Whether `jobs` is what init has.
    pub(crate) is_current: bool,
    doing: BTreeMap<InstanceId, Doing>,
    health: BTreeMap<InstanceId, (u32, Health)>,
    /// How the proxy's job is being changed.
    pub(crate) changing_proxy: Option<Change>,
    pub(crate) table: Told,
    /// Instances that the pushes under way are about.
    pub(crate) pushing: Option<BTreeSet<InstanceId>>,
    /// Specs that init refused, with its words.
    pub(crate) refused: BTreeMap<AppName, (App, String)>,
}

/// What was asked of init, until its effect is seen.
#[derive(Clone, Debug)]
enum Doing {
    Start { port: Port, spec: Box<JobSpec>, answered: bool },
    Retire { answered: bool },
}

/// A change of the proxy's job, until its effect is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// init has not answered.
    Asked,
    /// It has, and the job is to be there, or not.
    Expected { there: bool },
}

/// What the proxy has told, and which process of it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Told {
    #[default]
    Nothing,
    Asked {
        pid: u32,
    },
    Table {
        pid: u32,
        table: Table,
    },
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
                });
                if matches!(self.changing_proxy, Some(Change::Expected { .. })) {
                    self.changing_proxy = None;
                }
                self.is_current = true;
            }
            JobEvent::Missed { .. } => self.lose(),
        }
        self.see_proxy();
    }

    pub(crate) fn starting(&mut self, id: &InstanceId, port: Port, spec: Box<JobSpec>) {
        self.doing.insert(id.clone(), Doing::Start { port, spec, answered: false });
    }

    pub(crate) fn retiring(&mut self, id: &InstanceId) {
        self.doing.insert(id.clone(), Doing::Retire { answered: false });
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

    /// init has answered to a change of the proxy's job.
    pub(crate) fn proxy_changed(&mut self, there: Option<bool>) {
        self.changing_proxy = there.map(|there| Change::Expected { there });
        self.see_proxy();
    }

    fn see_proxy(&mut self) {
        let there = self.jobs.contains_key(proxy::JOB);
        if self.changing_proxy == Some(Change::Expected { there }) {
            self.changing_proxy = None;
        }
    }

    /// Notes what a probe of a process says.
    pub(crate) fn judge(&mut self, id: InstanceId, pid: u32, health: Health) {
        self.health.insert(id, (pid, health));
    }

    /// Notes a change that the proxy made.
    pub(crate) fn pushed(&mut self, process: u32, made: Vec<Push>) {
        let Told::Table { pid, table } = &mut self.table else { return };
        if *pid != process {
            return;
        }
        for push in made {
            match push {
                Push::Route { host, service } => {
                    table.routes.insert(host.to_string(), service.to_string());
                }
                Push::NoRoute { host } => drop(table.routes.remove(&host)),
                Push::Target { id, address } => drop(table.targets.insert(key(&id), address)),
                Push::NoTarget { service, target } => {
                    table.targets.remove(&(service, target));
                }
            }
        }
    }

    /// Notes that an instance is no target any more.
    pub(crate) fn drained(&mut self, id: &InstanceId) {
        if let Told::Table { table, .. } = &mut self.table {
            table.targets.remove(&key(id));
        }
    }

    /// What init says about an instance.
    pub(crate) fn job(&self, id: &InstanceId) -> Option<&JobInfo> {
        self.jobs.get(&id.to_string()).filter(|job| identify(&job.id, &job.spec).is_some())
    }

    /// What init says about the proxy.
    pub(crate) fn proxy(&self) -> Option<&JobInfo> {
        self.jobs.get(proxy::JOB)
    }

    /// The proxy's process, while it runs.
    pub(crate) fn proxy_pid(&self) -> Option<u32> {
        let job = self.proxy().filter(|job| proxy::is_ours(&job.spec))?;
        job.pid.filter(|_| job.status == Status::Running)
    }

    /// Our processes that can be probed.
    pub(crate) fn processes(&self) -> BTreeMap<InstanceId, (u32, Port)> {
        let running = self.jobs.values().filter(|job| job.status == Status::Running);
        let ours = running.filter_map(|job| {
            let (id, port) = identify(&job.id, &job.spec)?;
            Some((id, (job.pid?, port)))
        });
        ours.filter(|(id, _)| !self.doing.contains_key(id)).collect()
    }

    /// What is known of a process; forgets what was known of an earlier one.
    pub(crate) fn health(&self, id: &InstanceId, pid: u32) -> Health {
        match self.health.get(id) {
            Some((known, health)) if *known == pid => *health,
            // Its predecessor was seen, so this one has just begun.
            Some(_) => Health::Unready,
            None => Health::Unknown,
        }
    }

    /// All of it as the planner wants it.
    pub(crate) fn observed(&self) -> Observed {
        let mut observed = Observed {
            proxy_job: self.proxy_job(),
            proxy: match &self.table {
                Told::Nothing => Proxy::Down,
                Told::Asked { .. } => Proxy::Unknown,
                Told::Table { table, .. } => Proxy::Known(table.clone()),
            },
            refused: self.refused.keys().cloned().collect(),
            ..Observed::default()
        };
        for job in self.jobs.values() {
            if let Some((id, port)) = identify(&job.id, &job.spec) {
                let life = self.life(&id, job);
                observed.instances.insert(id, Seen { port, spec: job.spec.clone(), life });
            }
        }
        for (id, doing) in &self.doing {
            if let Doing::Start { port, spec, .. } = doing {
                let seen = Seen { port: *port, spec: *spec.clone(), life: Life::Asked };
                observed.instances.insert(id.clone(), seen);
            }
        }
        observed
    }

    fn life(&self, id: &InstanceId, job: &JobInfo) -> Life {
        if matches!(self.doing.get(id), Some(Doing::Retire { .. })) {
            return Life::Leaving;
        }
        match (job.status, job.pid) {
            (Status::Running, Some(pid)) => Life::Running(self.health(id, pid)),
            (Status::Running, None) | (Status::Starting | Status::Backoff, _) => Life::Coming,
            (Status::Stopping, _) => Life::Leaving,
            (Status::Success | Status::Failed, _) => Life::Ended,
        }
    }

    fn proxy_job(&self) -> ProxyJob {
        if self.changing_proxy.is_some() {
            return ProxyJob::Changing;
        }
        match self.proxy() {
            None => ProxyJob::Absent,
            Some(job) if !proxy::is_ours(&job.spec) => ProxyJob::Refused,
            Some(job) => match job.status {
                Status::Stopping => ProxyJob::Changing,
                Status::Starting | Status::Running | Status::Backoff => {
                    ProxyJob::Live(Box::new(job.spec.clone()))
                }
                Status::Success | Status::Failed => ProxyJob::Ended,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;

    fn id() -> InstanceId {
        InstanceId::new(AppName::parse("a").expect("a name"), 1)
    }

    fn event(status: Status, pid: u32) -> JobEvent {
        let spec = sample("a", 1).job(1, Port::new(9000).expect("not 0"));
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
            let port = Port::new(9000).expect("not 0");
            roster.starting(&id(), port, Box::new(sample("a", 1).job(1, port)));
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
    fn a_new_process_is_not_ready_because_the_old_one_was() {
        let mut roster = Roster::default();
        roster.take(event(Status::Running, 7));
        roster.judge(id(), 7, Health::Ready);
        assert_eq!(life(&roster), Some(Life::Running(Health::Ready)));
        roster.take(event(Status::Running, 8));
        assert_eq!(life(&roster), Some(Life::Running(Health::Unready)));
    }
}
