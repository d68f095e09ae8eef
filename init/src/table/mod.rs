//! All jobs, by name and by process; and the end of all.
//!
//! The table is pure: it is given events with their time and answers with effects. It opens
//! nothing, waits for nothing and reads no clock, so generated sequences can drive it.

mod asked;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use self::saved::Saved;
use crate::clock::Moment;
use crate::event::{Effect, Ending, Event, Refusal};
use crate::id::{JobId, Pid};
use crate::job::{Context, Input, Job, Origin, State, Then, View};
use crate::shutdown::{Asked, BootExit, Shutdown};
use crate::signal::{Exit, Signal};
use crate::spec::{Address, Listen, Spec};

/// Jobs that a tick starts at most; the next one goes on.
const STARTS_A_TICK: usize = 8;

/// The rules a table is made with.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The most jobs, ended ones included.
    pub max_jobs: usize,
    /// The most bytes of all their specs.
    pub max_specs: usize,
    /// What follows when `boot` ends.
    pub boot_exit: BootExit,
    /// How long a wind-down may take in all.
    pub grace: Duration,
    /// The seed of the delays' jitter.
    pub seed: u64,
}

/// All jobs.
#[derive(Debug)]
pub struct Table {
    rules: Rules,
    jobs: BTreeMap<JobId, Box<Entry>>,
    pids: BTreeMap<Pid, JobId>,
    timers: BTreeSet<(Instant, JobId)>,
    /// Jobs whose leader is gone and whose tree is not.
    trees: BTreeSet<JobId>,
    live: usize,
    /// Bytes of all specs.
    specs: usize,
    starts: u64,
    names: u64,
    changes: u64,
    random: u64,
    shutdown: Shutdown,
    /// What boot's last end is as an exit code.
    boot_code: u8,
    /// Nobody is started by himself before that.
    hold: Option<Instant>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    job: Job,
    /// When it was started, in the order of all starts.
    order: u64,
    /// The ended job that it takes the place of, until it has started.
    replaced: Option<Box<Entry>>,
}

impl Entry {
    /// Whether its spec is another one than that of the job that it takes the place of.
    fn is_another(&self) -> bool {
        self.replaced.as_ref().is_some_and(|old| old.job.spec() != self.job.spec())
    }

    /// The job, if it has ever been started, else the one that is still in its place.
    fn shown(&self) -> Option<&Job> {
        match &self.replaced {
            _ if self.order > 0 => Some(&self.job),
            replaced => replaced.as_ref().map(|old| &old.job),
        }
    }
}

impl Table {
    /// A table without jobs.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            jobs: BTreeMap::new(),
            pids: BTreeMap::new(),
            timers: BTreeSet::new(),
            trees: BTreeSet::new(),
            live: 0,
            specs: 0,
            starts: 0,
            names: 0,
            changes: 0,
            random: rules.seed | 1,
            shutdown: Shutdown::None,
            boot_code: 0,
            hold: None,
        }
    }

    /// No job is started by its policy before that.
    pub fn hold_until(&mut self, until: Instant) {
        self.hold = Some(until);
    }

    /// The main processes of all jobs.
    #[must_use]
    pub fn leaders(&self) -> Vec<Pid> {
        self.pids.keys().copied().collect()
    }

    /// All jobs as the API shows them, in the order of their names.
    #[must_use]
    pub fn list(&self) -> Vec<View> {
        self.jobs.values().filter_map(|entry| Some(*entry.shown()?.info())).collect()
    }

    /// One job as the API shows it.
    #[must_use]
    pub fn info(&self, id: &JobId) -> Option<Box<View>> {
        self.jobs.get(id)?.shown().map(Job::info)
    }

    /// The jobs that have processes: all of them, or this one.
    pub fn peopled(&self, only: Option<&JobId>) -> Result<Vec<JobId>, Refusal> {
        let Some(id) = only else {
            let jobs = self.jobs.iter().filter(|(_, entry)| entry.job.has_processes());
            return Ok(jobs.map(|(id, _)| id.clone()).collect());
        };
        let job = self.jobs.get(id).and_then(|entry| entry.shown());
        let job = job.ok_or_else(|| Refusal::UnknownJob(id.clone()))?;
        if job.has_processes() { Ok(vec![id.clone()]) } else { Err(Refusal::Dead(id.clone())) }
    }

    /// Whether nothing is started any more.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.shutdown.is_going_on()
    }

    /// A job whose process is on its way, or is being looked at before it is taken over.
    #[must_use]
    pub fn spawning(&self) -> Option<&JobId> {
        let is_spawning = |entry: &Entry| matches!(entry.job.state(), State::Spawning(_));
        self.jobs.iter().find(|(_, entry)| is_spawning(entry)).map(|(id, _)| id)
    }

    /// The job whose main process this is.
    #[must_use]
    pub fn job_of(&self, pid: Pid) -> Option<&JobId> {
        self.pids.get(&pid)
    }

    /// Whether somebody waits for a job's process to run.
    #[must_use]
    pub fn is_start_awaited(&self, id: &JobId) -> bool {
        self.jobs.get(id).is_some_and(|entry| entry.job.is_start_awaited())
    }

    /// The process of the job `boot`.
    #[must_use]
    pub fn boot_pid(&self) -> Option<Pid> {
        self.jobs.get(JobId::BOOT).and_then(|entry| entry.job.pid())
    }

    /// Whether a process is the main one of a job.
    #[must_use]
    pub fn knows(&self, pid: Pid) -> bool {
        self.pids.contains_key(&pid)
    }

    /// Whether a job has a process, or will have one without anybody asking.
    #[must_use]
    pub fn is_live(&self, id: &JobId) -> bool {
        self.jobs.get(id).is_some_and(|entry| entry.job.is_live())
    }

    /// How many jobs there are, ended ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Bytes of the specs of all jobs.
    #[must_use]
    pub fn specs(&self) -> usize {
        self.specs
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The number of the last change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether a job names a socket at this address.
    #[must_use]
    pub fn names_listener(&self, address: &Address) -> bool {
        self.who_names(|listen| listen.address == *address).is_some()
    }

    /// The first job that names such a socket.
    pub fn who_names(&self, is_such: impl Fn(&Listen) -> bool) -> Option<&JobId> {
        let replaced = self
            .jobs
            .iter()
            .filter_map(|(id, entry)| entry.replaced.as_ref().map(|replaced| (id, replaced)));
        let mut jobs = self.jobs.iter().chain(replaced);
        jobs.find(|(_, entry)| entry.job.spec().listeners.iter().any(&is_such)).map(|(id, _)| id)
    }

    /// The spec of a job, also of one that is being started for the first time.
    #[must_use]
    pub fn spec(&self, id: &JobId) -> Option<&Arc<Spec>> {
        self.jobs.get(id).map(|entry| entry.job.spec())
    }

    /// Whether a job is being started in the place of an ended one with another spec.
    #[must_use]
    pub fn is_another(&self, id: &JobId) -> bool {
        self.jobs.get(id).is_some_and(|entry| entry.is_another())
    }

    /// When to send [`Event::Tick`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.shutdown.deadline()].into_iter().flatten().min()
    }

    /// One step.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Boot(spec) => self.boot(&spec, &mut effects),
            Event::Asked(ticket, command) => self.ask(now, ticket, command, &mut effects),
            Event::Abandoned(ticket) => self.abandon(ticket),
            Event::Spawned(id, pid, at) => {
                self.began(now, &id, pid, Input::Spawned(pid, at), &mut effects);
            }
            Event::SpawnFailed(id, fault) => {
                self.did_not_begin(now, &id, Input::SpawnFailed(fault), &mut effects);
            }
            Event::Adopted(id, pid, at, spec) => {
                self.specs += spec.size();
                let asked = self.jobs.get(&id).map_or(0, |entry| entry.job.spec().size());
                self.specs = self.specs.saturating_sub(asked);
                self.began(now, &id, pid, Input::Adopted(pid, at, spec), &mut effects);
            }
            Event::NotAdopted(id, why) => {
                self.did_not_begin(now, &id, Input::NotAdopted(why), &mut effects);
            }
            Event::Reaped(pid, exit) => self.reaped(now, pid, exit, &mut effects),
            Event::OrphansReaped => self.orphans_reaped(now, &mut effects),
            Event::Tree(id, tree) => self.drive(now, &id, Input::Tree(tree), &mut effects),
            Event::Says(id, notice) => self.drive(now, &id, Input::Says(notice), &mut effects),
            Event::Forward(signal) => self.forward(signal, &mut effects),
            Event::Terminate(ending) => self.terminate(now, ending, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.go_on_ending(now, &mut effects);
        effects
    }

    /// The one start that no client asks for. If it fails, the job stays, so that its policy can
    /// try again and its failure can be init's exit code.
    fn boot(&mut self, spec: &Arc<Spec>, effects: &mut Vec<Effect>) {
        let id = JobId::boot();
        self.insert(&id, spec, Origin::Init, None);
        self.starts += 1;
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.order = self.starts;
        }
        effects.push(Effect::Spawn(id, Arc::clone(spec)));
    }

    /// A job has its process: one that was made, or one that was taken over.
    fn began(
        &mut self,
        now: Moment,
        id: &JobId,
        pid: Pid,
        input: Input,
        effects: &mut Vec<Effect>,
    ) {
        // One that was taken over, and is not init's to reap, had this number: so it has ended.
        self.reaped(now, pid, Exit::Unknown, effects);
        self.starts += 1;
        let (mut freed, mut is_another) = (false, false);
        if let Some(entry) = self.jobs.get_mut(id) {
            entry.order = self.starts;
            is_another = entry.is_another();
            if let Some(old) = entry.replaced.take() {
                self.specs = self.specs.saturating_sub(old.job.spec().size());
                freed = !old.job.spec().listeners.is_empty();
            }
        }
        if id.is_boot() {
            self.shutdown.boot_started();
        }
        self.drive(now, id, input, effects);
        if is_another {
            effects.push(Effect::ReleaseStore(id.clone()));
        }
        if freed {
            effects.push(Effect::ReleaseListeners);
        }
    }

    fn did_not_begin(&mut self, now: Moment, id: &JobId, input: Input, effects: &mut Vec<Effect>) {
        let first = self.jobs.get(id).is_some_and(|entry| entry.order == 0);
        if !first {
            return self.drive(now, id, input, effects);
        }
        // A job that never was: who asked is told, and the table is as before.
        let Some(mut entry) = self.jobs.remove(id) else { return };
        entry.job.step(self.context(now), input, effects);
        self.live -= 1;
        self.specs = self.specs.saturating_sub(entry.job.spec().size());
        if let Some(old) = entry.replaced.take() {
            self.jobs.insert(id.clone(), old);
        }
        if !entry.job.spec().listeners.is_empty() {
            effects.push(Effect::ReleaseListeners);
        }
    }

    fn reaped(&mut self, now: Moment, pid: Pid, exit: Exit, effects: &mut Vec<Effect>) {
        if let Some(id) = self.pids.remove(&pid) {
            self.drive(now, &id, Input::Exited(exit), effects);
        }
    }

    /// The tree of any job may have lost its last member.
    fn orphans_reaped(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for id in self.trees.clone() {
            self.drive(now, &id, Input::OrphanReaped, effects);
        }
    }

    fn forward(&mut self, signal: Signal, effects: &mut Vec<Effect>) {
        let Some(boot) = self.jobs.get(JobId::BOOT).map(|entry| &entry.job) else { return };
        let Some(pid) = boot.pid() else { return };
        effects.push(if boot.spec().as_group() {
            Effect::SignalGroup(pid, signal)
        } else {
            Effect::Signal(pid, signal, None)
        });
    }

    /// The first request tells `boot`; a second one means at once.
    fn terminate(&mut self, now: Moment, ending: Ending, effects: &mut Vec<Effect>) {
        let by = now.mono + self.rules.grace;
        match self.shutdown.ask(ending, by, now.mono) {
            Asked::TellBoot => self.drive(now, &JobId::boot(), Input::WindDown(by), effects),
            Asked::Nothing => {}
            Asked::KillAll => self.all(now, &Input::Kill, effects),
        }
    }

    /// What is due. Starts are paced, so that jobs that end as soon as they start leave time for
    /// everything else.
    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        // First, so that nothing is started that would be killed at once.
        if self.shutdown.deadline().is_some_and(|at| at <= now.mono) {
            match self.shutdown.time_is_up(now.mono) {
                Some(ending) => {
                    effects.push(Effect::End(ending, self.boot_code));
                    return;
                }
                None => self.all(now, &Input::Kill, effects),
            }
        }
        let mut starts = 0;
        while let Some((at, id)) = self.timers.first().cloned() {
            if at > now.mono || starts >= STARTS_A_TICK {
                break;
            }
            let before = effects.len();
            self.drive(now, &id, Input::Deadline, effects);
            let new = effects.get(before..).unwrap_or_default();
            starts += new.iter().filter(|effect| matches!(effect, Effect::Spawn(..))).count();
            // A step always moves the deadline on; if it did not, this would be a busy loop.
            debug_assert!(self.jobs.get(&id).is_none_or(|entry| entry.job.deadline() != Some(at)));
            self.timers.remove(&(at, id));
        }
    }

    /// Moves an ending forward as far as it goes now.
    fn go_on_ending(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let boot_lives = self.jobs.get(JobId::BOOT).is_some_and(|entry| entry.job.is_live());
        if self.shutdown.may_stop_the_rest(boot_lives) {
            self.all(now, &Input::Stop(None, Then::Rest), effects);
        }
        if self.live == 0
            && let Some(ending) = self.shutdown.finish()
        {
            effects.push(Effect::End(ending, self.boot_code));
        }
    }

    /// Gives every live job an input, the last started first.
    fn all(&mut self, now: Moment, input: &Input, effects: &mut Vec<Effect>) {
        let mut live: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, entry)| entry.job.is_live())
            .map(|(id, entry)| (entry.order, id.clone()))
            .collect();
        live.sort_unstable_by(|a, b| b.cmp(a));
        for (_, id) in live {
            self.drive(now, &id, input.clone(), effects);
        }
    }

    fn input(
        &mut self,
        now: Moment,
        id: &JobId,
        input: Input,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if !self.jobs.contains_key(id) {
            return Err(Refusal::UnknownJob(id.clone()));
        }
        self.drive(now, id, input, effects);
        Ok(())
    }

    /// Steps one job and keeps the indexes true.
    fn drive(&mut self, now: Moment, id: &JobId, input: Input, effects: &mut Vec<Effect>) {
        let context = self.context(now);
        let Some(entry) = self.jobs.get_mut(id) else { return };
        let job = &mut entry.job;
        let seen = |job: &Job| (job.deadline(), job.is_live(), job.status(), job.pid());
        let (before, version) = (seen(job), job.version());
        job.step(context, input, effects);
        let after = seen(job);
        let news = version != job.version() || (before.2, before.3) != (after.2, after.3);
        let shows = news && !job.is_leaving();
        let awaits_tree = job.awaits_tree();
        let job_exit = job.last_exit().unwrap_or(Exit::Code(0));
        if before == after && !news {
            return;
        }
        if before.3 != after.3 {
            if let Some(pid) = before.3.filter(|pid| self.pids.get(pid) == Some(id)) {
                self.pids.remove(&pid);
            }
            if let Some(pid) = after.3 {
                self.pids.insert(pid, id.clone());
            }
        }
        if before.0 != after.0 {
            if let Some(at) = before.0 {
                self.timers.remove(&(at, id.clone()));
            }
            if let Some(at) = after.0 {
                self.timers.insert((at, id.clone()));
            }
        }
        if awaits_tree {
            self.trees.insert(id.clone());
        } else {
            self.trees.remove(id);
        }
        match (before.1, after.1) {
            (true, false) => {
                self.live -= 1;
                if id.is_boot() {
                    self.boot_code = job_exit.shell_code();
                    let by = now.mono + self.rules.grace;
                    self.shutdown.boot_ended(self.rules.boot_exit, job_exit, by);
                }
            }
            (false, true) => self.live += 1,
            (true, true) | (false, false) => {}
        }
        if shows {
            self.changes += 1;
            effects.push(Effect::Changed(id.clone(), self.changes));
        }
    }

    fn context(&mut self, now: Moment) -> Context {
        // xorshift64*: the jitter of delays needs spread, not secrecy.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let chance = (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        let hold = self.hold.filter(|until| *until > now.mono);
        Context { now, chance, ending: self.shutdown.is_going_on(), hold }
    }
}
