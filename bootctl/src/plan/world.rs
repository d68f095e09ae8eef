//! A small world to plan in: init, the proxy and the apps as far as the planner can tell them
//! apart. Actions take effect later than they are asked for, or never, if bootctl is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use init_wire::JobSpec;
use proxyd_wire::Maintenance;

use super::{
    Action, Desired, Life, Observed, Proxy, ProxyLife, Push, Seen, SeenProxy, Table, Wanted,
    instances_of, key, plan, proxy_serves, serves,
};
use crate::app::{App, identify, sample};
use crate::changes::next_revision;
use crate::generation::{self, Generation, WantedProxy};
use crate::health::Health;
use crate::name::{AppName, Host, InstanceId, Port};
use crate::order::{Digest, Order, Revision};
use crate::place::{Place, PlaceKind};
use crate::site::{Origin, Site, owner};
use crate::verdict::{Trials, give_up, is_held};

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
    /// Or what becomes of whoever is started from now on.
    Build(usize, Fate),
    /// Or asks for what was given up once more.
    Again(usize),
    /// What the n-th failed instance has written is known.
    Heard(usize),
    /// Twenty seconds pass.
    Wait,
    /// Or how many of it.
    Scale(usize, u32),
    /// Or what its instances listen on.
    Move(usize, PlaceKind),
    /// Or whether the second app waits for the first, and whether it insists.
    Name(bool, bool),
    /// Or has it restarted.
    Restart(usize),
    /// Or whether it runs.
    Stop(usize, bool),
    /// Or breaks its file, or repairs it.
    Break(usize, bool),
    /// Or removes it.
    Remove(usize),
    /// Or changes what the proxy is told of it.
    Site(usize, u32),
    /// The n-th generation of the proxy dies and comes back with an empty table.
    ProxyCrash(usize),
    /// It dies and does not come back.
    ProxyEnd(usize),
    /// It tells its table to a bootctl that did not know it.
    ProxyTells(usize),
    /// The administrator changes the proxy to what gets ready, or to what never does.
    ProxyChange(bool),
    /// Or has it started anew.
    ProxyRestart,
    /// bootctl is killed and starts anew.
    Forget,
}

/// What becomes of a process that is started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Well,
    /// It never gets ready.
    Never,
    /// It ends for good.
    Ends,
    /// It ends and is started again and again.
    Dies,
    /// init does not start it.
    Refused,
}

#[derive(Clone, Debug)]
struct Process {
    life: Life,
    spec: JobSpec,
    restarts: u32,
    fate: Fate,
}

/// A generation of the proxy.
#[derive(Clone, Debug)]
struct Proxyd {
    spec: JobSpec,
    life: ProxyLife,
    table: Table,
    /// Whether bootctl knows its table.
    told: bool,
}

impl Process {
    fn meet_its_fate(&mut self) {
        match (self.life, self.fate) {
            (Life::Running(_), Fate::Well) => self.life = Life::Running(Health::Ready),
            (Life::Running(_), Fate::Ends) => self.life = Life::Ended,
            (Life::Running(_), Fate::Dies) => self.restarts += 1,
            (_, _) => {}
        }
    }
}

impl Proxyd {
    fn is_serving(&self) -> bool {
        self.life == ProxyLife::Running && self.table.serving
    }
}

/// What makes a proxy never get ready.
const BAD: &str = "bad";

#[derive(Clone, Copy, Debug, PartialEq)]
enum File {
    Fine,
    Broken,
    Removed,
}

/// An app as its administrator has it.
#[derive(Clone, Debug)]
struct Declared {
    order: Order,
    file: File,
    runs: bool,
    build: Fate,
    /// What was given up.
    held: Option<(Digest, Revision)>,
}

impl Declared {
    /// As bootctl wants it with what it has noted.
    fn wanted(&self) -> Order {
        let here = (self.order.digest(), self.order.revision);
        Order { held: self.held.as_ref() == Some(&here), ..self.order.clone() }
    }
}

/// All there is.
pub(super) struct World {
    jobs: BTreeMap<String, Process>,
    proxies: BTreeMap<Generation, Proxyd>,
    /// What bootctl knows of readiness; empty after it was killed.
    judged: BTreeSet<String>,
    doing: Vec<Action>,
    apps: BTreeMap<AppName, Declared>,
    wanted_proxy: WantedProxy,
    now: Instant,
    trials: Trials,
    /// Orders that are to be given up when it is heard why.
    hearing: Vec<(AppName, Digest)>,
    refused: BTreeMap<AppName, Digest>,
}

impl World {
    pub(super) fn new() -> Self {
        let apps = APPS.iter().map(|name| {
            let order = Order::new(sample(name, 2));
            (
                order.app.name.clone(),
                Declared { order, file: File::Fine, runs: true, build: Fate::Well, held: None },
            )
        });
        let foreign = Process {
            life: Life::Running(Health::Ready),
            spec: JobSpec::new("sshd"),
            restarts: 0,
            fate: Fate::Well,
        };
        Self {
            jobs: BTreeMap::from([("a.1x".to_owned(), foreign)]),
            proxies: BTreeMap::new(),
            judged: BTreeSet::new(),
            doing: Vec::new(),
            apps: apps.collect(),
            wanted_proxy: generation::sample(),
            now: Instant::now(),
            trials: Trials::default(),
            hearing: Vec::new(),
            refused: BTreeMap::new(),
        }
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Done(n) if !self.doing.is_empty() => {
                let action = self.doing.remove(n % self.doing.len());
                self.apply(action);
            }
            Happening::Probed(n, ready) => {
                if let Some((id, process)) = self.nth(n)
                    && let Life::Running(before) = process.life
                {
                    process.life = Life::Running(match (before, ready) {
                        (_, true) => Health::Ready,
                        (Health::Ready | Health::Failing, false) => Health::Failing,
                        (Health::Unknown | Health::Unready, false) => Health::Unready,
                    });
                    self.judged.insert(id);
                }
            }
            Happening::Crash(n, again) => {
                if let Some((_, process)) = self.nth(n)
                    && !matches!(process.life, Life::Stopped | Life::Ended)
                {
                    process.life = if again { Life::Running(Health::Unready) } else { Life::Ended };
                    process.restarts += u32::from(again);
                }
            }
            Happening::Change(n) => {
                self.app(n).order.app.args.push("more".into());
                self.ask_again(n);
            }
            Happening::Build(n, fate) => self.app(n).build = fate,
            Happening::Again(n) => self.ask_again(n),
            Happening::Heard(n) if !self.hearing.is_empty() => {
                let (name, spec) = self.hearing.remove(n % self.hearing.len());
                self.hold(&name, &spec);
            }
            Happening::Wait => self.now += Duration::from_secs(20),
            Happening::Scale(n, count) => {
                self.app(n).order.app.instances = count;
                self.ask_again(n);
            }
            Happening::Restart(n) => {
                let observed = self.observed();
                let order = &mut self.app(n).order;
                order.revision = next_revision(&order.app.name, order.revision, &observed);
                self.ask_again(n);
            }
            Happening::Stop(n, runs) => self.app(n).runs = runs,
            Happening::Break(n, breaks) => {
                self.app(n).file = if breaks { File::Broken } else { File::Fine };
            }
            Happening::Move(n, kind) => self.app(n).order.app.socket = kind,
            Happening::Name(after, requires) => {
                let first = AppName::parse(APPS[0]).expect("a name");
                let app = &mut self.app(1).order.app;
                app.after = after.then(|| first.clone()).into_iter().collect();
                app.requires = requires.then_some(first).into_iter().collect();
            }
            Happening::Remove(n) => self.app(n).file = File::Removed,
            Happening::Site(n, kind) => self.app(n).order.app.site = site(n, kind),
            Happening::ProxyCrash(n) => {
                if let Some(proxyd) = self.nth_proxy(n) {
                    proxyd.table = Table::default();
                    proxyd.told = false;
                }
            }
            Happening::ProxyEnd(n) => {
                if let Some(proxyd) = self.nth_proxy(n) {
                    proxyd.table = Table::default();
                    proxyd.life = ProxyLife::Ended;
                }
            }
            Happening::ProxyTells(n) => {
                if let Some(proxyd) = self.nth_proxy(n) {
                    proxyd.told = true;
                }
            }
            Happening::ProxyChange(good) => {
                let word = if good { "more" } else { BAD };
                let args = &mut self.wanted_proxy.spec.args;
                args.retain(|arg| arg != BAD);
                args.push(word.into());
            }
            Happening::ProxyRestart => {
                self.wanted_proxy.outdated = self.proxies.keys().last().copied();
            }
            Happening::Forget => self.forget(),
            Happening::Done(_) | Happening::Heard(_) => {}
        }
    }

    /// An instance is stopped, and nobody is there to clear it.
    fn leave_stopped(&mut self, id: &InstanceId) {
        for proxyd in self.proxies.values_mut() {
            proxyd.table.targets.remove(&key(id));
        }
        if let Some(process) = self.jobs.get_mut(&id.to_string()) {
            process.life = Life::Stopped;
        }
    }

    /// bootctl is killed and starts anew.
    fn forget(&mut self) {
        for action in std::mem::take(&mut self.doing) {
            // What init was asked to stop it stops, whoever waits for it; nobody clears it.
            match action {
                Action::StopProxy { generation } => {
                    if let Some(proxyd) = self.proxies.get_mut(&generation) {
                        proxyd.life = ProxyLife::Ended;
                    }
                }
                Action::Retire { id } => self.leave_stopped(&id),
                Action::Start { .. }
                | Action::StartProxy { .. }
                | Action::StartCollector { .. }
                | Action::StopCollector
                | Action::Push { .. } => {}
            }
        }
        self.judged.clear();
        self.trials = Trials::default();
        self.hearing.clear();
        self.refused.clear();
        self.wanted_proxy.outdated = None;
        self.proxies.values_mut().for_each(|proxyd| proxyd.told = false);
    }

    /// What was given up or refused is tried again.
    fn ask_again(&mut self, n: usize) {
        self.app(n).held = None;
        let name = self.app(n).order.app.name.clone();
        self.trials.begin_anew(&name);
        self.refused.remove(&name);
    }

    /// Notes that an order is given up.
    fn hold(&mut self, name: &AppName, spec: &Digest) {
        let observed = self.observed();
        let declared = self.apps.get_mut(name).expect("known");
        let order = declared.wanted();
        if order.digest() == *spec
            && declared.runs
            && let Some(revision) = give_up(&order, &observed)
        {
            declared.held = Some((order.digest(), order.revision));
            declared.order.revision = revision;
        }
    }

    /// The n-th generation that has a process.
    fn nth_proxy(&mut self, n: usize) -> Option<&mut Proxyd> {
        let alive = |proxyd: &&mut Proxyd| proxyd.life == ProxyLife::Running;
        let mut alive: Vec<_> = self.proxies.values_mut().filter(alive).collect();
        let count = alive.len();
        (count > 0).then(|| alive.swap_remove(n % count))
    }

    /// bootctl looks, plans and begins to act. Checks what must hold of any plan.
    pub(super) fn act(&mut self) -> usize {
        let (desired, observed) = (self.desired(), self.observed());
        self.trials.judge(self.now, &desired, &observed);
        for (name, _) in self.trials.failures() {
            let Some(Wanted::Running(order)) = desired.apps.get(name) else { continue };
            let known = self.hearing.iter().any(|(hearing, _)| hearing == name);
            if !known && give_up(order, &observed).is_some() {
                self.hearing.push((name.clone(), order.digest()));
            }
        }
        let actions = plan(&desired, &observed, |port| port.number() != FOREIGN_PORT);
        check_retirements(&desired, &observed, &actions);
        check_generations(&observed, &actions);
        check_precedence(&desired, &observed, &actions);
        let count = actions.len();
        for action in actions {
            if let Action::Push { generation, push } = &action {
                // Pushes are quick and in order.
                self.push(*generation, push);
            } else {
                self.doing.push(action);
            }
        }
        self.check();
        count
    }

    /// Lets everything happen that is on its way, until nothing more is planned.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..200 {
            let planned = self.act();
            let busy = !self.doing.is_empty() || !self.hearing.is_empty();
            for (name, spec) in std::mem::take(&mut self.hearing) {
                self.hold(&name, &spec);
            }
            while !self.doing.is_empty() {
                let action = self.doing.remove(0);
                self.apply(action);
                self.check();
            }
            let ids: Vec<_> = self.jobs.keys().cloned().collect();
            self.jobs.values_mut().for_each(Process::meet_its_fate);
            self.now += Duration::from_secs(61);
            let mut all_known = ids.iter().all(|id| self.judged.contains(id));
            self.judged.extend(ids);
            all_known &= self.proxies.values().all(|proxyd| proxyd.told);
            self.proxies.values_mut().for_each(|proxyd| proxyd.told = true);
            quiet = if planned == 0 && !busy && all_known { quiet + 1 } else { 0 };
            // What dies again and again takes its time.
            if quiet > 5 {
                return;
            }
        }
        panic!("it never comes to rest: {:#?}", self.observed());
    }

    /// What has to be true at rest.
    pub(super) fn check_converged(&self) {
        let observed = self.observed();
        let serving: Vec<_> = self.proxies.iter().filter(|(_, p)| p.is_serving()).collect();
        if self.is_proxy_bad() {
            assert!(self.proxies.len() <= 2 && serving.len() <= 1, "{:#?}", self.proxies);
        } else {
            assert_eq!((self.proxies.len(), serving.len()), (1, 1), "{:#?}", self.proxies);
            let (generation, proxyd) = serving[0];
            assert!(self.wanted_proxy.is_current(*generation, &proxyd.spec));
        }
        let Some((_, Proxyd { table, .. })) = serving.first() else { return };
        for (name, declared) in &self.apps {
            let Declared { file, runs, .. } = declared;
            let order = declared.wanted();
            let mine: Vec<_> =
                observed.instances.iter().filter(|(id, _)| id.app == *name).collect();
            match (file, runs) {
                // One that has failed stays for the administrator to see, and what it was to
                // replace goes on.
                (File::Fine, true) if mine.iter().any(|(_, seen)| seen.life == Life::Ended) => {
                    assert!(mine.len() <= order.app.instances as usize + 1, "{name}: {mine:#?}");
                }
                (File::Fine, true) if mine.is_empty() && self.waits(&order.app) => {
                    check_site(&order.app, table);
                }
                (File::Fine, true) if is_held(&order, &observed) => {
                    let most = (order.app.instances as usize).max(1);
                    assert!(mine.len() <= most, "{name} is held: {mine:#?}");
                }
                (File::Fine, true) if self.is_troubled(name) || self.waits_in_vain(&order.app) => {
                    assert!(mine.len() <= order.app.instances as usize + 1, "{name}: {mine:#?}");
                }
                (File::Fine, true) => {
                    assert_eq!(mine.len(), order.app.instances as usize, "{name}: {mine:#?}");
                    for (id, seen) in &mine {
                        assert_eq!(seen.spec, order.job(id.number, &seen.place), "{id} is current");
                    }
                    check_site(&order.app, table);
                }
                (File::Fine, false) => {
                    assert!(mine.is_empty(), "{name} is stopped");
                    check_site(&order.app, table);
                }
                (File::Broken, _) => {}
                (File::Removed, _) => {
                    assert!(mine.is_empty(), "{name} is removed");
                    let its = |route| owner(route).as_ref() == Some(name);
                    assert!(!table.routes.values().any(its), "{name} is removed");
                    assert!(!table.services.contains_key(name.as_str()), "{name} is removed");
                    assert!(!table.maintenance.contains_key(name.as_str()), "{name} is removed");
                }
            }
        }
        let ready = |(id, seen): (&InstanceId, &Seen)| {
            let is_target =
                seen.life == Life::Running(Health::Ready) && seen.place != Place::Nowhere;
            is_target.then(|| (key(id), seen.place.address()))
        };
        let expected: BTreeMap<_, _> = observed.instances.iter().filter_map(ready).collect();
        let targets = table.targets.iter().map(|(key, at)| (key.clone(), at.address.clone()));
        let targets: BTreeMap<_, _> = targets.collect();
        assert_eq!(targets, expected, "targets are those that are ready");
    }

    /// Whether an app insists on one that is not ready.
    fn waits(&self, app: &App) -> bool {
        let observed = self.observed();
        let desired = self.desired();
        app.requires.iter().any(|name| !is_up(name, &desired, &observed))
    }

    /// Whether what is started of an app comes to nothing, or has.
    fn is_troubled(&self, name: &AppName) -> bool {
        let mine = |id: &str, process: &Process| {
            identify(id, &process.spec).is_some_and(|(id, _)| id.app == *name)
        };
        let bad =
            |(id, process): (&String, &Process)| process.fate != Fate::Well && mine(id, process);
        let build = self.apps.get(name).map_or(Fate::Well, |declared| declared.build);
        let refused = self.refused.contains_key(name);
        build != Fate::Well || refused || self.jobs.iter().any(bad)
    }

    /// Whether an app waits for one that comes to nothing.
    fn waits_in_vain(&self, app: &App) -> bool {
        app.after.iter().chain(&app.requires).any(|name| self.is_troubled(name))
    }

    /// Whether init refuses to start some app.
    pub(super) fn is_refused(&self) -> bool {
        let refuses = |declared: &Declared| declared.build == Fate::Refused;
        !self.refused.is_empty() || self.apps.values().any(refuses)
    }

    /// The instances of the n-th app that serve, and the orders that they are of.
    pub(super) fn serving(&mut self, n: usize) -> Vec<(InstanceId, JobSpec)> {
        let (name, observed) = (self.app(n).order.app.name.clone(), self.observed());
        let mine = instances_of(&name, &observed).filter(|(id, seen)| serves(id, seen, &observed));
        mine.map(|(id, seen)| (id.clone(), seen.spec.clone())).collect()
    }

    /// Whether there is a note that something of the n-th app was given up.
    pub(super) fn is_noted(&mut self, n: usize) -> bool {
        self.app(n).held.is_some()
    }

    /// Whether the proxy that is wanted never gets ready.
    pub(super) fn is_proxy_bad(&self) -> bool {
        self.wanted_proxy.spec.args.iter().any(|arg| arg == BAD)
    }

    pub(super) fn instances(&self) -> Vec<(String, Place)> {
        let all = self.jobs.iter();
        all.filter_map(|(id, p)| Some((id.clone(), identify(id, &p.spec)?.1))).collect()
    }

    fn app(&mut self, n: usize) -> &mut Declared {
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
        let wanted = |declared: &Declared| match (declared.file, declared.runs) {
            (File::Fine, true) => Some(Wanted::Running(declared.wanted())),
            (File::Fine, false) => Some(Wanted::Stopped(declared.order.app.clone())),
            (File::Broken, _) => Some(Wanted::AsItIs),
            (File::Removed, _) => None,
        };
        let apps = self.apps.iter().filter_map(|(name, app)| Some((name.clone(), wanted(app)?)));
        Desired {
            apps: apps.collect(),
            proxy: Some(self.wanted_proxy.clone()),
            collector: None,
            first_port: Port::new(FIRST_PORT),
            ..Desired::default()
        }
    }

    fn observed(&self) -> Observed {
        let mut observed = Observed {
            proxies: self.proxies.iter().map(|(g, proxyd)| (*g, seen_proxy(proxyd))).collect(),
            refused: self.refused.clone(),
            ..Observed::default()
        };
        for (id, process) in &self.jobs {
            let Some((instance, place)) = identify(id, &process.spec) else { continue };
            let life = match process.life {
                Life::Running(_) if !self.judged.contains(id) => Life::Running(Health::Unknown),
                life => life,
            };
            let (spec, restarts) = (process.spec.clone(), process.restarts);
            let seen = Seen { place, spec, life, restarts };
            observed.instances.insert(instance, seen);
        }
        for action in &self.doing {
            match action {
                Action::Start { id, place, spec } => {
                    let (spec, life) = (*spec.clone(), Life::Asked);
                    let seen = Seen { place: place.clone(), spec, life, restarts: 0 };
                    observed.instances.insert(id.clone(), seen);
                }
                Action::Retire { id } => {
                    if let Some(seen) = observed.instances.get_mut(id) {
                        seen.life = Life::Leaving;
                    }
                }
                Action::StartProxy { generation, spec } => {
                    let (spec, life) = (*spec.clone(), ProxyLife::Asked);
                    let seen = SeenProxy { spec, life, table: Proxy::Down };
                    observed.proxies.insert(*generation, seen);
                }
                Action::StopProxy { generation } => {
                    if let Some(seen) = observed.proxies.get_mut(generation) {
                        seen.life = ProxyLife::Leaving;
                    }
                }
                Action::Push { .. } | Action::StartCollector { .. } | Action::StopCollector => {}
            }
        }
        observed
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Start { id, place, spec } => {
                let declared = self.apps.get(&id.app).expect("known");
                let (fate, order) = (declared.build, declared.wanted());
                if fate == Fate::Refused {
                    if order.job(id.number, &place) == *spec {
                        self.refused.insert(id.app, order.digest());
                    }
                    return;
                }
                let life = Life::Running(Health::Unready);
                let process = Process { life, spec: *spec, restarts: 0, fate };
                let before = self.jobs.insert(id.to_string(), process);
                assert!(before.is_none(), "{id} is started twice");
            }
            Action::Retire { id } => {
                for proxyd in self.proxies.values_mut() {
                    proxyd.table.targets.remove(&key(&id));
                }
                self.judged.remove(&id.to_string());
                self.jobs.remove(&id.to_string()).expect("only what is there is retired");
            }
            Action::StartProxy { generation, spec } => {
                let bad = spec.args.iter().any(|arg| arg == BAD);
                let life = if bad { ProxyLife::Coming } else { ProxyLife::Running };
                let proxyd = Proxyd { spec: *spec, life, table: Table::default(), told: false };
                let before = self.proxies.insert(generation, proxyd);
                assert!(before.is_none(), "{generation} is started twice");
            }
            Action::StopProxy { generation } => drop(self.proxies.remove(&generation)),
            Action::Push { generation, push } => self.push(generation, &push),
            Action::StartCollector { .. } | Action::StopCollector => {}
        }
    }

    fn push(&mut self, generation: Generation, push: &Push) {
        let table = self.proxies.get_mut(&generation).map(|proxyd| &mut proxyd.table);
        let table = table.expect("only a proxy that runs is told");
        match push {
            Push::NoRoute { route } => assert!(table.routes.contains_key(route), "{route}"),
            Push::NoTarget { service, target } => {
                let key = (service.clone(), target.clone());
                assert!(table.targets.contains_key(&key), "{target}");
            }
            Push::NoMaintenance { service } => {
                assert!(table.maintenance.contains_key(service), "{service}");
            }
            Push::NoService { service } => {
                assert!(!table.targets.keys().any(|(of, _)| of == service), "{service}");
            }
            Push::Front(_)
            | Push::Route { .. }
            | Push::Service { .. }
            | Push::Maintenance { .. }
            | Push::Target { .. }
            | Push::Open => {}
        }
        table.apply(push.clone());
        if *push == Push::Open {
            let table = table.clone();
            self.check_opened(&table);
        }
    }

    /// Clients find all that they could find.
    fn check_opened(&self, table: &Table) {
        for (name, declared) in &self.apps {
            let routed = table.routes.contains_key(name.as_str());
            let is_asked = declared.wanted().app.socket != PlaceKind::Nowhere;
            let is_gone = declared.file == File::Removed;
            assert!(routed || is_gone || !is_asked, "{name} is not known: {table:?}");
        }
        for (id, seen) in &self.observed().instances {
            let ready = matches!(seen.life, Life::Running(Health::Ready));
            let there = table.targets.contains_key(&key(id));
            let is_asked = seen.place != Place::Nowhere;
            assert!(!ready || there || !is_asked, "{id} is no target: {table:?}");
            assert_ne!(seen.life, Life::Running(Health::Unknown), "{id} may be a target");
        }
    }

    fn check(&self) {
        let mut ports = BTreeSet::new();
        for (id, seen) in &self.observed().instances {
            let Some(port) = seen.place.port() else { continue };
            assert!(ports.insert(port), "{id} shares port {port}");
            assert_ne!(port.number(), FOREIGN_PORT, "{id} got somebody else's port");
        }
        assert!(self.jobs.contains_key("a.1x"), "a foreign job was touched");
        let living = self.proxies.values().filter(|proxyd| proxyd.life != ProxyLife::Ended);
        assert!(living.count() <= 2, "{:#?}", self.proxies);
    }
}

/// What an app's file may say of it to the proxy.
fn site(n: usize, kind: u32) -> Site {
    let mut site = Site::default();
    match kind {
        0 => {}
        1 => {
            site.redirects.push(Host::parse(&format!("old{}", n % APPS.len())).expect("a host"));
            site.mounts.push(format!("any/{}", n % APPS.len()));
        }
        2 => site.service.queue = 7,
        _ => site.maintenance = Some(Maintenance::default()),
    }
    site
}

/// The proxy knows all of an app, and no more.
fn check_site(app: &App, table: &Table) {
    let wanted = app.site.routes(&app.name, app.hosts(), Origin::default());
    let its = table.routes.iter().filter(|(_, route)| owner(route).as_ref() == Some(&app.name));
    let its = its.map(|(route, to)| (route.clone(), to.clone()));
    assert_eq!(its.collect::<BTreeMap<_, _>>(), wanted, "{}", app.name);
    let settings = table.services.get(app.name.as_str()).cloned();
    assert_eq!(settings.unwrap_or_default(), app.site.service, "{}", app.name);
    assert_eq!(table.maintenance.get(app.name.as_str()), app.site.maintenance.as_ref());
}

fn seen_proxy(proxyd: &Proxyd) -> SeenProxy {
    let table = match (proxyd.life, proxyd.told) {
        (ProxyLife::Running, true) => Proxy::Known(proxyd.table.clone()),
        (ProxyLife::Running, false) => Proxy::Unknown,
        (_, _) => Proxy::Down,
    };
    SeenProxy { spec: proxyd.spec.clone(), life: proxyd.life, table }
}

/// Whether it is to run, and one of it is ready.
fn is_up(name: &AppName, desired: &Desired, observed: &Observed) -> bool {
    let wanted = match desired.apps.get(name) {
        Some(Wanted::Running(order)) => order.app.instances > 0,
        Some(Wanted::AsItIs) => true,
        Some(Wanted::Stopped(_)) | None => false,
    };
    let mut mine = observed.instances.iter().filter(|(id, _)| id.app == *name);
    wanted && mine.any(|(_, seen)| seen.life == Life::Running(Health::Ready))
}

/// The first instance of an app starts when those that it names are there, or will not come.
fn check_precedence(desired: &Desired, observed: &Observed, actions: &[Action]) {
    for action in actions {
        let Action::Start { id, .. } = action else { continue };
        let Some(app) = desired.apps.get(&id.app).and_then(Wanted::app) else { continue };
        let lives = |name: &AppName| {
            let mine = observed.instances.iter().filter(|(id, _)| id.app == *name);
            mine.map(|(_, seen)| seen.life).collect::<Vec<_>>()
        };
        let alive = |life: &Life| !matches!(life, Life::Leaving | Life::Stopped | Life::Ended);
        if lives(&id.app).iter().any(alive) {
            continue;
        }
        for name in &app.requires {
            assert!(is_up(name, desired, observed), "{id} starts without {name}");
        }
        for name in &app.after {
            let lives = lives(name);
            let is_wanted = matches!(
                desired.apps.get(name),
                Some(Wanted::Running(order))
                    if order.app.instances > 0 && !observed.is_refused(order)
            );
            let comes = lives.iter().any(alive) || !lives.contains(&Life::Ended);
            let is_up = is_up(name, desired, observed);
            assert!(is_up || !is_wanted || !comes, "{id} starts before {name}: {lives:?}");
        }
    }
}

/// A proxy that serves is stopped only when another one serves.
fn check_generations(observed: &Observed, actions: &[Action]) {
    let stopped =
        |generation: &Generation| actions.contains(&Action::StopProxy { generation: *generation });
    let serving = || observed.proxies.iter().filter(|(_, seen)| proxy_serves(seen));
    let left = serving().filter(|(generation, _)| !stopped(generation)).count();
    assert!(left > 0 || serving().count() == 0, "none serves any more: {actions:?}");
}

/// What is wanted and serves is not reduced below what is wanted.
fn check_retirements(desired: &Desired, observed: &Observed, actions: &[Action]) {
    for (name, wanted) in &desired.apps {
        let retired = |id: &InstanceId| actions.contains(&Action::Retire { id: id.clone() });
        let mine = || observed.instances.iter().filter(|(id, _)| id.app == *name);
        match wanted {
            Wanted::Running(order) => {
                let app = &order.app;
                let serving = || {
                    mine().filter(|(id, seen)| {
                        seen.life != Life::Leaving && serves(id, seen, observed)
                    })
                };
                let before = serving().count();
                let after = serving().filter(|(id, _)| !retired(id)).count();
                assert!(
                    after >= before.min(app.instances as usize),
                    "{name} loses {before} -> {after} of {}: {actions:?}",
                    app.instances
                );
                let living = mine().filter(|(_, seen)| {
                    !matches!(seen.life, Life::Leaving | Life::Stopped | Life::Ended)
                });
                let starts = actions
                    .iter()
                    .filter(|action| matches!(action, Action::Start { id, .. } if id.app == *name));
                let starts = starts.count();
                assert!(starts == 0 || !is_held(order, observed), "{name} is held: {actions:?}");
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
