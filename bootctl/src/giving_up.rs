//! An order that has failed is given up: first it is heard what its instance has written last, then it is
//! noted, and from then on the planner lets the earlier instances go on and clears the failed ones.
//!
//! It is asked for again by whoever starts, restarts, scales or reloads, and by a file that says
//! something else.

use std::sync::Arc;

use tracing::warn;

use crate::app::App;
use crate::condition;
use crate::event::Event;
use crate::health::{Fault, Probe};
use crate::job::JobInfo;
use crate::name::{AppName, InstanceId};
use crate::order::{Digest, Order, Revision};
use crate::place::Place;
use crate::plan::{Life, Observed, Seen, Wanted, instances_of};
use crate::proving::taken_back;
use crate::record::Held;
use crate::release::Base;
use crate::roster::Roster;
use crate::standing::last_exit;
use crate::supervise::Supervisor;
use crate::touched::Touched;
use crate::verdict::{Cause, Failure, earlier, give_up};

/// What is known when the last words of a failed instance have been heard.
#[derive(Debug)]
pub(crate) struct LastWords {
    pub(crate) app: AppName,
    /// The order that has failed.
    pub(crate) spec: Digest,
    pub(crate) why: String,
    pub(crate) log: Vec<String>,
}

impl Supervisor {
    /// Judges what is there of the apps that were touched, and begins to give up what has failed.
    pub(crate) fn weigh(&mut self, observed: &Observed, touched: &Touched) {
        let desired = self.desired();
        self.trials.judge(std::time::Instant::now(), &desired, observed, touched);
        for (name, failure) in self.trials.failures() {
            let Some(Wanted::Running(order)) = self.wanted.get(name) else { continue };
            if self.giving_up.contains(name) || give_up(order, observed).is_none() {
                continue;
            }
            let words = LastWords {
                app: name.clone(),
                spec: order.digest(),
                why: self.told(name, failure),
                log: Vec::new(),
            };
            self.giving_up.insert(name.clone());
            self.hands.hear(failure.instance.as_ref(), move |log| {
                Event::LastWords(LastWords { log, ..words })
            });
        }
    }

    /// Notes that an order is given up, unless something else has come up meanwhile.
    pub(crate) fn hold(&mut self, words: LastWords) {
        let LastWords { app: name, spec, why, log } = words;
        self.giving_up.remove(&name);
        let Some(Wanted::Running(order)) = self.wanted.get(&name) else { return };
        let observed = self.roster.observed();
        let Some(revision) = give_up(order, &observed).filter(|_| order.digest() == spec) else {
            return;
        };
        let back = self.falls_back(order, &observed);
        let why = match back {
            Some((failed, back)) => taken_back(&name, failed, back, &why),
            None => format!("{why}; {}", meanwhile(order, revision, &observed)),
        };
        warn!("{name} is left as it was: {why}");
        let (failed, app) = (order.revision, order.app.clone());
        self.store.keep(&name, |record| {
            record.revision = revision;
            if back.is_some() {
                record.releases.fall_back(&why);
            }
            record.held = Some(Held { spec, revision: failed, why, log });
        });
        self.wanted.insert(name.clone(), self.as_recorded(&name, app));
        self.trials.begin_anew(&name);
        self.point(&name);
    }

    /// Lets go of a note about what the app's file does not say any more.
    pub(crate) fn drop_old_note(&mut self, app: &Arc<App>) {
        let record = self.store.record(&app.name);
        let Some(held) = record.held else { return };
        // A release that has failed is not the current one any more.
        let kept = record.releases.kept.keys().map(|number| Base::Release(*number));
        if !kept.chain([Base::File]).any(|base| self.is_of(&held, app, base)) {
            self.store.keep(&app.name, |record| record.held = None);
        }
    }

    /// Whether a note is about an app as it is to run from this.
    pub(crate) fn is_about(&self, held: &Held, name: &AppName, base: Base) -> bool {
        let app = self.wanted.get(name).and_then(Wanted::app);
        app.is_some_and(|app| self.is_of(held, app, base))
    }

    fn is_of(&self, held: &Held, app: &Arc<App>, base: Base) -> bool {
        let release = self.housing(&app.name, base);
        let (app, revision) = (Arc::clone(app), held.revision);
        Order { app, revision, release, held: true }.digest() == held.spec
    }

    /// What stands in the way of an app, if something does: the note of what was given up, else a failure
    /// that there is nothing else to go on with for.
    pub(crate) fn trouble(&self, name: &AppName) -> Option<String> {
        if let Some(held) = self.store.record(name).held {
            return Some(held.why);
        }
        let failure = self.trials.failure(name).filter(|_| !self.giving_up.contains(name))?;
        let why = self.told(name, failure);
        let tried = match failure.cause {
            Cause::Refused | Cause::Ended => "",
            Cause::Dies | Cause::Slow(_) => "; it is tried further",
        };
        Some(format!("{why}; there is nothing earlier to go on with{tried}"))
    }

    /// Lets go of notes about what has ceased to be: there is nothing left of what was to go on.
    pub(crate) fn forget_held(&mut self) {
        let observed = self.roster.observed();
        let lives = |(_, seen): (_, &Seen)| match seen.life {
            Life::Asked | Life::Coming | Life::Running(_) => true,
            Life::Leaving | Life::Stopped | Life::Ended => false,
        };
        let gone = |order: &Order| {
            let none_earlier = earlier(order, &observed).next().is_none();
            let none_at_all = || !instances_of(&order.app.name, &observed).any(lives);
            none_earlier && (order.held || none_at_all())
        };
        let noted: Vec<Order> = self
            .store
            .apps()
            .filter(|(_, record)| record.held.is_some())
            .filter_map(|(name, _)| match self.wanted.get(name)? {
                Wanted::Running(order) if gone(order) => Some(order.clone()),
                Wanted::Running(_) | Wanted::Stopped(_) | Wanted::AsItIs => None,
            })
            .collect();
        for Order { app, .. } in noted {
            let name = app.name.clone();
            self.store.keep(&name, |record| record.held = None);
            self.wanted.insert(name.clone(), self.as_recorded(&name, app));
        }
    }

    fn told(&self, name: &AppName, failure: &Failure) -> String {
        let refused = self.roster.refusal(name);
        match (&failure.instance, failure.cause, refused) {
            (Some(id), cause, _) => sentence(id, cause, &self.roster),
            (None, _, Some(message)) => message.to_owned(),
            (None, _, None) => format!("init does not start {name}"),
        }
    }
}

/// What has become of an instance.
fn sentence(id: &InstanceId, cause: Cause, roster: &Roster) -> String {
    let Some(job) = roster.job(id) else { return format!("{id} was not started in time") };
    match cause {
        Cause::Slow(patience) => format!(
            "{id} was not ready after {}: {}; its `[deploy] timeout` says how long that may take",
            seconds(patience),
            unready(id, job, roster)
        ),
        Cause::Dies => {
            // Why it is as it is now changes from one moment to the next.
            let why = match job.last_exit {
                Some(_) => format!("its last exit was {}", last_exit(job)),
                None => job.why.clone(),
            };
            format!("{id} does not stay up after {} restarts: {why}", job.respawn)
        }
        Cause::Refused | Cause::Ended => format!(
            "{id} is {}: {}; its last exit was {}",
            condition::state(Life::Ended, job).word(),
            job.why,
            last_exit(job)
        ),
    }
}

/// What its check has said last, and where that was asked; else what init says.
fn unready(id: &InstanceId, job: &JobInfo, roster: &Roster) -> String {
    let fault = job.pid.and_then(|pid| roster.fault(id, pid));
    let place = Place::of(&job.spec).unwrap_or(Place::Nowhere);
    match (fault, Probe::of(&job.spec)) {
        (Some(fault @ Fault::NoSocket(_)), _) => format!("its last check: {fault}"),
        (Some(fault), Probe::Tcp | Probe::Http(_)) => {
            format!("its last check, {}: {fault}", place.words())
        }
        (Some(fault), Probe::Exec(_) | Probe::Notify | Probe::Alive) => {
            format!("its last check: {fault}")
        }
        (None, Probe::Notify) if job.pid.is_some() => "it has not sent READY=1".into(),
        (None, _) => job.why.clone(),
    }
}

fn seconds(time: std::time::Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

fn meanwhile(order: &Order, revision: Revision, observed: &Observed) -> String {
    let left: Vec<_> = earlier(order, observed).map(|(id, _)| id.to_string()).collect();
    let name = &order.app.name;
    let (what, command) = if revision == order.revision {
        ("of the config before", "bootctl reload".to_owned())
    } else {
        ("before the restart", format!("bootctl restart {name}"))
    };
    format!("{name} goes on as {what} ({}); put it right and run `{command}`", left.join(", "))
}
