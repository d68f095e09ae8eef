//! A release that was switched to has to prove itself: first it is rolled, then it is watched for a while. If it
//! fails in either, the app goes back to what it ran from before.
//!
//! What has to be known after a `kill -9` is in the record: that it is on probation, and since when it has served.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::condition;
use crate::deploys::{DeployNews, Deploys, now};
use crate::event::Event;
use crate::giving_up::LastWords;
use crate::health::Health;
use crate::name::{AppName, InstanceId};
use crate::order::Order;
use crate::plan::{Life, Observed, Wanted, instances_in, instances_of};
use crate::record::Held;
use crate::release::{Base, Number, Sight, Verdict, release_of, watch};
use crate::standing::Standing;
use crate::supervise::Supervisor;
use crate::touched::Touched;
use crate::verdict::earlier;

use std::collections::BTreeSet;

impl Supervisor {
    /// Looks at every release that has not proved itself yet.
    pub(crate) fn tend_releases(&mut self, touched: &Touched) {
        self.deploys.look_at = None;
        let observed = self.roster.observed();
        self.see_ready(&observed, touched);
        let on_probation: Vec<AppName> = self
            .store
            .apps()
            .filter(|(_, record)| record.releases.probation.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in on_probation {
            if !self.giving_up.contains(&name) {
                self.tend_release(&name, &observed);
            }
        }
    }

    fn tend_release(&mut self, name: &AppName, observed: &Observed) {
        let Some(Wanted::Running(order)) = self.wanted.get(name) else { return };
        let Some(probation) = self.store.record(name).releases.probation else { return };
        if order.app.is_files() {
            return self.tend_files(name, observed);
        }
        if order.app.instances == 0 {
            return;
        }
        let Some(reached) = probation.reached else {
            return self.tend_roll(name, observed);
        };
        let window = order.app.deploy.watch;
        let age = now().saturating_sub(Duration::from_millis(reached));
        let crew: Vec<Sight> = self.crew(order, observed);
        match watch(window, age, &crew) {
            Verdict::Wait(time) => self.look_again(Instant::now().checked_add(time)),
            Verdict::Passed => {
                info!("{} of {name} has proved itself", self.store.record(name).releases.current);
                self.store.keep(name, |record| record.releases.pass());
                self.prune(name);
            }
            Verdict::Failed(id, trouble) => {
                let why = format!("{id} {trouble} within {} s of the roll", window.as_secs());
                self.begin_taking_back(name, Some(&id), why);
            }
        }
    }

    /// Files prove themselves by being shown: nothing of them can die.
    fn tend_files(&mut self, name: &AppName, observed: &Observed) {
        if self.standing(name, observed) == Standing::Reached {
            let reached = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
            self.store.keep(name, |record| {
                record.releases.reach(reached);
                record.releases.pass();
            });
            self.point(name);
            self.prune(name);
        }
    }

    /// While it is being rolled, what fails beside earlier instances is given up elsewhere; here it is seen
    /// that it has come to its end, or that there is nothing beside it.
    fn tend_roll(&mut self, name: &AppName, observed: &Observed) {
        if self.standing(name, observed) == Standing::Reached {
            let reached = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
            self.store.keep(name, |record| record.releases.reach(reached));
            self.point(name);
            self.prune(name);
            // Without a window, it has proved itself at once.
            self.look_again(Some(Instant::now()));
            return;
        }
        let Some(failure) = self.trials.failure(name) else { return };
        let (instance, why) = (failure.instance.clone(), self.trouble(name).unwrap_or_default());
        self.begin_taking_back(name, instance.as_ref(), why);
    }

    /// How its instances are.
    fn crew(&self, order: &Order, observed: &Observed) -> Vec<Sight> {
        let current = instances_of(&order.app.name, observed)
            .filter(|(id, seen)| seen.life != Life::Leaving && order.is_current(id, seen));
        let now = Instant::now();
        let sight = |(id, life): (&InstanceId, Life)| Sight {
            id: id.clone(),
            restarts: condition::restarts(id, self.roster.job(id), &self.roster),
            ended: life == Life::Ended,
            unready: self
                .deploys
                .unready
                .get(id)
                .map(|since| now.saturating_duration_since(*since)),
        };
        current.map(|(id, seen)| sight((id, seen.life))).collect()
    }

    /// It is heard first what the instance has written last.
    fn begin_taking_back(&mut self, name: &AppName, instance: Option<&InstanceId>, why: String) {
        let Some(Wanted::Running(order)) = self.wanted.get(name) else { return };
        let words = LastWords { app: name.clone(), spec: order.digest(), why, log: Vec::new() };
        self.giving_up.insert(name.clone());
        self.hands.hear(instance, move |log| {
            Event::Deploy(DeployNews::Failed(LastWords { log, ..words }))
        });
    }

    /// Goes back, unless something else has come up meanwhile.
    pub(crate) fn take_back(&mut self, words: LastWords) {
        let LastWords { app: name, spec, why, log } = words;
        self.giving_up.remove(&name);
        let Some(Wanted::Running(order)) = self.wanted.get(&name) else { return };
        let releases = self.store.record(&name).releases;
        if order.digest() != spec || releases.probation.is_none() {
            return;
        }
        let (failed, app) = (order.revision, order.app.clone());
        let Some(back) = releases.clone().fall_back(&why) else {
            warn!("{} of {name} has failed: {why}", releases.current);
            self.store.keep(&name, |record| _ = record.releases.fall_back(&why));
            return;
        };
        let why = taken_back(&name, releases.current, back, &why);
        warn!("{why}");
        self.store.keep(&name, |record| {
            record.releases.fall_back(&why);
            record.held = Some(Held { spec, revision: failed, why, log });
        });
        let wanted = self.as_recorded(&name, app);
        self.wanted.insert(name.clone(), wanted);
        self.trials.begin_anew(&name);
        self.clear_ended(&name);
        self.point(&name);
    }

    /// What an app goes back to whose order has failed while earlier instances go on, if that is for its release.
    /// Where those run from the same one, it is the config that has failed.
    pub(crate) fn falls_back(&self, order: &Order, observed: &Observed) -> Option<(Base, Base)> {
        let mut releases = self.store.record(&order.app.name).releases;
        let rolling = releases.probation.as_ref().is_some_and(|p| p.reached.is_none());
        let current = releases.current;
        let same = |number: Option<Number>| number == current.release();
        let for_release = earlier(order, observed).all(|(_, seen)| !same(release_of(&seen.spec)));
        if !rolling || !for_release {
            return None;
        }
        Some((current, releases.fall_back("")?))
    }

    /// Has `current` lead to what the app runs from.
    pub(crate) fn point(&self, name: &AppName) {
        let base = self.store.record(name).releases.current;
        if let Err(error) = self.shelf.point(name, base) {
            warn!("{error}; nothing depends on it");
        }
    }

    /// Notes since when instances have been ready, and have not been.
    fn see_ready(&mut self, observed: &Observed, touched: &Touched) {
        let now = Instant::now();
        let is_ready = |id: &InstanceId| {
            observed.instances.get(id).is_some_and(|seen| seen.life == Life::Running(Health::Ready))
        };
        let is_there = |id: &InstanceId| observed.instances.contains_key(id);
        let Deploys { ready, unready, .. } = &mut self.deploys;
        match touched {
            Touched::All => {
                ready.retain(|id, _| is_ready(id));
                unready.retain(|id, _| is_there(id) && !is_ready(id));
            }
            Touched::Only(apps) => {
                for its in apps.iter().map(InstanceId::all_of) {
                    ready.extract_if(its.clone(), |id, _| !is_ready(id)).for_each(drop);
                    unready.extract_if(its, |id, _| !is_there(id) || is_ready(id)).for_each(drop);
                }
            }
        }
        for (id, seen) in instances_in(touched, observed) {
            match seen.life {
                Life::Running(Health::Ready) => {
                    self.deploys.ready.entry(id.clone()).or_insert(now);
                }
                // Nothing is known yet, which is nobody's fault.
                Life::Running(Health::Unknown) => {}
                Life::Asked
                | Life::Coming
                | Life::Running(Health::Unready | Health::Failing)
                | Life::Leaving
                | Life::Stopped
                | Life::Ended => {
                    self.deploys.unready.entry(id.clone()).or_insert(now);
                }
            }
        }
    }

    /// Instances for which no other one may go yet.
    pub(crate) fn unsettled(&mut self, observed: &Observed) -> BTreeSet<InstanceId> {
        let now = Instant::now();
        let mut unsettled = BTreeSet::new();
        let mut next: Option<Instant> = None;
        let settling = self.wanted.values().filter_map(|wanted| match wanted {
            Wanted::Running(Order { app, .. }) if !app.deploy.settle.is_zero() => Some(app),
            Wanted::Running(_) | Wanted::Stopped(_) | Wanted::AsItIs => None,
        });
        let its = settling.flat_map(|app| {
            instances_of(&app.name, observed).map(move |(id, _)| (id, app.deploy.settle))
        });
        for (id, settle) in its {
            let due = self.deploys.ready.get(id).and_then(|since| since.checked_add(settle));
            if due.is_none_or(|due| due > now) {
                unsettled.insert(id.clone());
                next = next.into_iter().chain(due).min();
            }
        }
        self.look_again(next);
        unsettled
    }

    /// Has everything looked at then, if not before.
    pub(crate) fn look_again(&mut self, at: Option<Instant>) {
        self.deploys.look_at = self.deploys.look_at.into_iter().chain(at).min();
    }
}

pub(crate) fn taken_back(name: &AppName, failed: Base, back: Base, why: &str) -> String {
    match failed {
        Base::Release(_) => {
            format!("{failed} of {name} was taken back: {why}; {name} goes on from {back}")
        }
        Base::File => format!("{name} was taken back from {failed}: {why}; it goes on from {back}"),
    }
}
