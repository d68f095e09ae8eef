//! A turn of the loop: what was touched is looked at, planned and done.
//!
//! What has to be done is begun here and reported as an event. Nothing waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::Drain;
use crate::free_port::is_free;
use crate::generation::Generation;
use crate::name::InstanceId;
use crate::plan::{
    Action, Collector, Proxy, ProxyLife, Push, Scope, SeenProxy, Wanted, plan_for, see_waiting,
    widen,
};
use crate::roster::Told;
use crate::supervise::Supervisor;
use crate::touched::Touched;

impl Supervisor {
    pub(crate) fn settle(&mut self) {
        self.follow_proxies();
        self.follow_obtaining();
        self.roster.see_lost();
        if !self.roster.is_current {
            return;
        }
        self.forget_held();
        let mut touched = self.touched();
        self.watch_processes(&touched);
        self.care(&touched);
        let observed = self.roster.observed();
        self.change_level(&observed);
        self.halt();
        self.keep_gate();
        touched.merge(self.touched());
        self.weigh(&observed, &touched);
        self.tend_releases(&touched);
        self.tend_work();
        let unsettled = self.unsettled(&observed);
        drop(observed);
        self.roster.unsettle(unsettled);
        touched.merge(self.touched());
        for action in self.planned(touched) {
            self.set_about(action);
        }
    }

    /// The apps of which something has changed, or for which time has made a difference.
    fn touched(&mut self) -> Touched {
        if self.winding_down || self.runlevel.next().is_some() {
            // Each waits for others.
            self.wanted.touch_all();
        }
        let changed = self.wanted.take_touched();
        self.roster.touch_these(&changed);
        let mut touched = self.roster.take_touched();
        self.trials.due(Instant::now()).for_each(|app| touched.add(app));
        touched
    }

    fn planned(&mut self, touched: Touched) -> Vec<Action> {
        let (observed, desired) = (self.roster.observed(), self.desired());
        let apps = widen(touched, &desired.apps);
        see_waiting(&mut self.roster.waiting, &desired, &observed, &apps);
        let scope = Scope { apps, tellings: self.roster.take_tellings() };
        let mut pushes: BTreeMap<Generation, Vec<Push>> = BTreeMap::new();
        let mut others = Vec::new();
        for action in plan_for(&desired, &observed, &scope, is_free) {
            match action {
                Action::Push { generation, push } => {
                    if !self.declined.holds(generation, &push) {
                        pushes.entry(generation).or_default().push(push);
                    }
                }
                other => others.push(other),
            }
        }
        for (generation, pushes) in pushes {
            self.push(generation, pushes);
        }
        let is_running = |generation: &Generation| {
            observed.proxies.get(generation).is_some_and(|seen| seen.life == ProxyLife::Running)
        };
        let told_to = observed.proxies.keys().copied().filter(|g| self.roster.is_pushed(*g));
        self.untold = told_to.into_iter().find(is_running);
        others
    }

    fn set_about(&mut self, action: Action) {
        match action {
            Action::Start { id, place, spec } => {
                self.roster.starting(&id, place, Arc::clone(&spec));
                self.hands.start(id, spec);
            }
            Action::Unplaced { app } => self.roster.touch(&app),
            Action::Retire { id } => self.retire(&id),
            Action::StartProxy { generation, spec } => {
                self.roster.starting_proxy(generation, Arc::clone(&spec));
                self.hands.start_proxy(generation, spec);
            }
            Action::StopProxy { generation } => {
                if let Some(spec) = self.roster.proxy(generation).map(|job| Arc::clone(&job.spec)) {
                    self.hands.stop_proxy(generation, spec);
                    self.roster.stopping_proxy(generation);
                }
            }
            Action::StartCollector { spec } => {
                self.roster.starting_collector(Arc::clone(&spec));
                self.hands.start_collector(spec);
            }
            Action::StopCollector => {
                if let Some(spec) = self.roster.collector().map(|job| Arc::clone(&job.spec)) {
                    self.hands.stop_collector(spec);
                    self.roster.stopping_collector();
                }
            }
            Action::Push { generation, push } => self.push(generation, vec![push]),
        }
    }

    /// Takes an instance out of service and clears it.
    pub(crate) fn retire(&mut self, id: &InstanceId) {
        // What is being pushed may make it a target once more; the plan says so again later.
        if self.roster.is_being_told_of(id) {
            return;
        }
        let Some(spec) = self.roster.job(id).map(|job| Arc::clone(&job.spec)) else { return };
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
        let observed = self.roster.observed();
        let knowing = observed.proxies.iter().filter(|(_, seen)| may_know(seen));
        let process = |generation: &Generation| {
            (*generation, self.roster.told(*generation).map_or(0, Told::pid))
        };
        let knowing: Vec<_> = knowing.map(|(generation, _)| process(generation)).collect();
        drop(observed);
        let lets_go = self.lets_go_of(id);
        self.roster.retiring(id);
        self.unwatch(id);
        self.hands.retire(id.clone(), spec, &knowing, drain, lets_go);
    }

    fn push(&mut self, generation: Generation, pushes: Vec<Push>) {
        let Some(Told::Table { pid, .. }) = self.roster.told(generation) else { return };
        let target = |push: &Push| match push {
            Push::Target { id, .. } => Some(id.clone()),
            Push::Front(_)
            | Push::Route { .. }
            | Push::NoRoute { .. }
            | Push::Service { .. }
            | Push::NoService { .. }
            | Push::Maintenance { .. }
            | Push::NoMaintenance { .. }
            | Push::NoTarget { .. }
            | Push::Tls(_)
            | Push::Certificate { .. }
            | Push::NoCertificate { .. }
            | Push::Acme(_)
            | Push::Tickets(_)
            | Push::Open => None,
        };
        let about: BTreeSet<InstanceId> = pushes.iter().filter_map(target).collect();
        self.hands.push(generation, *pid, pushes);
        self.roster.pushing(generation, about);
    }

    /// A proxy that was started anew knows nothing: it is asked, and then told.
    fn follow_proxies(&mut self) {
        let running = self.roster.proxy_pids();
        let gone = |generation: &Generation| !running.contains_key(generation);
        self.roster.keep_told(|generation| !gone(generation));
        for (_, task) in self.reading.extract_if(.., |generation, _| gone(generation)) {
            task.abort();
        }
        for (generation, pid) in running {
            if self.roster.told(generation).map(Told::pid) != Some(pid) {
                self.read_table(generation, pid);
            }
        }
    }

    pub(crate) fn read_table(&mut self, generation: Generation, pid: u32) {
        self.roster.ask_for_table(generation, pid);
        self.declined.forget(generation);
        let task = self.hands.read_table(generation, pid);
        if let Some(before) = self.reading.insert(generation, task) {
            before.abort();
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        let observed = self.roster.observed();
        let is_gone = !matches!(observed.collector, Collector::Ours { .. });
        let nothing = self.is_quiet() && is_gone && self.is_gate_gone();
        self.roster.is_current && nothing
    }

    /// Whether nothing of what is supervised runs.
    pub(crate) fn is_quiet(&self) -> bool {
        let observed = self.roster.observed();
        observed.instances.is_empty() && observed.proxies.is_empty()
    }
}
