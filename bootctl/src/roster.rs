//! What bootctl knows about what is there: init's jobs, what it has asked for itself and has not
//! seen happen yet, and what the probes and the proxy say.
//!
//! What the planner wants of it is kept up to date with every piece of news ([`sight`]), and with it which apps
//! the news was about: so one of them costs the same among a thousand as alone.

mod doing;
mod health;
mod proxies;
mod sight;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use init_wire::JobEvent;

use crate::collecting;
use crate::generation::{Generation, is_ours};
use crate::job::{JobInfo, Known, Role};
use crate::liveness::Liveness;
use crate::name::{AppName, InstanceId};
use crate::order::Digest;
use crate::place::Place;
use crate::plan::{Observed, Waiting};
use crate::touched::Touched;
use doing::{Change, Doing};
use health::Pronounced;
use proxies::Shape;
pub(crate) use proxies::Told;

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    jobs: BTreeMap<String, Known>,
    /// The jobs as init tells them anew, until it has told all.
    telling: Option<BTreeMap<String, Known>>,
    /// Whether `jobs` is what init has.
    pub(crate) is_current: bool,
    doing: BTreeMap<InstanceId, Doing>,
    health: BTreeMap<InstanceId, Pronounced>,
    /// Those that fail, and when they are restarted.
    pub(crate) liveness: Liveness,
    /// Apps that are not started yet, and for whom they wait.
    pub(crate) waiting: BTreeMap<AppName, Waiting>,
    /// How the proxy's jobs are being changed.
    changing: BTreeMap<Generation, Change>,
    /// The same of the collector's.
    collecting: Option<Change>,
    /// What the generations have told; nothing of those that were not asked.
    told: BTreeMap<Generation, Told>,
    /// Instances that the pushes under way are about.
    pushing: BTreeMap<Generation, BTreeSet<InstanceId>>,
    /// Apps about which a generation may have to be told something.
    untold: BTreeMap<Generation, Touched>,
    /// What those that are being retired have to finish.
    pub(crate) in_flight: BTreeMap<InstanceId, u64>,
    /// Orders that init refused, with its words.
    refused: BTreeMap<AppName, (Digest, String)>,
    /// The jobs that ask instances, each with whom it asks.
    asking: BTreeMap<String, String>,
    /// All of it as the planner wants it.
    seen: Rc<Observed>,
    /// What the apps' routes go through, as far as all of them depend on it.
    shape: Shape,
    /// Apps that have to be looked at.
    touched: Touched,
}

impl Roster {
    /// init begins to tell all jobs anew.
    pub(crate) fn begin_anew(&mut self) {
        self.telling = Some(BTreeMap::new());
        self.is_current = false;
    }

    /// init does not answer.
    pub(crate) fn lose(&mut self) {
        self.telling = None;
        self.is_current = false;
    }

    /// Takes an event of init's.
    pub(crate) fn take(&mut self, event: JobEvent) {
        match event {
            JobEvent::Job { job, .. } => self.take_job(*job),
            JobEvent::Gone { id, .. } => self.take_gone(&id),
            JobEvent::Ready { .. } => self.take_all(),
            JobEvent::Missed { .. } => self.lose(),
        }
    }

    fn take_job(&mut self, job: init_wire::JobInfo) {
        let name = job.id.clone();
        let known = Known::of(job, self.jobs.get(&name));
        let role = known.role.clone();
        if let Role::Instance(id, _) = &role {
            self.see_begun(id);
        }
        let jobs = self.telling.as_mut().unwrap_or(&mut self.jobs);
        let before = jobs.insert(name.clone(), known);
        let changed = [before.map(|known| known.role), Some(role)].into_iter().flatten();
        for role in changed {
            self.see_role(&name, &role);
        }
    }

    fn take_gone(&mut self, name: &str) {
        let gone = self.telling.as_mut().unwrap_or(&mut self.jobs).remove(name);
        let gone = gone.or_else(|| self.jobs.get(name).cloned());
        let Some(Known { role, .. }) = gone else { return };
        if let Role::Instance(id, _) = &role {
            self.see_cleared(id);
        }
        self.see_role(name, &role);
    }

    /// init has told all jobs.
    fn take_all(&mut self) {
        self.jobs = self.telling.take().unwrap_or_default();
        self.see_answered();
        self.is_current = true;
        self.see_all();
    }

    /// Something is new about a job.
    fn see_role(&mut self, name: &str, role: &Role) {
        match role {
            Role::Instance(id, _) => {
                self.see(id);
                // Its process may be another one, also where that makes no difference to the plan.
                self.touch(&id.app);
            }
            Role::Asks(whom) => {
                if self.jobs.contains_key(name) {
                    self.asking.insert(name.to_owned(), whom.clone());
                } else {
                    self.asking.remove(name);
                }
            }
            Role::Other if name == collecting::JOB => self.see_collector(),
            Role::Other if Generation::of_job(name).is_some() => self.see_proxies(),
            Role::Other => {}
        }
    }

    /// Notes that an app has to be looked at.
    pub(crate) fn touch(&mut self, app: &AppName) {
        self.touched.add(app);
        self.untold.values_mut().for_each(|untold| untold.add(app));
    }

    /// The same of several.
    pub(crate) fn touch_these(&mut self, apps: &Touched) {
        self.touched.merge(apps.clone());
        self.untold.values_mut().for_each(|untold| untold.merge(apps.clone()));
    }

    fn touch_all(&mut self) {
        self.touch_these(&Touched::All);
    }

    /// The apps that have to be looked at since this was asked last.
    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// All of it as the planner wants it.
    pub(crate) fn observed(&self) -> Rc<Observed> {
        Rc::clone(&self.seen)
    }

    /// Notes that init refuses an order, in its words.
    pub(crate) fn refuse(&mut self, app: &AppName, order: Digest, why: String) {
        Rc::make_mut(&mut self.seen).refused.insert(app.clone(), order.clone());
        self.refused.insert(app.clone(), (order, why));
        self.touch(app);
    }

    /// It may be asked again.
    pub(crate) fn forgive(&mut self, app: &AppName) {
        if self.refused.remove(app).is_some() {
            Rc::make_mut(&mut self.seen).refused.remove(app);
            self.touch(app);
        }
    }

    /// It may be asked again about all.
    pub(crate) fn forgive_all(&mut self) {
        for app in self.refused.keys().cloned().collect::<Vec<_>>() {
            self.forgive(&app);
        }
    }

    /// Why init refused an app's order, in its words.
    pub(crate) fn refusal(&self, app: &AppName) -> Option<&str> {
        self.refused.get(app).map(|(_, why)| why.as_str())
    }

    /// Notes for which instances no other one may go yet.
    pub(crate) fn unsettle(&mut self, unsettled: BTreeSet<InstanceId>) {
        let before = &self.seen.unsettled;
        if *before == unsettled {
            return;
        }
        let changed: Vec<AppName> =
            before.symmetric_difference(&unsettled).map(|id| id.app.clone()).collect();
        for app in &changed {
            self.touch(app);
        }
        Rc::make_mut(&mut self.seen).unsettled = unsettled;
    }

    /// What init says about a job of this name, whosever it is.
    pub(crate) fn named(&self, job: &str) -> Option<&JobInfo> {
        self.jobs.get(job).map(|known| &known.info)
    }

    /// What init says about an instance.
    pub(crate) fn job(&self, id: &InstanceId) -> Option<&JobInfo> {
        self.instance(id).map(|(info, _)| info)
    }

    /// The same, and its place.
    fn instance(&self, id: &InstanceId) -> Option<(&JobInfo, &Place)> {
        let known = self.jobs.get(&id.to_string())?;
        known.instance().map(|(_, place)| (&known.info, place))
    }

    /// What init says about all instances.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (&InstanceId, &JobInfo)> {
        let jobs = self.jobs.values();
        jobs.filter_map(|known| known.instance().map(|(id, _)| (id, &known.info)))
    }

    /// Our process that is this instance, if it can be probed.
    pub(crate) fn process(&self, id: &InstanceId) -> Option<(u32, &Place, &JobInfo)> {
        let (job, place) = self.instance(id).filter(|_| !self.doing.contains_key(id))?;
        let pid = job.pid.filter(|_| job.status == init_wire::Status::Running)?;
        Some((pid, place, job))
    }

    /// What init says about the collector.
    pub(crate) fn collector(&self) -> Option<&JobInfo> {
        self.named(collecting::JOB).filter(|job| collecting::is_ours(&job.spec))
    }

    /// What init says about a generation of the proxy.
    pub(crate) fn proxy(&self, generation: Generation) -> Option<&JobInfo> {
        self.named(&generation.to_string()).filter(|job| is_ours(&job.spec))
    }

    /// The jobs that ask instances, each with whom it asks, if that is one.
    pub(crate) fn asking(&self) -> impl Iterator<Item = (&JobInfo, Option<&InstanceId>)> {
        self.asking.iter().filter_map(|(job, whom)| {
            let whom = self.jobs.get(whom).and_then(Known::instance).map(|(id, _)| id);
            Some((self.named(job)?, whom))
        })
    }
}
