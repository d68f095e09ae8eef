//! A small world to plan in: init, the proxy and the apps as far as the planner can tell them
//! apart. Actions take effect later than they are asked for, or never, if bootctl is killed.

mod inhabitants;
mod laws;
mod narrowing;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use init_wire::JobSpec;
use proxyd_wire::Maintenance;

use self::inhabitants::{BAD, Declared, File, Process, Proxyd};
pub(super) use self::inhabitants::{Fate, Happening};
use self::laws::{check_generations, check_precedence, check_retirements};
use self::narrowing::scope;
use super::{
    Action, Desired, Life, Observed, Proxy, ProxyLife, Push, Seen, SeenProxy, Table, Wanted,
    instances_of, key, plan, plan_for, serves,
};
use crate::app::{App, identify, sample};
use crate::changes::next_revision;
use crate::generation::{self, Generation, WantedProxy};
use crate::health::Health;
use crate::name::{AppName, Host, InstanceId, Port};
use crate::order::{Digest, Order};
use crate::place::Place;
use crate::site::{Origin, Site};
use crate::tls::{Coverage, Pair, Tls};
use crate::touched::Touched;
use crate::verdict::{Trials, give_up};

pub(super) const APPS: [&str; 2] = ["a", "b.example"];
pub(super) const FIRST_PORT: u16 = 9000;
/// Somebody else listens here.
pub(super) const FOREIGN_PORT: u16 = 9001;

/// All there is.
pub(super) struct World {
    jobs: BTreeMap<String, Process>,
    proxies: BTreeMap<Generation, Proxyd>,
    /// What bootctl knows of readiness; empty after it was killed.
    judged: BTreeSet<String>,
    doing: Vec<Action>,
    apps: BTreeMap<AppName, Declared>,
    wanted_proxy: WantedProxy,
    tls: Option<Rc<Tls>>,
    now: Instant,
    trials: Trials,
    /// Orders that are to be given up when it is heard why.
    hearing: Vec<(AppName, Digest)>,
    refused: BTreeMap<AppName, Digest>,
    /// What was planned by last: as it was, and with what that plan has changed.
    before: Option<(Desired, [Observed; 2])>,
    /// Whether it is proved that to look at what was touched is enough.
    pub(super) narrows: bool,
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
            tls: None,
            now: Instant::now(),
            trials: Trials::default(),
            hearing: Vec::new(),
            refused: BTreeMap::new(),
            before: None,
            narrows: false,
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
                self.says(n).args.push("more".into());
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
                self.says(n).instances = count;
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
            Happening::Move(n, kind) => self.says(n).socket = kind,
            Happening::Name(after, requires) => {
                let first = AppName::parse(APPS[0]).expect("a name");
                let app = self.says(1);
                app.after = after.then(|| first.clone()).into_iter().collect();
                app.requires = requires.then_some(first).into_iter().collect();
            }
            Happening::Remove(n) => self.app(n).file = File::Removed,
            Happening::Site(n, kind) => self.says(n).site = site(n, kind),
            Happening::Tls(kind) => self.tls = tls(kind).map(Rc::new),
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
                | Action::Unplaced { .. }
                | Action::Push { .. } => {}
            }
        }
        self.judged.clear();
        self.trials = Trials::default();
        self.hearing.clear();
        self.refused.clear();
        self.wanted_proxy.outdated = None;
        self.before = None;
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
        self.trials.judge(self.now, &desired, &observed, &Touched::All);
        for (name, _) in self.trials.failures() {
            let Some(Wanted::Running(order)) = desired.apps.get(name) else { continue };
            let known = self.hearing.iter().any(|(hearing, _)| hearing == name);
            if !known && give_up(order, &observed).is_some() {
                self.hearing.push((name.clone(), order.digest()));
            }
        }
        let is_free = |port: Port| port.number() != FOREIGN_PORT;
        let actions = plan(&desired, &observed, is_free);
        if self.narrows {
            let scope = scope(self.before.as_ref(), &desired, &observed);
            let narrow = plan_for(&desired, &observed, &scope, is_free);
            assert_eq!(narrow, actions, "of {scope:?}");
        }
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
        if self.narrows {
            self.before = Some((desired, [observed, self.observed()]));
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

    /// Whether init refuses to start some app.
    pub(super) fn is_refused(&self) -> bool {
        let refuses = |declared: &Declared| declared.build == Fate::Refused;
        !self.refused.is_empty() || self.apps.values().any(refuses)
    }

    /// The instances of the n-th app that serve, and the orders that they are of.
    pub(super) fn serving(&mut self, n: usize) -> Vec<(InstanceId, JobSpec)> {
        let (name, observed) = (self.app(n).order.app.name.clone(), self.observed());
        let mine = instances_of(&name, &observed).filter(|(id, seen)| serves(id, seen, &observed));
        mine.map(|(id, seen)| (id.clone(), (*seen.spec).clone())).collect()
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

    /// What the n-th app's file says.
    fn says(&mut self, n: usize) -> &mut App {
        Arc::make_mut(&mut self.app(n).order.app)
    }

    fn nth(&mut self, n: usize) -> Option<(String, &mut Process)> {
        let mut ours: Vec<_> =
            self.jobs.iter_mut().filter(|(id, p)| identify(id, &p.spec).is_some()).collect();
        let count = ours.len();
        (count > 0).then(|| ours.swap_remove(n % count)).map(|(id, p)| (id.clone(), p))
    }

    pub(super) fn desired(&self) -> Desired {
        let wanted = |declared: &Declared| match (declared.file, declared.runs) {
            (File::Fine, true) => Some(Wanted::Running(declared.wanted())),
            (File::Fine, false) => Some(Wanted::Stopped(declared.order.app.clone())),
            (File::Broken, _) => Some(Wanted::AsItIs),
            (File::Removed, _) => None,
        };
        let apps = self.apps.iter().filter_map(|(name, app)| Some((name.clone(), wanted(app)?)));
        Desired {
            apps: apps.collect::<BTreeMap<_, _>>().into(),
            proxy: Some(self.wanted_proxy.clone()),
            collector: None,
            first_port: Port::new(FIRST_PORT),
            origin: Origin { tls_port: self.tls.as_ref().map(|_| 443), ..Origin::default() },
            tls: self.tls.clone(),
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
            let (spec, restarts) = (process.spec.clone().into(), process.restarts);
            let seen = Seen { place, spec, life, restarts };
            observed.instances.insert(instance, seen);
        }
        for action in &self.doing {
            match action {
                Action::Start { id, place, spec } => {
                    let (spec, life) = (spec.clone(), Life::Asked);
                    let seen = Seen { place: place.clone(), spec, life, restarts: 0 };
                    observed.instances.insert(id.clone(), seen);
                }
                Action::Retire { id } => {
                    if let Some(seen) = observed.instances.get_mut(id) {
                        seen.life = Life::Leaving;
                    }
                }
                Action::StartProxy { generation, spec } => {
                    let (spec, life) = (spec.clone(), ProxyLife::Asked);
                    let seen = SeenProxy { spec, life, table: Proxy::Down };
                    observed.proxies.insert(*generation, seen);
                }
                Action::StopProxy { generation } => {
                    if let Some(seen) = observed.proxies.get_mut(generation) {
                        seen.life = ProxyLife::Leaving;
                    }
                }
                Action::Push { .. }
                | Action::Unplaced { .. }
                | Action::StartCollector { .. }
                | Action::StopCollector => {}
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
                let process = Process { life, spec: (*spec).clone(), restarts: 0, fate };
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
                let spec = (*spec).clone();
                let proxyd = Proxyd { spec, life, table: Table::default(), told: false };
                let before = self.proxies.insert(generation, proxyd);
                assert!(before.is_none(), "{generation} is started twice");
            }
            Action::StopProxy { generation } => drop(self.proxies.remove(&generation)),
            Action::Push { generation, push } => self.push(generation, &push),
            Action::Unplaced { .. } | Action::StartCollector { .. } | Action::StopCollector => {}
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
            Push::NoCertificate { name } => {
                assert!(table.certificates.contains_key(name), "{name}");
            }
            Push::Front(_)
            | Push::Route { .. }
            | Push::Service { .. }
            | Push::Maintenance { .. }
            | Push::Target { .. }
            | Push::Tls(_)
            | Push::Certificate { .. }
            | Push::Acme(_)
            | Push::Tickets(_)
            | Push::Open => {}
        }
        table.apply(push.clone());
        if *push == Push::Open {
            let table = table.clone();
            self.check_opened(&table);
        }
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

/// What the files of certificates may come to.
fn tls(kind: u32) -> Option<Tls> {
    let pair = |host: &str, fingerprint: &str| Pair {
        chain: String::new(),
        key: String::new(),
        names: vec![host.to_owned()],
        issuer: String::new(),
        not_after: i64::MAX,
        fingerprint: fingerprint.to_owned(),
    };
    let all = match kind {
        0 => return None,
        1 => vec![pair(APPS[0], "1")],
        2 => vec![pair(APPS[0], "2"), pair(APPS[1], "1")],
        _ => Vec::new(),
    };
    let kept = (kind == 3).then(|| APPS[0].to_owned()).into_iter().collect();
    let names = all.iter().flat_map(|pair| pair.names.clone());
    let coverage = Coverage::of(names);
    let by_name = all.into_iter().map(|pair| (pair.names.concat(), Arc::new(pair)));
    let settings = proxyd_wire::Tls { http2: kind != 2, ..proxyd_wire::Tls::default() };
    let certificates = by_name.collect();
    Some(Tls { settings, certificates, kept, coverage, ..Tls::default() })
}

fn seen_proxy(proxyd: &Proxyd) -> SeenProxy {
    let table = match (proxyd.life, proxyd.told) {
        (ProxyLife::Running, true) => Proxy::Known(proxyd.table.clone().into()),
        (ProxyLife::Running, false) => Proxy::Unknown,
        (_, _) => Proxy::Down,
    };
    SeenProxy { spec: proxyd.spec.clone().into(), life: proxyd.life, table }
}
