//! The thread that obtains: it asks the planner what to do, does it beside the data path, and tells what
//! came of it.
//!
//! Of all processes that have the same folder one obtains: who holds the lock. The others take up what it
//! stores, and go on with what it has begun when it ends.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxyd_wire as wire;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::folder::Folder;
use super::order::{self, Job};
use super::plan::{Effect, Event, Planner, Time, Turn};
use super::store::{CannotStore, Lock, Store};
use super::wanted::Wanted;
use super::{kept, now, preflight, shelf};
use crate::limits;
use crate::name::Name;
use crate::registry::Registry;
use crate::say::say;
use crate::worker::Phase;

/// Begins to obtain once somebody says where to keep what is obtained: until then there is neither a thread nor are
/// there descriptors for it.
pub(crate) async fn start_when_asked(
    registry: Arc<Registry>,
    phases: watch::Receiver<Phase>,
) -> io::Result<()> {
    let mut changes = registry.subscribe();
    while registry.look(|state| state.acme().wire.folder.is_none()) {
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
    if let Err(error) = start(registry, phases) {
        say!("proxyd: no certificate can be obtained: {error}");
    }
    Ok(())
}

/// In a thread of its own, to the end of the process.
fn start(registry: Arc<Registry>, phases: watch::Receiver<Phase>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("acme".to_owned());
    thread.spawn(move || runtime.block_on(Agent::new(registry).run(phases)))?;
    Ok(())
}

struct Agent {
    registry: Arc<Registry>,
    planner: Planner,
    wanted: Arc<Wanted>,
    store: Option<Arc<dyn Store>>,
    lock: Option<Box<dyn Lock>>,
    /// How often was looked whether the folder is ours.
    looks: usize,
    /// What was last said of the folder.
    trouble: Option<String>,
    /// What is under way.
    tasks: BTreeMap<Turn, AbortHandle>,
    reports: (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>),
    accounts: Arc<tokio::sync::Mutex<()>>,
    /// A token, and what only this process answers to it.
    own: Arc<(String, String)>,
}

/// What came of something.
enum Report {
    Event(Event),
    /// A certificate was made, and is kept.
    Issued {
        turn: Turn,
        name: Name,
        issued: kept::Issued,
    },
}

impl Agent {
    fn new(registry: Arc<Registry>) -> Agent {
        let seed = random();
        let own = (format!("proxyd-{seed:016x}"), format!("proxyd-{:016x}", random()));
        registry.change(|state| state.change_proofs(|proofs| proofs.put(&own.0, &own.1)));
        Agent {
            registry,
            planner: Planner::new(seed),
            wanted: Arc::default(),
            store: None,
            lock: None,
            looks: 0,
            trouble: None,
            tasks: BTreeMap::new(),
            reports: mpsc::unbounded_channel(),
            accounts: Arc::default(),
            own: Arc::new(own),
        }
    }

    async fn run(mut self, mut phases: watch::Receiver<Phase>) {
        let registry = Arc::clone(&self.registry);
        let mut changes = registry.subscribe();
        let mut is_open = false;
        self.look();
        loop {
            let pause = self.sleeps();
            let is_second = is_open && self.wanted.wire.folder.is_some() && self.lock.is_none();
            select! {
                // Whoever comes next obtains.
                _ = phases.wait_for(|phase| *phase != Phase::Serving) => return self.leave(),
                // Before that nobody could come to see a proof.
                () = registry.door.opened(), if !is_open => {
                    is_open = true;
                    self.begin();
                }
                news = changes.changed() => {
                    if news.is_err() {
                        return;
                    }
                    if self.look() && is_open {
                        self.begin();
                    }
                }
                Some(report) = self.reports.1.recv() => self.hear(report),
                names = registry.acme.asked() => {
                    for name in names {
                        self.step(Event::Asked { name });
                    }
                }
                () = sleep(limits::ACME_LOCK_LOOK), if is_second => {
                    self.looks += 1;
                    // Of very many not all are read each time.
                    let each = 1 + self.wanted.certificates.len() / limits::ACME_READ;
                    if self.looks.is_multiple_of(each) {
                        self.take_up();
                    }
                    self.begin();
                }
                () = sleep(pause) => self.step(Event::Woken),
            }
        }
    }

    /// Until there is something to do. A clock may be set meanwhile, so it is looked at now and then.
    fn sleeps(&self) -> Duration {
        let longest = limits::ACME_CLOCK_LOOK;
        let Some(deadline) = self.planner.next_deadline() else { return longest };
        let seconds = u64::try_from(deadline.saturating_sub(now())).unwrap_or(0);
        Duration::from_secs(seconds).min(longest)
    }

    /// Takes over what is wanted. `false`: it is what it was.
    fn look(&mut self) -> bool {
        let wanted = self.registry.look(|state| Arc::clone(state.acme()));
        if Arc::ptr_eq(&wanted, &self.wanted) {
            return false;
        }
        let moved = wanted.wire.folder != self.wanted.wire.folder
            || wanted.wire.authorities.is_empty() != self.wanted.wire.authorities.is_empty();
        let before = std::mem::replace(&mut self.wanted, wanted);
        if moved {
            self.give_up();
        }
        let known = |name: &Name| !moved && before.certificates.contains_key(name);
        let new: Vec<Name> =
            self.wanted.certificates.keys().filter(|name| !known(name)).cloned().collect();
        let directories = self.wanted.wire.authorities.iter().map(|a| a.directory.clone());
        let event = Event::Wanted {
            authorities: directories.collect(),
            certificates: self.wanted.certificates.clone(),
            anew: !self.wanted.asks_like(&before),
        };
        self.open();
        self.step(event);
        self.find(&new);
        let wanted = Arc::clone(&self.wanted);
        self.registry.acme.keep(|name| wanted.certificates.contains_key(name));
        true
    }

    fn open(&mut self) {
        let path = self.wanted.wire.folder.as_deref();
        let Some(path) = path.filter(|_| !self.wanted.wire.authorities.is_empty()) else { return };
        if self.store.is_none() {
            match Folder::open(path) {
                Ok(folder) => self.store = Some(Arc::new(folder)),
                Err(error) => self.complain(Some(&error)),
            }
        }
    }

    /// Lets somebody else obtain.
    fn give_up(&mut self) {
        self.step(Event::Active(false));
        let (authorities, certificates) = (Vec::new(), BTreeMap::new());
        let nothing = Event::Wanted { authorities, certificates, anew: false };
        self.step(nothing);
        (self.lock, self.store) = (None, None);
        self.complain(None);
    }

    fn leave(mut self) {
        self.give_up();
        self.registry.acme.set_active(false, None);
    }

    /// Obtains, if nobody else does.
    fn begin(&mut self) {
        self.open();
        let Some(store) = &self.store else { return };
        if self.lock.is_some() {
            return;
        }
        match store.lock() {
            Ok(Some(lock)) => {
                self.lock = Some(lock);
                self.complain(None);
                // Whoever had it before has stored more than we know.
                self.take_up();
                if self.lock.is_some() {
                    self.step(Event::Active(true));
                }
            }
            Ok(None) => self.complain(None),
            Err(error) => self.complain(Some(&error)),
        }
    }

    /// Tells what is wrong with the folder, once.
    fn complain(&mut self, error: Option<&CannotStore>) {
        let trouble = error.map(ToString::to_string);
        if trouble != self.trouble {
            if let Some(trouble) = &trouble {
                say!("proxyd: no certificate can be obtained: {trouble}");
            }
            self.trouble.clone_from(&trouble);
        }
        self.registry.acme.set_active(self.lock.is_some(), trouble);
    }

    /// Shows what was stored since, by whomever.
    fn take_up(&mut self) {
        let names: Vec<Name> = self.planner.names().cloned().collect();
        self.find(&names);
    }

    /// Tells the planner what the store has of these, and shows it.
    fn find(&mut self, names: &[Name]) {
        let Some(store) = self.store.clone() else { return };
        for name in names {
            let past = kept::load_past(&*store, name);
            match shelf::take(&*store, name).and_then(|held| Ok((held, past?))) {
                Ok((obtained, past)) => {
                    let held = obtained.as_ref().map(shelf::Obtained::held);
                    if let Some(obtained) = obtained {
                        self.registry.change(|state| state.put_obtained(name, obtained));
                    }
                    self.step(Event::Found { name: name.clone(), held, past });
                }
                Err(error) => {
                    // What cannot be read is nobody's to obtain anew, and looked at again soon.
                    self.lock = None;
                    self.step(Event::Active(false));
                    return self.complain(Some(&error));
                }
            }
        }
    }

    fn hear(&mut self, report: Report) {
        let event = match report {
            Report::Event(event) => {
                if let Event::Failed { name, failure, .. } = &event {
                    self.registry.acme.count(false);
                    let what = failure.sentence();
                    say!("proxyd: the certificate {} was not obtained: {what}", name.as_str());
                }
                event
            }
            Report::Issued { turn, name, issued } => match shelf::Obtained::new(issued) {
                Ok(obtained) => {
                    let held = obtained.held();
                    let day = obtained.certificate.last_day();
                    self.registry.acme.count(true);
                    self.registry.change(|state| state.put_obtained(&name, obtained));
                    say!(
                        "proxyd: the certificate {} was obtained, valid until {day}",
                        name.as_str()
                    );
                    Event::Issued { turn, name, held }
                }
                Err(error) => {
                    self.registry.acme.count(false);
                    let failure = super::failure::Failure::new(
                        super::failure::Cause::Authority,
                        error.to_string(),
                    );
                    Event::Failed { turn, name, failure }
                }
            },
        };
        if let Event::Checked { turn, .. }
        | Event::Issued { turn, .. }
        | Event::Failed { turn, .. } = &event
        {
            self.tasks.remove(turn);
        }
        self.step(event);
    }

    fn step(&mut self, event: Event) {
        let about = match &event {
            Event::Wanted { .. } | Event::Active(_) | Event::Woken => None,
            Event::Found { name, .. }
            | Event::Checked { name, .. }
            | Event::Issued { name, .. }
            | Event::Failed { name, .. }
            | Event::Suggested { name, .. }
            | Event::Asked { name } => Some(name.clone()),
        };
        let all = matches!(event, Event::Wanted { .. } | Event::Active(_));
        let effects = self.planner.step(now(), event);
        let mut touched: Vec<Name> = about.into_iter().collect();
        for effect in effects {
            touched.extend(self.perform(effect));
        }
        if all {
            touched = self.planner.names().cloned().collect();
        }
        for name in touched {
            self.registry.acme.show(&name, self.planner.view(&name));
        }
    }

    /// Returns whom it is about.
    fn perform(&mut self, effect: Effect) -> Option<Name> {
        let store = self.store.clone();
        match effect {
            Effect::Check { turn, name, names } => {
                // A name that a record proves needs no address.
                let by_record = self.wanted.wire.challenges.contains(&wire::AcmeChallenge::Dns01);
                let preflight = self.wanted.wire.preflight && !by_record;
                let own = Arc::clone(&self.own);
                let about = name.clone();
                self.begin_task(turn, async move {
                    let sight = if preflight {
                        preflight::look(&names, own).await
                    } else {
                        preflight::Sight::default()
                    };
                    let preflight::Sight { blocked, silent } = sight;
                    Report::Event(Event::Checked { turn, name, blocked, silent })
                });
                Some(about)
            }
            Effect::Order { turn, name, names, authority, tries, silent, replaces } => {
                let found = self.authority(&authority);
                let (Some(store), Some(authority)) = (store, found) else { return None };
                let replaced = self.registry.look(|state| {
                    let there = state.keyring().obtained().get(&name).filter(|_| replaces)?;
                    there.certificate.signed.cert.first().cloned()
                });
                let job = Job {
                    kinds: self.kinds(tries, silent),
                    contacts: self.wanted.wire.contacts.clone(),
                    replaces: replaced,
                    registry: Arc::clone(&self.registry),
                    accounts: Arc::clone(&self.accounts),
                    name: name.clone(),
                    names,
                    authority,
                    store,
                };
                let about = name.clone();
                self.begin_task(turn, async move {
                    match job.run().await {
                        Ok(issued) => Report::Issued { turn, name, issued },
                        Err(failure) => Report::Event(Event::Failed { turn, name, failure }),
                    }
                });
                Some(about)
            }
            Effect::AskWindow { name, authority } => {
                let (store, authority) = (store?, self.authority(&authority)?);
                let leaf = self.registry.look(|state| {
                    let there = state.keyring().obtained().get(&name)?;
                    there.certificate.signed.cert.first().cloned()
                })?;
                let (contacts, accounts) =
                    (self.wanted.wire.contacts.clone(), Arc::clone(&self.accounts));
                let reports = self.reports.0.clone();
                tokio::spawn(async move {
                    let found =
                        order::suggestion(&*store, &authority, &contacts, (leaf, accounts)).await;
                    let (window, again) = found.map_or((None, Time::MAX), |(w, a)| (Some(w), a));
                    // Who does not hear it any more has ended.
                    let _ = reports.send(Report::Event(Event::Suggested { name, window, again }));
                });
                None
            }
            Effect::Abandon { turn } => {
                if let Some(task) = self.tasks.remove(&turn) {
                    task.abort();
                }
                None
            }
            Effect::Remember { name, past } => {
                if let Some(saved) = store.map(|store| kept::save_past(&*store, &name, past)) {
                    self.complain(saved.err().as_ref());
                }
                Some(name)
            }
        }
    }

    fn begin_task(&mut self, turn: Turn, task: impl Future<Output = Report> + Send + 'static) {
        let reports = self.reports.0.clone();
        let task = tokio::spawn(async move {
            let _ = reports.send(task.await);
        });
        self.tasks.insert(turn, task.abort_handle());
    }

    fn authority(&self, directory: &str) -> Option<wire::AcmeAuthority> {
        let all = self.wanted.wire.authorities.iter();
        all.clone().find(|authority| authority.directory == directory).cloned()
    }

    /// The ways to prove, the one to be tried first: another one after each failure.
    fn kinds(&self, tries: u32, silent: bool) -> Vec<wire::AcmeChallenge> {
        let mut kinds = self.wanted.wire.challenges.clone();
        let steps = usize::try_from(tries).unwrap_or_default() % kinds.len().max(1);
        kinds.rotate_left(steps);
        if silent && tries == 0 {
            kinds.sort_by_key(|kind| *kind == wire::AcmeChallenge::Http01);
        }
        kinds
    }
}

/// What nobody can guess; were it not to be had, the time would do here.
fn random() -> u64 {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    let time = || UNIX_EPOCH.elapsed().map_or(1, |since| u64::from(since.subsec_nanos()));
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => time(),
    }
}

/// Seconds since 1970.
pub(super) fn clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| Time::try_from(since.as_secs()).unwrap_or(Time::MAX))
}
