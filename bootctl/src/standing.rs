//! How near an app is to what is wanted of it, and how that is shown.

use std::path::Path;

use init_wire::LastExit;

use crate::admin::wire::{AppState, AppView, InstanceState, InstanceView};
use crate::app::App;
use crate::condition;
use crate::job::JobInfo;
use crate::name::{AppName, InstanceId, Port};
use crate::order::Order;
use crate::plan::{Life, Observed, Proxy, Seen, SeenProxy, Waiting, Wanted, instances_of, serves};
use crate::record::Held;
use crate::roster::Roster;
use crate::site::place_of;

/// How near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There.
    Reached,
    /// On the way, and what is being waited for.
    Working(String),
    /// It will not get there by itself, and why.
    Failed(String),
}

/// How near an app is. `None` is an app that is not wanted at all; `trouble` is what keeps it from
/// getting there.
pub(crate) fn standing(
    name: &AppName,
    wanted: Option<&Wanted>,
    roster: &Roster,
    observed: &Observed,
    trouble: Option<String>,
) -> Standing {
    match (of_instances(name, wanted, roster, observed, trouble), wanted) {
        (Standing::Reached, Some(wanted)) => shown(name, wanted, observed),
        (standing, _) => standing,
    }
}

fn of_instances(
    name: &AppName,
    wanted: Option<&Wanted>,
    roster: &Roster,
    observed: &Observed,
    trouble: Option<String>,
) -> Standing {
    let order = match wanted {
        Some(Wanted::Running(order)) if order.app.instances > 0 => order,
        Some(Wanted::Running(order)) if order.app.is_files() => {
            return trouble.map_or(Standing::Reached, Standing::Failed);
        }
        Some(Wanted::AsItIs) => return Standing::Reached,
        Some(Wanted::Running(_) | Wanted::Stopped(_)) | None => {
            let mut left = instances_of(name, observed).map(|(id, _)| id.to_string()).peekable();
            if left.peek().is_none() {
                return Standing::Reached;
            }
            let left = left.collect::<Vec<_>>().join(", ");
            return Standing::Working(format!("{left} still to finish"));
        }
    };
    if let Some(trouble) = trouble {
        return Standing::Failed(trouble);
    }
    if !roster.is_current {
        return Standing::Working("init does not answer".into());
    }
    if let Some(waiting) = roster.waiting.get(name) {
        return waits(name, waiting);
    }
    running(order, roster, observed)
}

/// An app with files is there once every proxy knows where they are, or that they are not shown.
fn shown(name: &AppName, wanted: &Wanted, observed: &Observed) -> Standing {
    let Some(app) = wanted.app().filter(|app| !app.site.folders.is_empty()) else {
        return Standing::Reached;
    };
    let knows = |seen: &SeenProxy| match &seen.table {
        Proxy::Down => true,
        Proxy::Unknown => false,
        Proxy::Known(table) => app.site.folders.keys().all(|prefix| {
            let route = table.routes.get(&place_of(name.as_str(), prefix));
            let there = route.and_then(|route| route.files.as_ref());
            let folder = app.site.folder_at(prefix, wanted.shown());
            there.map(|files| Path::new(&files.folder)) == folder.as_deref()
        }),
    };
    if observed.proxies.values().all(knows) {
        Standing::Reached
    } else {
        Standing::Working(format!("the proxy is being told of the files of {name}"))
    }
}

/// Its first instances are not started yet.
fn waits(name: &AppName, waiting: &Waiting) -> Standing {
    let on = &waiting.on;
    match waiting.hopeless {
        None => Standing::Working(format!("{name} is waiting for {on}")),
        Some(why) => Standing::Failed(format!(
            "{name} is waiting for {on}, which {why}: `bootctl status {on}` shows more; as soon as \
             {on} is ready, {name} is started"
        )),
    }
}

fn running(order: &Order, roster: &Roster, observed: &Observed) -> Standing {
    let mut serving = 0;
    let mut waiting = Vec::new();
    for (id, seen) in instances_of(&order.app.name, observed) {
        let current = order.is_current(id, seen) && seen.life != Life::Leaving;
        if current && serves(id, seen, observed) {
            serving += 1;
            continue;
        }
        let job = roster.job(id);
        let state = job.map_or(InstanceState::Starting, |job| condition::state(seen.life, job));
        let why =
            condition::trouble(id, job, roster).map(|why| format!(": {why}")).unwrap_or_default();
        waiting.push(format!("{id} is {}{why}", state.word()));
    }
    let wanted = order.app.instances as usize;
    if serving == wanted && waiting.is_empty() {
        return Standing::Reached;
    }
    waiting.insert(0, format!("{serving} of {wanted} instances of {} serve", order.app.name));
    Standing::Working(waiting.join(", "))
}

/// How a job's last run ended.
pub(crate) fn last_exit(job: &JobInfo) -> String {
    match &job.last_exit {
        Some(LastExit::Code(code)) => code.to_string(),
        Some(LastExit::Signal(signal)) => signal.clone(),
        None => "none".into(),
    }
}

/// An app as it is shown.
pub(crate) fn app_view(
    name: &AppName,
    wanted: Option<&Wanted>,
    roster: &Roster,
    observed: &Observed,
    standing: Standing,
    held: Option<Held>,
) -> AppView {
    let waits = roster.waiting.contains_key(name);
    let (state, why) = match (standing, wanted) {
        (Standing::Failed(why), _) if held.is_some() => (AppState::Held, Some(why)),
        (Standing::Failed(why) | Standing::Working(why), Some(Wanted::Running(_))) if waits => {
            (AppState::Waiting, Some(why))
        }
        (Standing::Failed(why), _) => (AppState::Failed, Some(why)),
        (Standing::Working(why), _) => (AppState::Changing, Some(why)),
        (Standing::Reached, Some(Wanted::Stopped(_))) => (AppState::Stopped, None),
        (Standing::Reached, Some(Wanted::Running(order)))
            if order.app.instances == 0 && !order.app.is_files() =>
        {
            (AppState::Parked, None)
        }
        (Standing::Reached, Some(Wanted::Running(_))) => (AppState::Running, None),
        (Standing::Reached, Some(Wanted::AsItIs) | None) => (AppState::Held, None),
    };
    let (count, hosts) = match wanted {
        Some(Wanted::Running(order)) => (order.app.instances, hosts(&order.app)),
        Some(Wanted::Stopped(app)) => (0, hosts(app)),
        Some(Wanted::AsItIs) | None => (0, vec![name.to_string()]),
    };
    let seen = instances_of(name, observed);
    let instances = seen.map(|(id, seen)| instance_view(id, seen, roster)).collect();
    let log = held.map(|held| held.log).unwrap_or_default();
    AppView {
        app: name.to_string(),
        state,
        wanted: count,
        hosts,
        why,
        log,
        release: None,
        staged: None,
        working: None,
        notice: None,
        requests: None,
        maintenance: false,
        instances,
    }
}

fn hosts(app: &App) -> Vec<String> {
    app.hosts().map(ToString::to_string).collect()
}

fn instance_view(id: &InstanceId, seen: &Seen, roster: &Roster) -> InstanceView {
    let job = roster.job(id);
    InstanceView {
        instance: id.number,
        job: id.to_string(),
        state: job.map_or(InstanceState::Starting, |job| condition::state(seen.life, job)),
        pid: job.and_then(|job| job.pid),
        port: seen.place.port().map(Port::number),
        socket: seen.place.path().map(|path| path.to_string_lossy().into_owned()),
        uptime_ms: job
            .and_then(condition::uptime)
            .and_then(|age| u64::try_from(age.as_millis()).ok()),
        cpu_ms: None,
        memory_bytes: None,
        restarts: condition::restarts(id, job, roster),
        why: condition::why(id, seen, job, roster),
    }
}
