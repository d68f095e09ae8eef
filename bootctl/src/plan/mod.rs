//! What to do next, from what is wanted and what is there. Pure: no clock, no descriptor, no
//! memory of its own, so a bootctl that starts anew goes on where its predecessor was killed.
//!
//! An app is rolled without remembering that it is: whatever the state, instances of the current
//! spec are started while there is room (one more than wanted), and an outdated one is retired
//! only when enough current ones serve. Of an app whose current spec has failed and is held, the
//! outdated ones go on instead, and nothing is started. It refuses to touch jobs and routes that are not its own
//! business: foreign jobs, and apps whose file is broken.

mod collector;
mod generations;
mod precedence;
mod proxy;
mod push;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use init_wire::JobSpec;
use proxyd_wire::Front;

use crate::app::App;
use crate::generation::{Generation, WantedProxy};
use crate::health::Health;
use crate::name::{AppName, InstanceId, Port};
use crate::order::{Digest, Order};
use crate::place::{Place, PlaceKind};
use crate::site::Origin;
use crate::verdict;

pub(crate) use collector::{Collector, CollectorLife};
pub(crate) use generations::serves as proxy_serves;
use precedence::waiting;
pub(crate) use precedence::{Precedence, Waiting, all_waiting};
pub(crate) use push::{Push, Table};

/// What the administrator wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    /// Every app there is a file of.
    pub(crate) apps: BTreeMap<AppName, Wanted>,
    /// The proxy; none while winding down.
    pub(crate) proxy: Option<WantedProxy>,
    /// The collector of what is written; none while winding down.
    pub(crate) collector: Option<Box<JobSpec>>,
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
}

/// What is wanted of one app.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// Its instances.
    Running(Order),
    /// Its hosts, without instances.
    Stopped(App),
    /// That it stays as it is: its file is broken.
    AsItIs,
}

impl Wanted {
    /// The app, if its file is fine.
    pub(crate) fn app(&self) -> Option<&App> {
        match self {
            Self::Running(order) => Some(&order.app),
            Self::Stopped(app) => Some(app),
            Self::AsItIs => None,
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
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) place: Place,
    pub(crate) spec: JobSpec,
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
    pub(crate) spec: JobSpec,
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
    Known(Table),
}

/// A thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Start this instance.
    Start { id: InstanceId, place: Place, spec: Box<JobSpec> },
    /// Take it from the proxy, let it finish, stop it, clear it.
    Retire { id: InstanceId },
    /// Start this generation of the proxy.
    StartProxy { generation: Generation, spec: Box<JobSpec> },
    /// Let it finish, and clear it.
    StopProxy { generation: Generation },
    /// Start the collector.
    StartCollector { spec: Box<JobSpec> },
    /// Let it write what there is, and clear it.
    StopCollector,
    /// Change its table.
    Push { generation: Generation, push: Push },
}

/// What to do next. `is_free` tells of a port whether nobody listens on it.
pub(crate) fn plan(
    desired: &Desired,
    observed: &Observed,
    is_free: impl Fn(Port) -> bool,
) -> Vec<Action> {
    let mut actions = Vec::new();
    collector::plan(desired, observed, &mut actions);
    generations::plan(desired, observed, &mut actions);
    let mut retired = BTreeSet::new();
    // In reverse order, so that what was started last goes first.
    for (id, seen) in observed.instances.iter().rev() {
        if !desired.apps.contains_key(&id.app)
            && !matches!(seen.life, Life::Asked | Life::Leaving)
            && !precedence::is_needed(&id.app, &desired.precedence, observed)
        {
            retired.insert(id.clone());
            actions.push(Action::Retire { id: id.clone() });
        }
    }
    let mut places = Places::new(desired, observed, is_free);
    for (name, wanted) in &desired.apps {
        let crew = Crew::muster(name, wanted, observed);
        for id in crew.surplus() {
            retired.insert(id.clone());
            actions.push(Action::Retire { id });
        }
        if let Wanted::Running(order) = wanted
            && !observed.is_refused(order)
            && waiting(&order.app, desired, observed).is_none()
        {
            start(order, &crew, observed, &mut places, &mut actions);
        }
    }
    if desired.proxy.is_some() {
        for (&generation, seen) in &observed.proxies {
            // Also while it is leaving: what it has begun goes on, on targets that are there.
            if let Proxy::Known(table) = &seen.table {
                let pushes = proxy::pushes(desired, observed, table, &retired);
                actions.extend(pushes.map(|push| Action::Push { generation, push }));
            }
        }
    }
    actions
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
        let Some(place) = places.take(order.app.socket, &id) else { return };
        let spec = Box::new(order.job(number, &place));
        actions.push(Action::Start { id, place, spec });
    }
}

/// An app's instances that are not leaving, sorted by whether they are what is wanted.
struct Crew<'a> {
    wanted: usize,
    /// As the app file says now.
    current: Vec<Member<'a>>,
    /// As an earlier one said.
    outdated: Vec<Member<'a>>,
    /// Those that are in nobody's hands any more.
    stopped: Vec<Member<'a>>,
    /// Whether it is too early to judge who serves.
    in_doubt: bool,
    /// Whether the outdated ones are to go on instead of the current ones.
    held: bool,
}

struct Member<'a> {
    id: &'a InstanceId,
    life: Life,
    serves: bool,
    settled: bool,
}

impl Member<'_> {
    fn is_alive(&self) -> bool {
        self.life != Life::Ended
    }
}

impl<'a> Crew<'a> {
    fn muster(name: &AppName, wanted: &Wanted, observed: &'a Observed) -> Self {
        let (order, count) = match wanted {
            Wanted::Running(order) => (Some(order), order.app.instances as usize),
            Wanted::Stopped(_) => (None, 0),
            Wanted::AsItIs => {
                let (current, outdated, stopped) = (Vec::new(), Vec::new(), Vec::new());
                return Self {
                    wanted: 0,
                    current,
                    outdated,
                    stopped,
                    in_doubt: false,
                    held: false,
                };
            }
        };
        let of = |left: fn(Life) -> bool| {
            instances_of(name, observed).filter(move |(_, seen)| left(seen.life))
        };
        let here = || of(|life| !matches!(life, Life::Leaving | Life::Stopped));
        let is_current =
            |id: &InstanceId, seen: &Seen| order.is_some_and(|order| order.is_current(id, seen));
        let member = |(id, seen): (&'a InstanceId, &'a Seen)| Member {
            id,
            serves: serves(id, seen, observed),
            settled: !observed.unsettled.contains(id),
            life: seen.life,
        };
        Self {
            wanted: count,
            current: here().filter(|(id, seen)| is_current(id, seen)).map(member).collect(),
            outdated: here().filter(|(id, seen)| !is_current(id, seen)).map(member).collect(),
            stopped: of(|life| life == Life::Stopped).map(member).collect(),
            in_doubt: observed.is_any_proxy_unknown()
                || here().any(|(_, seen)| seen.life == Life::Running(Health::Unknown)),
            held: order.is_some_and(|order| verdict::is_held(order, observed)),
        }
    }

    /// How many may be started: up to as many as wanted, and while there are outdated ones, one
    /// more than wanted in all.
    fn room(&self) -> usize {
        if self.held {
            return 0;
        }
        let living = |members: &[Member<'_>]| members.iter().filter(|m| m.is_alive()).count();
        let missing = self.wanted.saturating_sub(self.current.len());
        let outdated = living(&self.outdated);
        let limit = if outdated == 0 { self.wanted } else { self.wanted + 1 };
        missing.min(limit.saturating_sub(self.current.len() + outdated))
    }

    /// Those of the current ones that serve, and the others.
    fn living_current(&self) -> (Vec<&Member<'a>>, Vec<&Member<'a>>) {
        self.current.iter().filter(|m| m.is_alive()).partition(|m| m.serves)
    }

    /// Those that are to go, the highest numbers first.
    fn surplus(&self) -> Vec<InstanceId> {
        let mut gone: Vec<&Member<'_>> = self.outdated.iter().filter(|m| !m.is_alive()).collect();
        if self.wanted == 0 {
            gone = self.current.iter().chain(&self.outdated).collect();
        } else if self.held {
            gone.extend(self.current.iter().filter(|m| !m.is_alive()));
            if !self.in_doubt {
                let serving = self.outdated.iter().filter(|m| m.serves).count();
                // One that serves all the same stays while it is needed.
                let needed = self.wanted.saturating_sub(serving);
                let (serve, rest) = self.living_current();
                gone.extend(rest);
                gone.extend(beyond(needed, serve));
                gone.extend(beyond(self.wanted, self.outdated.iter().filter(|m| m.is_alive())));
            }
        } else if !self.in_doubt {
            let serving = self.current.iter().filter(|m| m.serves && m.settled).count();
            let needed = self.wanted.saturating_sub(serving);
            gone.extend(beyond(needed, self.outdated.iter().filter(|m| m.is_alive())));
            // A current one that does not serve yet must not push out one that does.
            gone.extend(beyond(self.wanted, &self.current));
        }
        gone.extend(&self.stopped);
        gone.retain(|member| member.life != Life::Asked);
        gone.sort_by_key(|member| std::cmp::Reverse(member.id));
        gone.into_iter().map(|member| member.id.clone()).collect()
    }
}

/// All but the `keep` best: those that serve come first, then the lower numbers.
fn beyond<'a, 'b: 'a>(
    keep: usize,
    members: impl IntoIterator<Item = &'a Member<'b>>,
) -> Vec<&'a Member<'b>> {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by_key(|member| (!member.serves, member.id));
    members.split_off(keep.min(members.len()))
}

/// The instances of one app, in the order of their numbers.
pub(crate) fn instances_of<'a>(
    name: &AppName,
    observed: &'a Observed,
) -> impl Iterator<Item = (&'a InstanceId, &'a Seen)> {
    let from = InstanceId::new(name.clone(), 0);
    observed.instances.range(from..=InstanceId::new(name.clone(), u32::MAX))
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
    seen.life == Life::Running(Health::Ready) && observed.proxies.values().all(has_it)
}

/// An instance in the proxy's words.
pub(crate) fn key(id: &InstanceId) -> (String, String) {
    (id.app.to_string(), id.to_string())
}

/// The supply of places: ports that are neither given away nor listened on, and sockets by name.
struct Places<'a, F> {
    from: Port,
    used: BTreeSet<Port>,
    is_free: F,
    sockets: &'a Path,
}

impl<'a, F: Fn(Port) -> bool> Places<'a, F> {
    fn new(desired: &'a Desired, observed: &Observed, is_free: F) -> Self {
        let used = observed.instances.values().filter_map(|seen| seen.place.port()).collect();
        Self {
            from: desired.first_port.unwrap_or(Port::HIGHEST),
            used,
            is_free,
            sockets: &desired.sockets,
        }
    }

    fn take(&mut self, kind: PlaceKind, id: &InstanceId) -> Option<Place> {
        match kind {
            PlaceKind::Port => self.take_port().map(Place::Port),
            PlaceKind::Unix => Some(Place::socket(self.sockets, id)),
            PlaceKind::Fd => self.take_port().map(Place::Fd),
        }
    }

    fn take_port(&mut self) -> Option<Port> {
        let mut above = self.from.and_above();
        let port = above.find(|port| !self.used.contains(port) && (self.is_free)(*port))?;
        self.used.insert(port);
        Some(port)
    }
}
