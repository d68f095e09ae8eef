//! What to do next, from what is wanted and what is there. Pure: no clock, no descriptor, no
//! memory of its own, so a bootctl that starts anew goes on where its predecessor was killed.
//! What has been touched may be all that is looked at: an app with which nothing has happened since then has
//! nothing to be done about.
//!
//! An app is rolled without remembering that it is: whatever the state, instances of the current
//! spec are started while there is room (one more than wanted), and an outdated one is retired
//! only when enough current ones serve. Of an app whose current spec has failed and is held, the
//! outdated ones go on instead, and nothing is started. It refuses to touch jobs and routes that are not its own
//! business: foreign jobs, and apps whose file is broken.

mod collector;
mod crew;
mod generations;
mod precedence;
mod preview;
mod proxy;
mod push;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod world;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use init_wire::JobSpec;
use proxyd_wire::Front;

use crate::app::App;
use crate::generation::{Generation, WantedProxy};
use crate::health::Health;
use crate::name::{AppName, InstanceId, Port};
use crate::order::{Digest, Order};
use crate::place::{Place, PlaceKind};
use crate::site::{Origin, Shown};
use crate::tls::Tls;
use crate::touched::Touched;
use crate::wanted::Apps;

pub(crate) use collector::{Collector, CollectorLife};
use crew::Crew;
pub(crate) use generations::serves as proxy_serves;
use precedence::waiting;
pub(crate) use precedence::{Precedence, Waiting, see_waiting, widen};
pub(crate) use preview::{Preview, preview};
pub(crate) use push::{Push, Table};
pub(crate) use tls::certificate;

/// What the administrator wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    /// Every app there is a file of.
    pub(crate) apps: Apps,
    /// The proxy; none while winding down.
    pub(crate) proxy: Option<WantedProxy>,
    /// The collector of what is written; none while winding down.
    pub(crate) collector: Option<Arc<JobSpec>>,
    /// Where the search for a free port begins.
    pub(crate) first_port: Option<Port>,
    /// The folder of all sockets.
    pub(crate) sockets: PathBuf,
    /// In which order those end that are wanted no more.
    pub(crate) precedence: Precedence,
    /// What the proxy is told of the whole process.
    pub(crate) front: Front,
    /// How clients reach it.
    pub(crate) origin: Origin,
    /// What it is to know of TLS; none where that is to stay as it is.
    pub(crate) tls: Option<Rc<Tls>>,
}

/// What is wanted of one app.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// Its instances.
    Running(Order),
    /// Its hosts, without instances.
    Stopped(Arc<App>),
    /// That it stays as it is: its file is broken.
    AsItIs,
}

impl Wanted {
    /// The app, if its file is fine.
    pub(crate) fn app(&self) -> Option<&Arc<App>> {
        match self {
            Self::Running(order) => Some(&order.app),
            Self::Stopped(app) => Some(app),
            Self::AsItIs => None,
        }
    }

    /// Which of its files the proxy shows.
    pub(crate) fn shown(&self) -> Shown<'_> {
        match self {
            Self::Running(order) => match &order.release {
                Some(release) => Shown::Release(&release.path),
                None => Shown::Own,
            },
            Self::Stopped(_) | Self::AsItIs => Shown::Not,
        }
    }
}

/// What is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) instances: BTreeMap<InstanceId, Seen>,
    pub(crate) proxies: BTreeMap<Generation, SeenProxy>,
    /// Jobs that have a generation's name and are not ours.
    pub(crate) foreign_proxies: BTreeSet<Generation>,
    /// Somebody else's job is where the first generation would be: hands off.
    pub(crate) proxy_refused: bool,
    pub(crate) collector: Collector,
    /// Orders that init refused to start an instance of.
    pub(crate) refused: BTreeMap<AppName, Digest>,
    /// Instances that were started again and again without getting ready.
    pub(crate) struggling: BTreeSet<InstanceId>,
    /// Instances that have not been ready for long enough that another one may go for them.
    pub(crate) unsettled: BTreeSet<InstanceId>,
}

/// One of our jobs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) place: Place,
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) life: Life,
    /// How often init has started it again.
    pub(crate) restarts: u32,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// init has been asked to start it and has not answered: nothing else can be asked of it.
    Asked,
    /// It has no process yet, or waits for its next one.
    Coming,
    /// It has a process.
    Running(Health),
    /// It is on its way out.
    Leaving,
    /// Somebody had it stopped, and did not come to clear it: it is nobody's failure.
    Stopped,
    /// It has ended and init does not start it again.
    Ended,
}

/// One generation of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct SeenProxy {
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) life: ProxyLife,
    pub(crate) table: Proxy,
}

/// Where its job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyLife {
    /// init has been asked to start it and has not answered.
    Asked,
    /// It has no process yet, or waits for its next one.
    Coming,
    /// It has a process.
    Running,
    /// It is on its way out, and may serve what it has begun.
    Leaving,
    /// It has ended and init does not start it again.
    Ended,
}

/// What a generation says.
#[derive(Clone, Debug, Default)]
pub(crate) enum Proxy {
    /// It does not run.
    #[default]
    Down,
    /// It runs, and has not answered yet.
    Unknown,
    /// It runs with these routes and targets.
    Known(Rc<Table>),
}

/// A thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Start this instance.
    Start { id: InstanceId, place: Place, spec: Arc<JobSpec> },
    /// There is no place to start an instance of this app in: to be looked at again.
    Unplaced { app: AppName },
    /// Take it from the proxy, let it finish, stop it, clear it.
    Retire { id: InstanceId },
    /// Start this generation of the proxy.
    StartProxy { generation: Generation, spec: Arc<JobSpec> },
    /// Let it finish, and clear it.
    StopProxy { generation: Generation },
    /// Start the collector.
    StartCollector { spec: Arc<JobSpec> },
    /// Let it write what there is, and clear it.
    StopCollector,
    /// Change its table.
    Push { generation: Generation, push: Push },
}

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Apps, and those that wait for them: see [`widen`].
    pub(crate) apps: Touched,
    /// The generations of the proxy that can be told something, and apps about which it may be.
    pub(crate) tellings: BTreeMap<Generation, Touched>,
}

impl Scope {
    /// Everything.
    #[cfg(test)]
    pub(crate) fn all(observed: &Observed) -> Self {
        let tellings = observed.proxies.keys().map(|generation| (*generation, Touched::All));
        Self { apps: Touched::All, tellings: tellings.collect() }
    }
}

/// What to do next about everything.
#[cfg(test)]
pub(crate) fn plan(
    desired: &Desired,
    observed: &Observed,
    is_free: impl Fn(Port) -> bool,
) -> Vec<Action> {
    plan_for(desired, observed, &Scope::all(observed), is_free)
}

/// What to do next about what is looked at. `is_free` tells of a port whether nobody listens on it.
pub(crate) fn plan_for(
    desired: &Desired,
    observed: &Observed,
    scope: &Scope,
    is_free: impl Fn(Port) -> bool,
) -> Vec<Action> {
    let mut actions = Vec::new();
    collector::plan(desired, observed, &mut actions);
    generations::plan(desired, observed, &mut actions);
    let mut retired = BTreeSet::new();
    for id in unwanted(desired, observed, &scope.apps) {
        retired.insert(id.clone());
        actions.push(Action::Retire { id });
    }
    let mut places = Places::new(desired, observed, is_free);
    for (name, wanted) in scope.apps.among(&desired.apps) {
        let crew = Crew::muster(name, wanted, observed);
        for id in crew.surplus() {
            retired.insert(id.clone());
            actions.push(Action::Retire { id });
        }
        if let Wanted::Running(order) = wanted
            && crew.room() > 0
            && !observed.is_refused(order)
            && waiting(&order.app, desired, observed).is_none()
        {
            start(order, &crew, observed, &mut places, &mut actions);
        }
    }
    if desired.proxy.is_some() {
        for (&generation, touched) in &scope.tellings {
            // Also while it is leaving: what it has begun goes on, on targets that are there.
            if let Some(Proxy::Known(table)) = observed.proxies.get(&generation).map(|p| &p.table) {
                let pushes = proxy::pushes(desired, observed, table, &retired, touched);
                actions.extend(pushes.map(|push| Action::Push { generation, push }));
            }
        }
    }
    actions
}

/// Instances of apps that are not wanted and can go, in reverse order, so that what was started last goes first.
fn unwanted(desired: &Desired, observed: &Observed, touched: &Touched) -> Vec<InstanceId> {
    let is_gone = |name: &AppName| !desired.apps.contains_key(name);
    let left: Vec<(&InstanceId, &Seen)> = match touched {
        Touched::All => {
            observed.instances.iter().rev().filter(|(id, _)| is_gone(&id.app)).collect()
        }
        Touched::Only(apps) => {
            let gone = apps.iter().rev().filter(|name| is_gone(name));
            gone.flat_map(|name| instances_of(name, observed).rev()).collect()
        }
    };
    if left.is_empty() {
        return Vec::new();
    }
    let needed = precedence::needed(&desired.precedence, observed);
    let can_go = |(id, seen): &(&InstanceId, &Seen)| {
        !matches!(seen.life, Life::Asked | Life::Leaving) && !needed.contains(&id.app)
    };
    left.into_iter().filter(can_go).map(|(id, _)| id.clone()).collect()
}

fn start<F: Fn(Port) -> bool>(
    order: &Order,
    crew: &Crew<'_>,
    observed: &Observed,
    places: &mut Places<'_, F>,
    actions: &mut Vec<Action>,
) {
    let name = &order.app.name;
    let taken =
        |number: &u32| observed.instances.contains_key(&InstanceId::new(name.clone(), *number));
    let numbers = (1..).filter(|number| !taken(number));
    for number in numbers.take(crew.room()) {
        let id = InstanceId::new(name.clone(), number);
        let Some(place) = places.take(&order.app, &id) else {
            return actions.push(Action::Unplaced { app: name.clone() });
        };
        let spec = Arc::new(order.job(number, &place));
        actions.push(Action::Start { id, place, spec });
    }
}

/// The instances of one app, in the order of their numbers.
pub(crate) fn instances_of<'a>(
    name: &AppName,
    observed: &'a Observed,
) -> impl DoubleEndedIterator<Item = (&'a InstanceId, &'a Seen)> {
    observed.instances.range(InstanceId::all_of(name))
}

/// The instances of the apps that were touched.
pub(crate) fn instances_in<'a>(
    touched: &'a Touched,
    observed: &'a Observed,
) -> Box<dyn Iterator<Item = (&'a InstanceId, &'a Seen)> + 'a> {
    match touched {
        Touched::All => Box::new(observed.instances.iter()),
        Touched::Only(apps) => Box::new(apps.iter().flat_map(|app| instances_of(app, observed))),
    }
}

impl Observed {
    /// Whether init does not start instances of this order.
    pub(crate) fn is_refused(&self, order: &Order) -> bool {
        let refused = self.refused.get(&order.app.name);
        refused.is_some_and(|refused| *refused == order.digest())
    }

    /// Whether a generation runs that may serve, and has not told its table.
    fn is_any_proxy_unknown(&self) -> bool {
        self.proxies.values().any(|seen| matches!(seen.table, Proxy::Unknown))
    }
}

/// Whether requests reach it: through every generation, also one that lets clients in only later.
pub(crate) fn serves(id: &InstanceId, seen: &Seen, observed: &Observed) -> bool {
    let has_it = |seen_proxy: &SeenProxy| match &seen_proxy.table {
        // Nobody sends requests there: being ready is all that it can be.
        Proxy::Down => true,
        Proxy::Unknown => false,
        Proxy::Known(table) => {
            let target = table.targets.get(&key(id));
            target.is_some_and(|target| target.address == seen.place.address())
        }
    };
    seen.life == Life::Running(Health::Ready)
        && (seen.place == Place::Nowhere || observed.proxies.values().all(has_it))
}

/// An instance in the proxy's words.
pub(crate) fn key(id: &InstanceId) -> (String, String) {
    (id.app.to_string(), id.to_string())
}

/// The supply of places: ports that are neither given away nor listened on, and sockets by name.
struct Places<'a, F> {
    from: Port,
    observed: &'a Observed,
    /// Those of all instances, once one is asked for.
    used: OnceCell<BTreeSet<Port>>,
    /// The last that was taken from each first one on: there is none left before it.
    last: BTreeMap<Port, Port>,
    is_free: F,
    sockets: &'a Path,
}

impl<'a, F: Fn(Port) -> bool> Places<'a, F> {
    fn new(desired: &'a Desired, observed: &'a Observed, is_free: F) -> Self {
        Self {
            from: desired.first_port.unwrap_or(Port::HIGHEST),
            observed,
            used: OnceCell::new(),
            last: BTreeMap::new(),
            is_free,
            sockets: &desired.sockets,
        }
    }

    fn take(&mut self, app: &App, id: &InstanceId) -> Option<Place> {
        let from = app.port.unwrap_or(self.from);
        match app.socket {
            PlaceKind::Port => self.take_port(from).map(Place::Port),
            PlaceKind::Unix => Some(Place::socket(self.sockets, id)),
            PlaceKind::Fd => self.take_port(from).map(Place::Fd),
            PlaceKind::Nowhere => Some(Place::Nowhere),
        }
    }

    fn take_port(&mut self, from: Port) -> Option<Port> {
        let instances = &self.observed.instances;
        let all = || instances.values().filter_map(|seen| seen.place.port()).collect();
        self.used.get_or_init(all);
        let used = self.used.get_mut()?;
        let last = self.last.get(&from).copied().unwrap_or(from);
        let port = last.and_above().find(|port| !used.contains(port) && (self.is_free)(*port))?;
        used.insert(port);
        self.last.insert(from, port);
        Some(port)
    }
}
