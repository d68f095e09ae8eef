//! A small world to plan in: init, the proxy and the apps as far as the planner can tell them
//! apart. Actions take effect later than they are asked for, or never, if bootctl is killed.

use std::collections::{BTreeMap, BTreeSet};

use init_wire::JobSpec;

use super::{
    Action, Desired, Life, Observed, Proxy, ProxyJob, Push, Seen, Table, Wanted, address, key,
    plan, serves,
};
use crate::app::{App, identify, sample};
use crate::health::Health;
use crate::name::{AppName, InstanceId, Port};

pub(super) const APPS: [&str; 2] = ["a", "b.example"];
pub(super) const FIRST_PORT: u16 = 9000;
/// Somebody else listens here.
pub(super) const FOREIGN_PORT: u16 = 9001;

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// The n-th thing that is under way gets done.
    Done(usize),
    /// The n-th instance answers its probes, or not.
    Probed(usize, bool),
    /// The n-th instance's process dies; init starts it again, or not.
    Crash(usize, bool),
    /// The administrator changes what an app runs.
    Change(usize),
    /// Or how many of it.
    Scale(usize, u32),
    /// Or whether.
    Stop(usize, bool),
    /// Or breaks its file, or repairs it.
    Break(usize, bool),
    /// Or removes it.
    Remove(usize),
    /// The proxy dies and comes back with an empty table.
    ProxyCrash,
    /// bootctl is killed and starts anew.
    Forget,
}

#[derive(Clone, Debug)]
struct Process {
    life: Life,
    spec: JobSpec,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum File {
    Fine,
    Broken,
    Removed,
}

/// All there is.
pub(super) struct World {
    jobs: BTreeMap<String, Process>,
    proxy_job: ProxyJob,
    table: Option<Table>,
    /// What bootctl knows of readiness; empty after it was killed.
    judged: BTreeSet<String>,
    doing: Vec<Action>,
    apps: BTreeMap<AppName, (App, File, bool)>,
    proxy_spec: JobSpec,
}

impl World {
    pub(super) fn new() -> Self {
        let apps = APPS.iter().map(|name| {
            let app = sample(name, 2);
            (app.name.clone(), (app, File::Fine, true))
        });
        let foreign = Process { life: Life::Running(Health::Ready), spec: JobSpec::new("sshd") };
        Self {
            jobs: BTreeMap::from([("a.1x".to_owned(), foreign)]),
            proxy_job: ProxyJob::Absent,
            table: None,
            judged: BTreeSet::new(),
            doing: Vec::new(),
            apps: apps.collect(),
            proxy_spec: JobSpec::new("proxyd"),
        }
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Done(n) if !self.doing.is_empty() => {
                let action = self.doing.remove(n % self.doing.len());
                self.apply(action);
            }
            Happening::Probed(n, ready) => {
                let health = if ready { Health::Ready } else { Health::Unready };
                if let Some((id, process)) = self.nth(n)
                    && matches!(process.life, Life::Running(_))
                {
                    process.life = Life::Running(health);
                    self.judged.insert(id);
                }
            }
            Happening::Crash(n, again) => {
                if let Some((_, process)) = self.nth(n)
                    && process.life != Life::Ended
                {
                    process.life = if again { Life::Running(Health::Unready) } else { Life::Ended };
                }
            }
            Happening::Change(n) => self.app(n).0.args.push("more".into()),
            Happening::Scale(n, count) => self.app(n).0.instances = count,
            Happening::Stop(n, runs) => self.app(n).2 = runs,
            Happening::Break(n, breaks) => {
                let (_, file, _) = self.app(n);
                *file = if breaks { File::Broken } else { File::Fine };
            }
            Happening::Remove(n) => self.app(n).1 = File::Removed,
            Happening::ProxyCrash if self.table.is_some() => self.table = Some(Table::default()),
            Happening::Forget => {
                self.doing.clear();
                self.judged.clear();
            }
            Happening::Done(_) | Happening::ProxyCrash => {}
        }
    }

    /// bootctl looks, plans and begins to act. Checks what must hold of any plan.
    pub(super) fn act(&mut self) -> usize {
        let (desired, observed) = (self.desired(), self.observed());
        let actions = plan(&desired, &observed, |port| port.number() != FOREIGN_PORT);
        check_retirements(&desired, &observed, &actions);
        let count = actions.len();
        for action in actions {
            if let Action::Push(push) = &action {
                // Pushes are quick and in order.
                self.push(push);
            } else {
                self.doing.push(action);
            }
        }
        self.check();
        count
    }

    /// Lets everything happen that is on its way, until nothing more is planned.
    pub(super) fn settle(&mut self) {
        for _ in 0..200 {
            let planned = self.act();
            let busy = !self.doing.is_empty();
            while !self.doing.is_empty() {
                let action = self.doing.remove(0);
                self.apply(action);
                self.check();
            }
            let ids: Vec<_> = self.jobs.keys().cloned().collect();
            for (id, process) in &mut self.jobs {
                if matches!(process.life, Life::Running(_)) {
                    process.life = Life::Running(Health::Ready);
                }
                let _ = id;
            }
            let all_known = ids.iter().all(|id| self.judged.contains(id));
            self.judged.extend(ids);
            if planned == 0 && !busy && all_known {
                return;
            }
        }
        panic!("it never comes to rest: {:#?}", self.observed());
    }

    /// What has to be true at rest.
    pub(super) fn check_converged(&self) {
        let observed = self.observed();
        let Proxy::Known(table) = &observed.proxy else { panic!("the proxy runs") };
        for (name, (app, file, runs)) in &self.apps {
            let mine: Vec<_> =
                observed.instances.iter().filter(|(id, _)| id.app == *name).collect();
            let host = table.routes.get(name.as_str());
            match (file, runs) {
                // One that has failed stays for the administrator to see, and what it was to
                // replace goes on.
                (File::Fine, true) if mine.iter().any(|(_, seen)| seen.life == Life::Ended) => {
                    assert!(mine.len() <= app.instances as usize + 1, "{name}: {mine:#?}");
                }
                (File::Fine, true) => {
                    assert_eq!(mine.len(), app.instances as usize, "{name}: {mine:#?}");
                    for (id, seen) in &mine {
                        assert_eq!(seen.spec, app.job(id.number, seen.port), "{id} is current");
                    }
                    assert_eq!(host.map(String::as_str), Some(name.as_str()));
                }
                (File::Fine, false) => {
                    assert!(mine.is_empty(), "{name} is stopped");
                    assert_eq!(host.map(String::as_str), Some(name.as_str()));
                }
                (File::Broken, _) => {}
                (File::Removed, _) => {
                    assert!(mine.is_empty(), "{name} is removed");
                    assert_eq!(host, None);
                }
            }
        }
        let ready = |(id, seen): (&InstanceId, &Seen)| {
            (seen.life == Life::Running(Health::Ready)).then(|| (key(id), address(seen.port)))
        };
        let expected: BTreeMap<_, _> = observed.instances.iter().filter_map(ready).collect();
        assert_eq!(table.targets, expected, "targets are those that are ready");
    }

    pub(super) fn instances(&self) -> Vec<(String, Port)> {
        let all = self.jobs.iter();
        all.filter_map(|(id, p)| Some((id.clone(), identify(id, &p.spec)?.1))).collect()
    }

    fn app(&mut self, n: usize) -> &mut (App, File, bool) {
        let name = AppName::parse(APPS[n % APPS.len()]).expect("a name");
        self.apps.get_mut(&name).expect("known")
    }

    fn nth(&mut self, n: usize) -> Option<(String, &mut Process)> {
        let mut ours: Vec<_> =
            self.jobs.iter_mut().filter(|(id, p)| identify(id, &p.spec).is_some()).collect();
        let count = ours.len();
        (count > 0).then(|| ours.swap_remove(n % count)).map(|(id, p)| (id.clone(), p))
    }

    fn desired(&self) -> Desired {
        let wanted = |(app, file, runs): &(App, File, bool)| match (file, runs) {
            (File::Fine, true) => Some(Wanted::Running(app.clone())),
            (File::Fine, false) => Some(Wanted::Stopped(app.clone())),
            (File::Broken, _) => Some(Wanted::AsItIs),
            (File::Removed, _) => None,
        };
        let apps = self.apps.iter().filter_map(|(name, app)| Some((name.clone(), wanted(app)?)));
        Desired {
            apps: apps.collect(),
            proxy: Some(self.proxy_spec.clone()),
            first_port: Port::new(FIRST_PORT),
        }
    }

    fn observed(&self) -> Observed {
        let mut observed = Observed {
            proxy_job: self.proxy_job.clone(),
            proxy: self.table.clone().map_or(Proxy::Down, Proxy::Known),
            ..Observed::default()
        };
        for (id, process) in &self.jobs {
            let Some((instance, port)) = identify(id, &process.spec) else { continue };
            let life = match process.life {
                Life::Running(_) if !self.judged.contains(id) => Life::Running(Health::Unknown),
                life => life,
            };
            let seen = Seen { port, spec: process.spec.clone(), life };
            observed.instances.insert(instance, seen);
        }
        for action in &self.doing {
            match action {
                Action::Start { id, port, spec } => {
                    let seen = Seen { port: *port, spec: *spec.clone(), life: Life::Asked };
                    observed.instances.insert(id.clone(), seen);
                }
                Action::Retire { id } => {
                    if let Some(seen) = observed.instances.get_mut(id) {
                        seen.life = Life::Leaving;
                    }
                }
                Action::StartProxy { .. } | Action::StopProxy => {
                    observed.proxy_job = ProxyJob::Changing;
                }
                Action::Push(_) => {}
            }
        }
        observed
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Start { id, spec, .. } => {
                let life = Life::Running(Health::Unready);
                let before = self.jobs.insert(id.to_string(), Process { life, spec: *spec });
                assert!(before.is_none(), "{id} is started twice");
            }
            Action::Retire { id } => {
                if let Some(table) = &mut self.table {
                    table.targets.remove(&key(&id));
                }
                self.judged.remove(&id.to_string());
                self.jobs.remove(&id.to_string()).expect("only what is there is retired");
            }
            Action::StartProxy { spec } => {
                self.proxy_job = ProxyJob::Live(spec);
                self.table = Some(Table::default());
            }
            Action::StopProxy => {
                self.proxy_job = ProxyJob::Absent;
                self.table = None;
            }
            Action::Push(push) => self.push(&push),
        }
    }

    fn push(&mut self, push: &Push) {
        let table = self.table.as_mut().expect("only a proxy that runs is told");
        match push.clone() {
            Push::Route { host, service } => {
                table.routes.insert(host.to_string(), service.to_string());
            }
            Push::NoRoute { host } => drop(table.routes.remove(&host).expect("it was there")),
            Push::Target { id, address } => drop(table.targets.insert(key(&id), address)),
            Push::NoTarget { service, target } => {
                table.targets.remove(&(service, target)).expect("it was there");
            }
        }
    }

    fn check(&self) {
        let mut ports = BTreeSet::new();
        for (id, seen) in &self.observed().instances {
            assert!(ports.insert(seen.port), "{id} shares port {}", seen.port);
            assert_ne!(seen.port.number(), FOREIGN_PORT, "{id} got somebody else's port");
        }
        assert!(self.jobs.contains_key("a.1x"), "a foreign job was touched");
    }
}

/// What is wanted and serves is not reduced below what is wanted.
fn check_retirements(desired: &Desired, observed: &Observed, actions: &[Action]) {
    for (name, wanted) in &desired.apps {
        let retired = |id: &InstanceId| actions.contains(&Action::Retire { id: id.clone() });
        let mine = || observed.instances.iter().filter(|(id, _)| id.app == *name);
        match wanted {
            Wanted::Running(app) => {
                let serving = || {
                    mine().filter(|(id, seen)| {
                        seen.life != Life::Leaving && serves(id, seen, &observed.proxy)
                    })
                };
                let before = serving().count();
                let after = serving().filter(|(id, _)| !retired(id)).count();
                assert!(
                    after >= before.min(app.instances as usize),
                    "{name} loses {before} -> {after} of {}: {actions:?}",
                    app.instances
                );
                let living =
                    mine().filter(|(_, seen)| !matches!(seen.life, Life::Leaving | Life::Ended));
                let starts = actions
                    .iter()
                    .filter(|action| matches!(action, Action::Start { id, .. } if id.app == *name));
                let starts = starts.count();
                let total = living.count() + starts;
                assert!(
                    starts == 0 || total <= app.instances as usize + 1,
                    "{name} gets {total} of {}",
                    app.instances
                );
            }
            Wanted::AsItIs => assert!(!mine().any(|(id, _)| retired(id)), "{name} is held"),
            Wanted::Stopped(_) => {}
        }
    }
}
