//! The loop: something happens → what is known → plan → act.
//!
//! It waits for events only, from init's stream, probes, the proxy, the control socket and its
//! own actions; nothing is looked at again and again. It keeps no secret of its own: all that it
//! must know after a `kill -9` is in init's jobs, the config and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;
use tracing::{info, warn};

use crate::act::Hands;
use crate::client::{InitError, News};
use crate::collecting;
use crate::config::Settings;
use crate::config::declared::Declared;
use crate::declined::Declined;
use crate::deploys::Deploys;
use crate::event::Event;
use crate::gate::Gate;
use crate::generation::Generation;
use crate::last_good;
use crate::makeshift::{Footing, Makeshift};
use crate::name::AppName;
use crate::plan::Wanted;
use crate::release::Shelf;
use crate::requests::Waiter;
use crate::roster::Roster;
use crate::runlevel::{Level, Runlevel};
use crate::snapshot;
use crate::store::Store;
use crate::tls::{Keys, Listen};
use crate::verdict::Trials;
use crate::vigil::Vigil;
use crate::wanted::Apps;
use crate::watches::{self, Watches};
use crate::wishes::Surroundings;

/// How long init may take to tell what it has until bootctl answers without.
const FIRST_HEARING: Duration = Duration::from_secs(5);
/// A turn that takes less may follow the one before at once.
const SHORT_TURN: Duration = Duration::from_millis(1);
/// Why what apps write is not collected at runlevel 1 for want of a config.
const UNPLACED_LOGS: &str =
    "init keeps what is written until there is a bootctl.toml that says where it belongs";

/// What the command line says and no reload changes.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) config: PathBuf,
    pub(crate) listen: Option<std::net::SocketAddr>,
    pub(crate) tls_listen: Option<std::net::SocketAddr>,
    pub(crate) proxyd: Option<String>,
    pub(crate) collector: collecting::Place,
    /// The one to boot into.
    pub(crate) runlevel: Option<Level>,
}

impl Fixed {
    /// What the command line says of the proxy wins.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        if let Some(listen) = self.listen {
            settings.proxy.listen = listen;
        }
        if let Some(listen) = self.tls_listen {
            settings.proxy.tls.listen = Listen::At(listen);
        }
    }
}

/// The supervisor.
pub(crate) struct Supervisor {
    pub(crate) fixed: Fixed,
    pub(crate) settings: Settings,
    pub(crate) wanted: Apps,
    /// What is wanted beside the apps.
    pub(crate) surroundings: Surroundings,
    pub(crate) problems: Vec<String>,
    /// What is gone on with because the config could not be used.
    pub(crate) makeshift: Option<Makeshift>,
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
    pub(crate) gate: Gate,
    pub(crate) runlevel: Runlevel,
    /// The level to boot into is still to be gone on to.
    pub(crate) is_level_due: bool,
    /// Another bootctl takes over.
    pub(crate) is_giving_way: bool,
    pub(crate) declined: Declined,
    pub(crate) declared: Declared,
    /// What of it will most likely not work, if it was asked for.
    pub(crate) doubts: Vec<String>,
    pub(crate) vigil: Vigil,
    pub(crate) keys: Keys,
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
    pub(crate) reading: BTreeMap<Generation, AbortHandle>,
}

impl Supervisor {
    pub(crate) fn new(fixed: Fixed, footing: Footing, store: Store, hands: Hands) -> Self {
        let Footing { config, makeshift } = footing;
        let shelf = Shelf::new(store.folder());
        let boot = fixed.runlevel.unwrap_or(config.settings.runlevel);
        let least = match &makeshift {
            Some(Makeshift::Least(flaw)) => Some(Runlevel::least(fixed.runlevel, flaw)),
            Some(Makeshift::Earlier) | None => None,
        };
        let is_least = least.is_some();
        let found = || Runlevel::found(&hands.run_dir, boot, &config.settings.hooks);
        let runlevel = least.unwrap_or_else(found);
        let mut supervisor = Self {
            fixed,
            settings: Settings::default(),
            wanted: Apps::default(),
            surroundings: Surroundings::default(),
            problems: Vec::new(),
            makeshift,
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
            collector_trouble: is_least.then(|| UNPLACED_LOGS.to_owned()),
            gate: Gate::default(),
            runlevel,
            is_level_due: is_least,
            is_giving_way: false,
            declined: Declined::default(),
            declared: Declared::default(),
            doubts: Vec::new(),
            vigil: Vigil::default(),
            keys: Keys::default(),
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

    /// Works until it has wound down.
    pub(crate) async fn run(mut self, mut events: Receiver<Event>) {
        self.hear_init(&mut events).await;
        let mut rested = Instant::now();
        let mut next = Some(None);
        while let Some(event) = next {
            if let Some(event) = event {
                self.take(event);
            }
            // No more than half of the time is spent on plans, however many apps and events there are.
            while rested > Instant::now()
                && let Ok(Some(event)) = timeout_at(rested.into(), events.recv()).await
            {
                self.take(event);
            }
            while let Ok(event) = events.try_recv() {
                self.take(event);
            }
            let begun = Instant::now();
            self.settle();
            self.tell_steps();
            self.answer_waiters();
            if self.is_giving_way {
                return;
            }
            if self.winding_down && self.is_done() {
                self.forget_level();
                last_good::remove(&self.hands.run_dir);
                snapshot::let_go(&self.hands.run_dir);
                return;
            }
            let took = begun.elapsed();
            let rest = if took < SHORT_TURN { Duration::ZERO } else { took };
            rested = Instant::now().checked_add(rest).unwrap_or(begun);
            next = self.next(&mut events).await;
        }
    }

    /// Hears what init has before anything is answered: what runs already would be told as if it did not.
    async fn hear_init(&mut self, events: &mut Receiver<Event>) {
        let deadline = tokio::time::Instant::now() + FIRST_HEARING;
        let mut asked = Vec::new();
        while !self.roster.is_current
            && let Ok(Some(event)) = timeout_at(deadline, events.recv()).await
        {
            let is_lost = matches!(event, Event::Jobs(News::Lost(_)));
            match event {
                Event::Ask(ask) => asked.push(ask),
                event => self.take(event),
            }
            if is_lost {
                break;
            }
        }
        for ask in asked {
            self.take_request(ask);
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
                self.roster.judge(&id, pid, verdict);
            }
            Event::Started { id, result } => {
                if let Err(error @ (InitError::Refused(_) | InitError::Socket(_))) = &result
                    && let Some(Wanted::Running(order)) = self.wanted.get(&id.app)
                    && let Some(seen) = self.roster.observed().instances.get(&id)
                    && order.is_current(&id, seen)
                {
                    let message = format!("{id} cannot be started: {error}");
                    self.roster.refuse(&id.app, order.digest(), message);
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
            Event::Retired { id, without, result } => {
                self.roster.in_flight.remove(&id);
                self.roster.drained(&id, &without);
                self.roster.answered(&id, result.is_ok());
            }
            Event::CollectorChanged(result) => {
                self.roster.collector_changed(result.is_ok());
                self.collector_trouble = result.err().map(|error| error.to_string());
            }
            Event::Hook(news) => self.hook_ended(news),
            Event::GateChanged(result) => self.gate_changed(result),
            Event::GateRested => self.gate_rested(),
            Event::ProxyTrouble(generation, error) => {
                self.proxy_trouble = Some(format!("{generation}: {error}"));
            }
            Event::ProxyChanged { generation, done } => {
                self.roster.proxy_changed(generation, done);
            }
            Event::Table { generation, pid, table } => {
                if self.roster.take_table(generation, pid, table) {
                    self.proxy_trouble = None;
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
            Event::ConfigTouched => self.look_at_config(),
            Event::ConfigUnwatched(error) => self.lose_watch(&error),
            Event::KeysTouched => self.look_at_keys(),
            Event::Acme { generation, pid, view } => self.take_acme(generation, pid, *view),
            Event::Record(news) => self.take_record(news),
            Event::KeysUnwatched(error) => self.lose_keys(&error),
            Event::Expired(number) => self.expire(number),
            Event::WindDown => {
                info!("winding down: requests finish, then the apps are stopped, then the proxy");
                self.winding_down = true;
            }
        }
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
