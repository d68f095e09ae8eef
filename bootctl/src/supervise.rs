//! The loop: something happens → what is known → plan → act.
//!
//! It waits for events only, from init's stream, probes, the proxy, the control socket and its
//! own actions; nothing is looked at again and again. It keeps no secret of its own: all that it
//! must know after a `kill -9` is in init's jobs, the config and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use tracing::{info, warn};

use crate::act::Hands;
use crate::app::{App, Drain};
use crate::client::{InitError, News};
use crate::collecting;
use crate::config::declared::Declared;
use crate::config::{Config, Settings};
use crate::declined::Declined;
use crate::deploys::Deploys;
use crate::event::Event;
use crate::generation::{self, Generation, WantedProxy};
use crate::name::{AppName, InstanceId, Port};
use crate::order::Order;
use crate::plan::{
    Action, Collector, Desired, Precedence, Proxy, ProxyLife, Push, SeenProxy, Wanted, all_waiting,
    plan,
};
use crate::proxy;
use crate::release::Shelf;
use crate::requests::Waiter;
use crate::roster::{Roster, Told};
use crate::store::Store;
use crate::verdict::Trials;
use crate::watches::{self, Watches};

/// Below the runtime folder: the apps' sockets.
const SOCKETS: &str = "apps";

/// What the command line says and no reload changes.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) config: PathBuf,
    pub(crate) listen: Option<std::net::SocketAddr>,
    pub(crate) proxyd: Option<String>,
    pub(crate) collector: collecting::Place,
}

/// The supervisor.
pub(crate) struct Supervisor {
    pub(crate) fixed: Fixed,
    pub(crate) settings: Settings,
    pub(crate) wanted: BTreeMap<AppName, Wanted>,
    pub(crate) problems: Vec<String>,
    pub(crate) store: Store,
    pub(crate) roster: Roster,
    pub(crate) hands: Hands,
    pub(crate) waiters: BTreeMap<u64, Waiter>,
    pub(crate) next_waiter: u64,
    pub(crate) trials: Trials,
    /// Apps whose failed instance is being heard before its order is given up.
    pub(crate) giving_up: BTreeSet<AppName>,
    pub(crate) shelf: Shelf,
    pub(crate) deploys: Deploys,
    pub(crate) winding_down: bool,
    pub(crate) proxy_trouble: Option<String>,
    /// What init said when the collector could not be started or stopped.
    pub(crate) collector_trouble: Option<String>,
    pub(crate) declined: Declined,
    pub(crate) declared: Declared,
    /// The program of the proxy when the config was taken over; see [`proxy::build`].
    proxy_build: String,
    /// See [`WantedProxy::outdated`].
    pub(crate) proxy_outdated: Option<Generation>,
    pub(crate) begun: Instant,
    /// A proxy that is still to be told some of what is wanted.
    pub(crate) untold: Option<Generation>,
    pub(crate) watches: Watches,
    /// When those that fail are looked after, if nothing happens before.
    pub(crate) look_at: Option<Instant>,
    /// Jobs that asked for a watch that is over.
    pub(crate) sweeping: BTreeSet<String>,
    reading: BTreeMap<Generation, AbortHandle>,
}

impl Supervisor {
    pub(crate) fn new(fixed: Fixed, config: Config, store: Store, hands: Hands) -> Self {
        let shelf = Shelf::new(store.folder());
        let mut supervisor = Self {
            fixed,
            settings: Settings::default(),
            wanted: BTreeMap::new(),
            problems: Vec::new(),
            store,
            roster: Roster::default(),
            hands,
            waiters: BTreeMap::new(),
            next_waiter: 0,
            trials: Trials::default(),
            giving_up: BTreeSet::new(),
            shelf,
            deploys: Deploys::default(),
            winding_down: false,
            proxy_trouble: None,
            collector_trouble: None,
            declined: Declined::default(),
            declared: Declared::default(),
            proxy_build: String::new(),
            proxy_outdated: None,
            begun: Instant::now(),
            untold: None,
            watches: Watches::new(),
            look_at: None,
            sweeping: BTreeSet::new(),
            reading: BTreeMap::new(),
        };
        supervisor.take_over(config);
        supervisor.take_in_unknown();
        supervisor
    }

    /// Makes a config what is wanted.
    pub(crate) fn take_over(&mut self, config: Config) {
        self.problems = config.problems.iter().map(ToString::to_string).collect();
        self.settings = config.settings;
        self.declared = config.declared;
        if let Some(listen) = self.fixed.listen {
            self.settings.proxy.listen = listen;
        }
        for app in config.apps.values() {
            self.drop_old_note(app);
        }
        let running = config.apps.into_iter().map(|(name, app)| {
            let wanted = self.as_recorded(&name, app);
            (name, wanted)
        });
        let held = config.broken.into_iter().map(|name| (name, Wanted::AsItIs));
        self.wanted = running.chain(held).collect();
        self.roster.refused.clear();
        self.proxy_trouble = None;
        self.declined.clear();
        self.proxy_build = proxy::build(&self.proxy_program());
    }

    /// An app whose file is fine, as it is wanted.
    pub(crate) fn as_recorded(&self, name: &AppName, app: App) -> Wanted {
        let record = self.store.record(name);
        if record.stopped {
            return Wanted::Stopped(app);
        }
        let revision = record.revision;
        let release = self.housing(name, record.releases.current);
        let order = Order { app, revision, release, held: false };
        let digest = order.digest();
        let held = record.held.is_some_and(|h| h.revision == revision && h.spec == digest);
        Wanted::Running(Order { held, ..order })
    }

    /// Works until it has wound down.
    pub(crate) async fn run(mut self, mut events: Receiver<Event>) {
        let mut rested = Instant::now();
        while let Some(event) = self.next(&mut events).await {
            if let Some(event) = event {
                self.take(event);
            }
            // No more than half of the time is spent on plans, however many apps and events there are.
            while let Ok(Some(event)) = timeout_at(rested.into(), events.recv()).await {
                self.take(event);
            }
            let begun = Instant::now();
            self.settle();
            self.tell_steps();
            self.answer_waiters();
            if self.winding_down && self.is_done() {
                return;
            }
            rested = begun
                .elapsed()
                .checked_mul(2)
                .and_then(|both| begun.checked_add(both))
                .unwrap_or(begun);
        }
    }

    /// The next piece of news, or nothing when time alone is one; `None` when there will be no more.
    async fn next(&self, events: &mut Receiver<Event>) -> Option<Option<Event>> {
        let deadlines = self.trials.next_deadline().into_iter().chain(self.deploys.look_at);
        let Some(deadline) = deadlines.min() else {
            return events.recv().await.map(Some);
        };
        match timeout_at(deadline.into(), events.recv()).await {
            Ok(event) => event.map(Some),
            Err(_) => Some(None),
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Jobs(News::Anew) => self.roster.begin_anew(),
            Event::Jobs(News::Event(event)) => self.roster.take(event),
            Event::Jobs(News::Lost(error)) => {
                warn!("{error}; what runs goes on, and init is asked again");
                self.roster.lose();
            }
            Event::Health { id, pid, verdict } => {
                info!("{id} (pid {pid}) is {}", watches::told(&verdict));
                self.roster.judge(id, pid, verdict);
            }
            Event::Started { id, result } => {
                if let Err(error @ (InitError::Refused(_) | InitError::Socket(_))) = &result
                    && let Some(Wanted::Running(order)) = self.wanted.get(&id.app)
                    && let Some(seen) = self.roster.observed().instances.get(&id)
                    && order.is_current(&id, seen)
                {
                    let message = format!("{id} cannot be started: {error}");
                    self.roster.refused.insert(id.app.clone(), (order.digest(), message));
                }
                self.roster.answered(&id, result.is_ok());
            }
            Event::Restarted { id, result } => {
                if let Err(error) = result {
                    warn!("{id} is not restarted: {error}");
                }
                self.roster.restarted(&id);
            }
            Event::Swept(job) => drop(self.sweeping.remove(&job)),
            Event::Look => self.look_at = None,
            Event::LastWords(words) => self.hold(words),
            Event::InFlight { id, count } => drop(self.roster.in_flight.insert(id, count)),
            Event::Deploy(news) => self.take_deploy_news(news),
            Event::Retired { id, result } => {
                self.roster.in_flight.remove(&id);
                self.roster.drained(&id);
                self.roster.answered(&id, result.is_ok());
            }
            Event::CollectorChanged(result) => {
                self.roster.collector_changed(result.is_ok());
                self.collector_trouble = result.err().map(|error| error.to_string());
            }
            Event::ProxyTrouble(generation, error) => {
                self.proxy_trouble = Some(format!("{generation}: {error}"));
            }
            Event::ProxyChanged { generation, done } => {
                self.roster.proxy_changed(generation, done);
            }
            Event::Table { generation, pid, table } => {
                let asked = self.roster.told.get(&generation);
                if matches!(asked, Some(Told::Asked { pid: asked }) if *asked == pid) {
                    self.proxy_trouble = None;
                    self.roster.told.insert(generation, Told::Table { pid, table });
                }
            }
            Event::Pushed { generation, pid, made, refused, error } => {
                self.roster.pushed(generation, pid, made);
                self.declined.note(generation, refused);
                if error.is_some() && self.roster.proxy_pids().get(&generation) == Some(&pid) {
                    self.read_table(generation, pid);
                }
            }
            Event::Ask(ask) => self.take_request(ask),
            Event::Expired(number) => self.expire(number),
            Event::WindDown => {
                info!("winding down: requests finish, then the apps are stopped, then the proxy");
                self.winding_down = true;
            }
        }
    }

    fn settle(&mut self) {
        self.watch_processes();
        self.follow_proxies();
        self.roster.see_lost();
        if !self.roster.is_current {
            return;
        }
        self.care();
        let mut observed = self.roster.observed();
        self.weigh(&observed);
        self.tend_releases();
        self.tend_work();
        let desired = self.desired();
        observed.unsettled = self.unsettled(&observed);
        self.roster.waiting = all_waiting(&desired, &observed);
        let mut pushes: BTreeMap<Generation, Vec<Push>> = BTreeMap::new();
        for action in plan(&desired, &observed, is_free) {
            match action {
                Action::Start { id, place, spec } => {
                    self.roster.starting(&id, place, spec.clone());
                    self.hands.start(id, spec);
                }
                Action::Retire { id } => self.retire(&id),
                Action::StartProxy { generation, spec } => {
                    self.roster.starting_proxy(generation, spec.clone());
                    self.hands.start_proxy(generation, spec);
                }
                Action::StopProxy { generation } => {
                    if let Some(job) = self.roster.proxy(generation) {
                        self.hands.stop_proxy(generation, job.spec.clone());
                        self.roster.stopping_proxy(generation);
                    }
                }
                Action::StartCollector { spec } => {
                    self.roster.starting_collector(spec.clone());
                    self.hands.start_collector(spec);
                }
                Action::StopCollector => {
                    if let Some(job) = self.roster.collector() {
                        self.hands.stop_collector(job.spec.clone());
                        self.roster.stopping_collector();
                    }
                }
                Action::Push { generation, push } => {
                    if self.declined.holds(generation, &push) {
                        continue;
                    }
                    pushes.entry(generation).or_default().push(push);
                }
            }
        }
        let is_running = |generation: &Generation| {
            observed.proxies.get(generation).is_some_and(|seen| seen.life == ProxyLife::Running)
        };
        self.untold = pushes.keys().copied().find(is_running);
        for (generation, pushes) in pushes {
            self.push(generation, pushes);
        }
    }

    /// Everything that is wanted now.
    pub(crate) fn desired(&self) -> Desired {
        if self.winding_down {
            return Desired { precedence: self.precedence(), ..Desired::default() };
        }
        self.desired_by(self.wanted.clone(), &self.settings, &self.proxy_build)
    }

    /// What would be wanted by other apps and settings.
    pub(crate) fn desired_by(
        &self,
        apps: BTreeMap<AppName, Wanted>,
        settings: &Settings,
        proxy_build: &str,
    ) -> Desired {
        let collector = collecting::wanted(&self.fixed.collector, &settings.logs, &apps);
        Desired {
            apps,
            proxy: Some(self.proxy_by(settings, proxy_build)),
            collector: Some(Box::new(collector)),
            first_port: Some(settings.first_port),
            sockets: self.hands.run_dir.join(SOCKETS),
            precedence: Precedence::new(),
            front: settings.proxy.front.clone(),
            origin: settings.proxy.origin(),
        }
    }

    /// The proxy as long as nothing winds down.
    pub(crate) fn wanted_proxy(&self) -> WantedProxy {
        self.proxy_by(&self.settings, &self.proxy_build)
    }

    fn proxy_by(&self, settings: &Settings, build: &str) -> WantedProxy {
        let (exec, run_dir) = (self.program_of(settings), &self.hands.run_dir);
        let proxy = proxy::wanted(settings, &exec, build, run_dir);
        WantedProxy { outdated: self.proxy_outdated, ..proxy }
    }

    /// Whom each app names.
    fn precedence(&self) -> Precedence {
        let apps = self.wanted.values().filter_map(Wanted::app);
        apps.map(|app| (app.name.clone(), app.names().cloned().collect())).collect()
    }

    fn proxy_program(&self) -> String {
        self.program_of(&self.settings)
    }

    pub(crate) fn program_of(&self, settings: &Settings) -> String {
        let exec = self.fixed.proxyd.clone().or_else(|| settings.proxy.exec.clone());
        exec.unwrap_or_else(default_proxyd)
    }

    /// Takes an instance out of service and clears it.
    pub(crate) fn retire(&mut self, id: &InstanceId) {
        // What is being pushed may make it a target once more; the plan says so again later.
        if self.roster.pushing.values().any(|pushing| pushing.contains(id)) {
            return;
        }
        let Some(job) = self.roster.job(id) else { return };
        let spec = job.spec.clone();
        let app = self.wanted.get(&id.app).and_then(Wanted::app);
        let mut drain = app.map_or_else(Drain::default, |app| app.drain);
        if self.winding_down {
            // There is nobody who could take them over later.
            drain.streams = Duration::ZERO;
        }
        // Also one whose table has no such target any more: a bootctl that was killed may have taken it out,
        // and there may be something left to finish.
        let may_know = |seen: &SeenProxy| match &seen.table {
            Proxy::Known(_) | Proxy::Unknown => true,
            Proxy::Down => false,
        };
        let proxies = self.roster.observed().proxies;
        let knowing = proxies.iter().filter(|(_, seen)| may_know(seen));
        let knowing: Vec<Generation> = knowing.map(|(generation, _)| *generation).collect();
        self.roster.retiring(id);
        self.unwatch(id);
        self.hands.retire(id.clone(), spec, &knowing, drain);
    }

    fn push(&mut self, generation: Generation, pushes: Vec<Push>) {
        let Some(Told::Table { pid, .. }) = self.roster.told.get(&generation) else { return };
        if self.roster.pushing.contains_key(&generation) {
            return;
        }
        let mut about = std::collections::BTreeSet::new();
        for push in &pushes {
            if let Push::Target { id, .. } = push {
                about.insert(id.clone());
            }
        }
        self.hands.push(generation, *pid, pushes);
        self.roster.pushing.insert(generation, about);
    }

    /// A proxy that was started anew knows nothing: it is asked, and then told.
    fn follow_proxies(&mut self) {
        let running = self.roster.proxy_pids();
        let gone = |generation: &Generation| !running.contains_key(generation);
        self.roster.told.retain(|generation, _| !gone(generation));
        for (_, task) in self.reading.extract_if(.., |generation, _| gone(generation)) {
            task.abort();
        }
        for (generation, pid) in running {
            if self.roster.told.get(&generation).map(Told::pid) != Some(pid) {
                self.read_table(generation, pid);
            }
        }
    }

    fn read_table(&mut self, generation: Generation, pid: u32) {
        self.roster.told.insert(generation, Told::Asked { pid });
        self.declined.forget(generation);
        let task = self.hands.read_table(generation, pid);
        if let Some(before) = self.reading.insert(generation, task) {
            before.abort();
        }
    }

    fn is_done(&self) -> bool {
        let observed = self.roster.observed();
        let is_gone = !matches!(observed.collector, Collector::Ours { .. });
        let nothing = observed.instances.is_empty() && observed.proxies.is_empty() && is_gone;
        self.roster.is_current && nothing
    }

    /// Lets bootctl hear from itself after a while.
    pub(crate) fn remind(tell: &Sender<Event>, after: Duration, event: Event) {
        let tell = tell.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            drop(tell.send(event).await);
        });
    }
}

/// Whether nobody listens on a port.
fn is_free(port: Port) -> bool {
    TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port.number())).is_ok()
}

/// The proxyd next to bootctl, else the one in the default path.
fn default_proxyd() -> String {
    let own = std::env::current_exe().ok();
    let folders = own.as_deref().and_then(std::path::Path::parent).into_iter();
    let system = crate::app::DEFAULT_PATH.split(':').map(std::path::Path::new);
    let mut paths = folders.chain(system).map(|folder| folder.join(generation::JOB));
    let found = paths.find(|path| path.is_file());
    found.map_or_else(|| generation::JOB.to_owned(), |path| path.to_string_lossy().into_owned())
}
