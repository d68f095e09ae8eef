//! The loop: something happens → what is known → plan → act.
//!
//! It waits for events only, from init's stream, probes, the proxy, the control socket and its
//! own actions; nothing is looked at again and again. It keeps no secret of its own: all that it
//! must know after a `kill -9` is in init's jobs, the config and the store.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::act::Hands;
use crate::client::{InitError, News};
use crate::config::{Config, Settings};
use crate::event::Event;
use crate::health::{Check, Health};
use crate::name::{AppName, InstanceId, Port};
use crate::plan::{Action, Desired, Proxy, Push, Wanted, key, plan};
use crate::probe;
use crate::proxy;
use crate::requests::Waiter;
use crate::roster::{Change, Roster, Told};
use crate::store::Store;

/// How long requests may take to finish of an app of which nothing is known any more.
const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

/// What the command line says and no reload changes.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) config: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) listen: Option<std::net::SocketAddr>,
    pub(crate) proxyd: Option<String>,
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
    pub(crate) winding_down: bool,
    pub(crate) proxy_trouble: Option<String>,
    pub(crate) begun: Instant,
    watches: BTreeMap<InstanceId, Watched>,
    reading: Option<AbortHandle>,
}

/// A process that is being probed.
struct Watched {
    pid: u32,
    check: Check,
    task: AbortHandle,
}

impl Supervisor {
    pub(crate) fn new(fixed: Fixed, config: Config, store: Store, hands: Hands) -> Self {
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
            winding_down: false,
            proxy_trouble: None,
            begun: Instant::now(),
            watches: BTreeMap::new(),
            reading: None,
        };
        supervisor.take_over(config);
        supervisor
    }

    /// Makes a config what is wanted.
    pub(crate) fn take_over(&mut self, config: Config) {
        self.problems = config.problems.iter().map(ToString::to_string).collect();
        self.settings = config.settings;
        if let Some(listen) = self.fixed.listen {
            self.settings.proxy.listen = listen;
        }
        let running = config.apps.into_iter().map(|(name, app)| {
            let stopped = self.store.is_stopped(&name);
            (name, if stopped { Wanted::Stopped(app) } else { Wanted::Running(app) })
        });
        let held = config.broken.into_iter().map(|name| (name, Wanted::AsItIs));
        self.wanted = running.chain(held).collect();
        self.roster.refused.clear();
        self.proxy_trouble = None;
    }

    /// Works until it has wound down.
    pub(crate) async fn run(mut self, mut events: Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.take(event);
            while let Ok(event) = events.try_recv() {
                self.take(event);
            }
            self.settle();
            self.answer_waiters();
            if self.winding_down && self.is_done() {
                return;
            }
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
            Event::Health { id, pid, health } => {
                info!("{id} (pid {pid}) is {}", told(health));
                self.roster.judge(id, pid, health);
            }
            Event::Started { id, result } => {
                self.roster.answered(&id, result.is_ok());
                if let Err(InitError::Refused(body)) = result
                    && let Some(Wanted::Running(app)) = self.wanted.get(&id.app)
                {
                    let message = format!("init does not start {id}: {}", body.message);
                    self.roster.refused.insert(id.app, (app.clone(), message));
                }
            }
            Event::Retired { id, result } => {
                self.roster.drained(&id);
                self.roster.answered(&id, result.is_ok());
            }
            Event::ProxyTrouble(error) => self.proxy_trouble = Some(error.to_string()),
            Event::ProxyChanged { there } => self.roster.proxy_changed(there),
            Event::Table { pid, table } => {
                if matches!(self.roster.table, Told::Asked { pid: asked } if asked == pid) {
                    self.proxy_trouble = None;
                    self.roster.table = Told::Table { pid, table };
                }
            }
            Event::Pushed { pid, made, error } => {
                self.roster.pushing = None;
                self.roster.pushed(pid, made);
                if error.is_some() && self.roster.proxy_pid() == Some(pid) {
                    self.read_table(pid);
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
        self.follow_proxy();
        if !self.roster.is_current {
            return;
        }
        let desired = self.desired();
        let observed = self.roster.observed();
        let mut pushes = Vec::new();
        for action in plan(&desired, &observed, is_free) {
            match action {
                Action::Start { id, port, spec } => {
                    self.roster.starting(&id, port, spec.clone());
                    self.hands.start(id, spec);
                }
                Action::Retire { id } => self.retire(&id),
                Action::StartProxy { spec } => {
                    self.roster.changing_proxy = Some(Change::Asked);
                    self.hands.start_proxy(spec);
                }
                Action::StopProxy => {
                    if let Some(job) = self.roster.proxy() {
                        self.hands.stop_proxy(job.spec.clone());
                        self.roster.changing_proxy = Some(Change::Asked);
                    }
                }
                Action::Push(push) => pushes.push(push),
            }
        }
        self.push(pushes);
    }

    /// Everything that is wanted now.
    pub(crate) fn desired(&self) -> Desired {
        if self.winding_down {
            return Desired::default();
        }
        let exec = self.fixed.proxyd.clone().or_else(|| self.settings.proxy.exec.clone());
        let exec = exec.unwrap_or_else(default_proxyd);
        Desired {
            apps: self.wanted.clone(),
            proxy: Some(proxy::job(&self.settings, &exec, &self.fixed.control)),
            first_port: Some(self.settings.first_port),
        }
    }

    /// Takes an instance out of service and clears it.
    pub(crate) fn retire(&mut self, id: &InstanceId) {
        // What is being pushed may make it a target once more; the plan says so again later.
        if self.roster.pushing.as_ref().is_some_and(|pushing| pushing.contains(id)) {
            return;
        }
        let Some(job) = self.roster.job(id) else { return };
        let spec = job.spec.clone();
        let grace = match self.wanted.get(&id.app) {
            Some(Wanted::Running(app) | Wanted::Stopped(app)) => app.drain,
            Some(Wanted::AsItIs) | None => DEFAULT_DRAIN,
        };
        let is_target = match self.roster.observed().proxy {
            Proxy::Known(table) => table.targets.contains_key(&key(id)),
            Proxy::Unknown => true,
            Proxy::Down => false,
        };
        self.roster.retiring(id);
        self.unwatch(id);
        self.hands.retire(id.clone(), spec, is_target.then_some(grace));
    }

    fn push(&mut self, pushes: Vec<Push>) {
        let Told::Table { pid, .. } = self.roster.table else { return };
        if pushes.is_empty() || self.roster.pushing.is_some() {
            return;
        }
        let about = pushes.iter().filter_map(|push| match push {
            Push::Target { id, .. } => Some(id.clone()),
            Push::Route { .. } | Push::NoRoute { .. } | Push::NoTarget { .. } => None,
        });
        self.roster.pushing = Some(about.collect());
        self.hands.push(pid, pushes);
    }

    /// Has every process of ours probed, and none that is gone.
    fn watch_processes(&mut self) {
        let processes = self.roster.processes();
        let gone: Vec<_> =
            self.watches.keys().filter(|id| !processes.contains_key(id)).cloned().collect();
        for id in gone {
            self.unwatch(&id);
        }
        for (id, (pid, port)) in processes {
            let check = match self.wanted.get(&id.app) {
                Some(Wanted::Running(app) | Wanted::Stopped(app)) => app.health.clone(),
                Some(Wanted::AsItIs) | None => Check::default(),
            };
            let same = |watched: &Watched| watched.pid == pid && watched.check == check;
            if self.watches.get(&id).is_some_and(same) {
                continue;
            }
            self.unwatch(&id);
            let from = self.roster.health(&id, pid);
            let tell = self.hands.tell.clone();
            let whose = id.clone();
            let tell = async move |health| {
                tell.send(Event::Health { id: whose.clone(), pid, health }).await.is_ok()
            };
            let task = tokio::spawn(probe::watch(check.clone(), port, from, tell)).abort_handle();
            self.watches.insert(id, Watched { pid, check, task });
        }
    }

    fn unwatch(&mut self, id: &InstanceId) {
        if let Some(watched) = self.watches.remove(id) {
            watched.task.abort();
        }
    }

    /// A proxy that was started anew knows nothing: it is asked, and then told.
    fn follow_proxy(&mut self) {
        let known = match &self.roster.table {
            Told::Nothing => None,
            Told::Asked { pid } | Told::Table { pid, .. } => Some(*pid),
        };
        let running = self.roster.proxy_pid();
        if known == running {
            return;
        }
        if let Some(pid) = running {
            self.read_table(pid);
        } else {
            self.stop_reading();
            self.roster.table = Told::Nothing;
        }
    }

    fn read_table(&mut self, pid: u32) {
        self.stop_reading();
        self.roster.table = Told::Asked { pid };
        self.reading = Some(self.hands.read_table(pid));
    }

    fn stop_reading(&mut self) {
        if let Some(task) = self.reading.take() {
            task.abort();
        }
    }

    fn is_done(&self) -> bool {
        let observed = self.roster.observed();
        let proxy = self.roster.proxy().is_some_and(|job| proxy::is_ours(&job.spec));
        self.roster.is_current && observed.instances.is_empty() && !proxy
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

fn told(health: Health) -> &'static str {
    match health {
        Health::Unknown => "not known yet",
        Health::Ready => "ready",
        Health::Unready => "not ready",
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
    let mut paths = folders.chain(system).map(|folder| folder.join(proxy::JOB));
    let found = paths.find(|path| path.is_file());
    found.map_or_else(|| proxy::JOB.to_owned(), |path| path.to_string_lossy().into_owned())
}
