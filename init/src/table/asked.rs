//! What clients ask for.

use std::sync::Arc;

use super::{Entry, Table};
use crate::clock::Moment;
use crate::defect::{self, Place};
use crate::event::{Command, Effect, Refusal, Reply, Ticket, Until};
use crate::id::JobId;
use crate::job::{Input, Job, Origin, State, Then};
use crate::signal::Signal;
use crate::spec::Spec;

impl Table {
    pub(super) fn ask(
        &mut self,
        now: Moment,
        ticket: Ticket,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        let done = match command {
            Command::Start { id, spec, until } => self.start(ticket, id, spec, until, now, effects),
            Command::StartAgain(id) => self.start_again(now, ticket, &id, effects),
            Command::Stop(id) => {
                self.input(now, &id, Input::Stop(Some(ticket), Then::Rest), effects)
            }
            Command::Restart(id) => self.may_start().and_then(|()| {
                self.input(now, &id, Input::Stop(Some(ticket), Then::StartAgain), effects)
            }),
            Command::Remove(id) => self.remove(now, ticket, &id, effects),
            Command::Signal(id, signal) => self.signal(ticket, &id, signal, effects),
            Command::Detach(id) => self.detach(ticket, &id, effects),
            Command::Await(id, until) => self.await_job(ticket, &id, until, effects),
            Command::End(ending) => {
                self.terminate(now, ending, effects);
                effects.push(Effect::Reply(ticket, Reply::Ending));
                Ok(())
            }
        };
        if let Err(refusal) = done {
            effects.push(Effect::Reply(ticket, Reply::Refused(refusal)));
        }
    }

    pub(super) fn start(
        &mut self,
        ticket: Ticket,
        id: Option<JobId>,
        spec: Arc<Spec>,
        until: Until,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.may_start()?;
        let id = id.unwrap_or_else(|| self.free_name());
        defect::here(Place::Core, id.as_str());
        let is_full = self.jobs.len() >= self.rules.max_jobs;
        let are_full = self.specs + spec.most() > self.rules.max_specs;
        match self.jobs.get_mut(&id) {
            None if is_full => {
                return Err(Refusal::TableFull(self.rules.max_jobs));
            }
            entry if are_full && entry.as_deref().is_none_or(|entry| !entry.job.is_live()) => {
                return Err(Refusal::SpecsFull(self.rules.max_specs));
            }
            None => self.insert(&id, &spec, Origin::Fresh, None),
            Some(entry) if !entry.job.is_live() => {
                let old = self.jobs.remove(&id);
                self.insert(&id, &spec, Origin::Fresh, old);
            }
            Some(entry) if entry.job.awaits_tree() => return Err(Refusal::Stopping(id)),
            Some(entry) if entry.job.spec() != &spec => {
                return Err(Refusal::OtherSpec(id));
            }
            Some(_) => return self.input(now, &id, Input::Start(ticket, until), effects),
        }
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.job.wait(ticket, until, true);
        }
        let adopts = spec.adoption.is_some();
        effects.push(if adopts { Effect::Adopt(id, spec) } else { Effect::Spawn(id, spec) });
        Ok(())
    }

    pub(super) fn insert(
        &mut self,
        id: &JobId,
        spec: &Arc<Spec>,
        origin: Origin,
        replaced: Option<Box<Entry>>,
    ) {
        let job = Job::new(id.clone(), Arc::clone(spec), origin);
        self.live += 1;
        self.specs += spec.size();
        self.jobs.insert(id.clone(), Box::new(Entry { job, order: 0, replaced }));
    }

    pub(super) fn start_again(
        &mut self,
        now: Moment,
        ticket: Ticket,
        id: &JobId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.may_start()?;
        self.input(now, id, Input::Start(ticket, Until::Up), effects)
    }

    pub(super) fn may_start(&self) -> Result<(), Refusal> {
        if self.shutdown.is_going_on() { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }

    pub(super) fn free_name(&mut self) -> JobId {
        loop {
            self.names += 1;
            let id = JobId::numbered(self.names);
            if !self.jobs.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn remove(
        &mut self,
        now: Moment,
        ticket: Ticket,
        id: &JobId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let entry = self.jobs.get(id).ok_or_else(|| Refusal::UnknownJob(id.clone()))?;
        let in_backoff = matches!(entry.job.state(), State::Backoff { .. });
        if entry.job.is_live() && !in_backoff {
            return Err(Refusal::Running(id.clone()));
        }
        if in_backoff {
            self.call_off(now, id, effects);
        }
        self.forget(id, effects);
        effects.push(Effect::Reply(ticket, Reply::Done));
        Ok(())
    }

    /// Ends a job in backoff that is about to be forgotten: who waits for it is answered, and
    /// followers are told of its going only.
    pub(super) fn call_off(&mut self, now: Moment, id: &JobId, effects: &mut Vec<Effect>) {
        let context = self.context(now);
        let Some(entry) = self.jobs.get_mut(id) else { return };
        if let Some(at) = entry.job.deadline() {
            self.timers.remove(&(at, id.clone()));
        }
        entry.job.step(context, Input::Stop(None, Then::Rest), effects);
        self.live -= 1;
    }

    pub(super) fn forget(&mut self, id: &JobId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.jobs.remove(id) else { return };
        self.specs = self.specs.saturating_sub(entry.job.spec().size());
        self.changes += 1;
        effects.push(Effect::Gone(id.clone(), self.changes));
        if entry.job.spec().store_max > 0 {
            effects.push(Effect::ReleaseStore(id.clone()));
        }
        if !entry.job.spec().listeners.is_empty() {
            effects.push(Effect::ReleaseListeners);
        }
    }

    pub(super) fn signal(
        &mut self,
        ticket: Ticket,
        id: &JobId,
        signal: Signal,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let entry = self.jobs.get(id).ok_or_else(|| Refusal::UnknownJob(id.clone()))?;
        let pid = entry.job.pid().ok_or_else(|| Refusal::Dead(id.clone()))?;
        effects.push(Effect::Signal(pid, signal, Some(ticket)));
        Ok(())
    }

    /// Forgets a job whose processes go on.
    pub(super) fn detach(
        &mut self,
        ticket: Ticket,
        id: &JobId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let entry = self.jobs.get_mut(id).ok_or_else(|| Refusal::UnknownJob(id.clone()))?;
        if id.is_boot() {
            return Err(Refusal::NotDetachable(id.clone()));
        }
        if entry.job.spec().is_tied {
            return Err(Refusal::Tied(id.clone()));
        }
        let deadline = entry.job.deadline();
        let (pid, view) = entry.job.let_go(effects)?;
        effects.push(Effect::LetGo(id.clone(), pid, Arc::clone(entry.job.spec())));
        effects.push(Effect::Reply(ticket, Reply::Job(view)));
        if let Some(at) = deadline {
            self.timers.remove(&(at, id.clone()));
        }
        self.pids.remove(&pid);
        self.live -= 1;
        self.forget(id, effects);
        Ok(())
    }

    pub(super) fn await_job(
        &mut self,
        ticket: Ticket,
        id: &JobId,
        until: Until,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let entry = self.jobs.get_mut(id).ok_or_else(|| Refusal::UnknownJob(id.clone()))?;
        let is_so_far = until == Until::Ready && entry.job.is_ready();
        if entry.job.is_live() && !is_so_far {
            entry.job.wait(ticket, until, false);
        } else {
            effects.push(Effect::Reply(ticket, Reply::Job(entry.job.info())));
        }
        Ok(())
    }

    pub(super) fn abandon(&mut self, ticket: Ticket) {
        // Rare, and bounded by the connections: a search is cheaper than an index kept for it.
        for entry in self.jobs.values_mut() {
            entry.job.abandon(ticket);
        }
    }
}
