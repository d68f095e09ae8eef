//! What is being done for a client that waits, told step by step: what is started, what it waits for,
//! and what has to finish. A step is told when it is new, and never twice.
//!
//! It is only told. Whether the goal is reached, others judge; a client that reads too slowly misses steps
//! and not the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use init_wire::Status;
use tokio::sync::mpsc::Sender;

use crate::admin::steps::{StepKind, StepView};
use crate::client::Init;
use crate::condition;
use crate::echo::echo;
use crate::generation::Generation;
use crate::health::Health;
use crate::name::{AppName, InstanceId};
use crate::plan::{Life, Observed, ProxyLife, Seen, SeenProxy, instances_of, proxy_serves, serves};
use crate::requests::Goal;
use crate::roster::Roster;

/// What is being done with one job, or why an app has none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Starting,
    /// It runs, or is to run again, and what keeps it from being ready.
    Waiting(Option<String>),
    /// It serves.
    Ready,
    /// It finishes; so many requests and streams, if that is known.
    Retiring(Option<u64>),
    /// Its start waits for another app.
    Behind(String),
    /// A command of the app's runs, or what it needs is made.
    Working(String),
}

/// All that is being done, by job.
pub(crate) type Doings = BTreeMap<String, Doing>;

/// The way to a client that wants to know.
#[derive(Debug)]
pub(crate) struct Listener {
    begun: Instant,
    told: Doings,
    /// Jobs whose words it is told.
    heard: BTreeSet<String>,
    way: Sender<StepView>,
}

impl Listener {
    /// One that is told what is not ready `now`.
    pub(crate) fn new(way: Sender<StepView>, mut now: Doings) -> Self {
        now.retain(|_, doing| *doing == Doing::Ready);
        Self { begun: Instant::now(), told: now, heard: BTreeSet::new(), way }
    }

    /// Has it told what a job writes, from its first word on.
    pub(crate) fn hear(&mut self, job: &str, init: &Init) {
        if self.heard.insert(job.to_owned()) {
            tokio::spawn(echo(init.clone(), job.to_owned(), self.begun, self.way.clone()));
        }
    }

    /// Tells what is new.
    pub(crate) fn tell(&mut self, now: Doings) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        for (kind, job, text, in_flight) in news(&self.told, &now) {
            // A client that has gone, or is too slow, is not waited for.
            drop(self.way.try_send(StepView { step: kind, job, text, in_flight, ms }));
        }
        self.told = now;
    }
}

type News = (StepKind, String, String, Option<u64>);

fn news(before: &Doings, now: &Doings) -> Vec<News> {
    let gone =
        before.iter().filter(|(job, _)| !now.contains_key(*job)).filter_map(|(job, doing)| {
            let text = match doing {
                Doing::Behind(_) | Doing::Working(_) => return None,
                Doing::Starting | Doing::Waiting(_) | Doing::Ready | Doing::Retiring(_) => {
                    format!("{job} has ended")
                }
            };
            Some((StepKind::Gone, job.clone(), text, None))
        });
    let changed = now.iter().filter(|(job, doing)| before.get(*job) != Some(doing));
    let changed = changed.map(|(job, doing)| {
        let (kind, text, in_flight) = match doing {
            Doing::Starting => (StepKind::Starting, format!("starting {job}"), None),
            Doing::Waiting(None) => {
                (StepKind::Waiting, format!("waiting for {job} to be ready"), None)
            }
            Doing::Waiting(Some(why)) => {
                (StepKind::Waiting, format!("waiting for {job} to be ready: {why}"), None)
            }
            Doing::Ready => (StepKind::Ready, format!("{job} is ready"), None),
            Doing::Retiring(None | Some(0)) => {
                (StepKind::Retiring, format!("retiring {job}"), None)
            }
            Doing::Retiring(Some(1)) => {
                (StepKind::Retiring, format!("retiring {job}: 1 request in flight"), Some(1))
            }
            Doing::Retiring(Some(n)) => {
                (StepKind::Retiring, format!("retiring {job}: {n} requests in flight"), Some(*n))
            }
            Doing::Behind(on) => (StepKind::Waiting, format!("{job} waits for {on}"), None),
            Doing::Working(what) => (StepKind::Waiting, what.clone(), None),
        };
        (kind, job.clone(), text, in_flight)
    });
    let mut all: Vec<News> = changed.chain(gone).collect();
    // What serves comes first: what makes room for it is because of it.
    all.sort_by_key(|(kind, ..)| *kind != StepKind::Ready);
    all
}

/// What is being done towards a goal.
pub(crate) fn doings(goal: &Goal, roster: &Roster, observed: &Observed) -> Doings {
    match goal {
        Goal::Running(name)
        | Goal::Restarted(name)
        | Goal::Scaled(name, _)
        | Goal::Deployed(name, _)
        | Goal::TakenBack(name, _)
        | Goal::Arrived(name, _)
        | Goal::Worked(name)
        | Goal::Stopped(name) => app_doings(name, roster, observed),
        Goal::Proxy => proxy_doings(observed),
        Goal::Everything | Goal::Level(_) => {
            let mut all = proxy_doings(observed);
            let behind = roster.waiting.keys().cloned();
            let names = observed.instances.keys().map(|id| id.app.clone()).chain(behind);
            let names: std::collections::BTreeSet<AppName> = names.collect();
            for name in names {
                all.extend(app_doings(&name, roster, observed));
            }
            all
        }
    }
}

fn app_doings(name: &AppName, roster: &Roster, observed: &Observed) -> Doings {
    let behind = roster.waiting.get(name);
    let behind = behind.map(|on| (name.to_string(), Doing::Behind(on.on.to_string())));
    let instances = instances_of(name, observed);
    let instances =
        instances.map(|(id, seen)| (id.to_string(), instance_doing(id, seen, roster, observed)));
    instances.chain(behind).collect()
}

fn instance_doing(id: &InstanceId, seen: &Seen, roster: &Roster, observed: &Observed) -> Doing {
    match seen.life {
        Life::Asked => Doing::Starting,
        Life::Leaving => Doing::Retiring(roster.in_flight.get(id).copied()),
        Life::Running(Health::Ready) if serves(id, seen, observed) => Doing::Ready,
        Life::Running(Health::Ready) => Doing::Waiting(Some("the proxy is being told".into())),
        Life::Running(Health::Unknown | Health::Unready | Health::Failing) => {
            Doing::Waiting(condition::trouble(id, roster.job(id), roster))
        }
        Life::Coming | Life::Ended | Life::Stopped => match roster.job(id) {
            Some(job) if job.status == Status::Starting => Doing::Starting,
            Some(job) => Doing::Waiting(Some(job.why.clone())),
            None => Doing::Starting,
        },
    }
}

fn proxy_doings(observed: &Observed) -> Doings {
    let doing = |(generation, seen): (&Generation, &SeenProxy)| {
        let doing = match seen.life {
            ProxyLife::Asked | ProxyLife::Coming => Doing::Starting,
            ProxyLife::Running if proxy_serves(seen) => Doing::Ready,
            ProxyLife::Running | ProxyLife::Ended => Doing::Waiting(None),
            ProxyLife::Leaving => Doing::Retiring(None),
        };
        (generation.to_string(), doing)
    };
    observed.proxies.iter().map(doing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doings(all: &[(&str, Doing)]) -> Doings {
        all.iter().map(|(job, doing)| ((*job).to_owned(), doing.clone())).collect()
    }

    #[tokio::test]
    async fn o03_each_step_is_told_once_and_in_words() {
        let (way, mut steps) = tokio::sync::mpsc::channel(100);
        let before = doings(&[("a.1", Doing::Ready), ("a.2", Doing::Starting)]);
        let mut listener = Listener::new(way, before);
        let refused = || Doing::Waiting(Some("connection refused".into()));
        for now in [
            doings(&[("a.1", Doing::Ready), ("a.2", Doing::Starting)]),
            doings(&[("a.1", Doing::Ready), ("a.2", refused())]),
            doings(&[("a.1", Doing::Ready), ("a.2", refused())]),
            doings(&[("a.1", Doing::Ready), ("a.2", Doing::Ready)]),
            doings(&[("a.1", Doing::Retiring(None)), ("a.2", Doing::Ready)]),
            doings(&[("a.1", Doing::Retiring(Some(3))), ("a.2", Doing::Ready)]),
            doings(&[("a.1", Doing::Retiring(Some(1))), ("a.2", Doing::Ready)]),
            doings(&[("a.2", Doing::Ready)]),
        ] {
            listener.tell(now);
        }
        drop(listener);
        let mut told = Vec::new();
        while let Some(step) = steps.recv().await {
            told.push(step.text);
        }
        assert_eq!(
            told,
            [
                "starting a.2",
                "waiting for a.2 to be ready: connection refused",
                "a.2 is ready",
                "retiring a.1",
                "retiring a.1: 3 requests in flight",
                "retiring a.1: 1 request in flight",
                "a.1 has ended",
            ]
        );
    }
}
