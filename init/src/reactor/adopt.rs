//! Taking over a running process: looked at, read, looked at once more, and then a job's.

use std::sync::Arc;

use nix::unistd::{getgid, getuid};

use super::Reactor;
use crate::account::Accounts;
use crate::adoption::{Candidate, NotAdoptable};
use crate::event::Event;
use crate::id::{JobId, Pid};
use crate::limits::MAX_BODY;
use crate::past::{Past, Unread, Wanted};
use crate::spec::{Spec, SpecError};
use crate::stranger::Sight;

impl Reactor {
    /// Begins to take over the process that `spec` names; what it was started with is seen later.
    pub(super) fn begin_to_adopt(&mut self, id: &JobId, spec: &Spec) -> Result<(), NotAdoptable> {
        let Candidate { pid, .. } = self.candidate(spec)?;
        let wire = spec.wire().map_err(|error| unfit(pid.as_raw(), &error.into()))?;
        self.strangers.read(id, pid, Wanted::of(&wire))
    }

    fn candidate(&mut self, spec: &Spec) -> Result<Candidate, NotAdoptable> {
        let pid = spec.adoption.as_ref().map_or(0, |adoption| adoption.pid);
        if Pid::new(pid).is_some_and(|pid| self.spawner.births.has(pid)) {
            // On its way to be a job's, and nothing yet that could be started again.
            return Err(NotAdoptable::NoSuchProcess(pid));
        }
        if self.table.is_ending() {
            return Err(NotAdoptable::Ending);
        }
        let candidate = Candidate::find(pid, |process| self.trees.job_of(process))?;
        if !candidate.is_child {
            self.may_keep().map_err(|errno| NotAdoptable::Unwatched { pid, errno })?;
        }
        Ok(candidate)
    }

    /// Something is seen of a process that init has not started.
    pub fn see(&mut self, sight: Sight) {
        self.see_births();
        match sight {
            Sight::Ended(pid, number) => {
                // init's child by now, and dead: it is reaped as such, and it is known how it ended.
                if let Some(exit) = self.strangers.ended(pid, number) {
                    self.handle(Event::Reaped(pid, exit));
                }
            }
            Sight::Read(id, wanted, past) => {
                let past = *past;
                let Some(spec) = self.table.spec(&id).cloned() else { return };
                let adopted = past
                    .map_err(NotAdoptable::Unread)
                    .and_then(|past| self.adopt(&id, &spec, past, wanted));
                self.handle(adopted.unwrap_or_else(|why| Event::NotAdopted(id, why)));
            }
        }
    }

    fn adopt(
        &mut self,
        id: &JobId,
        spec: &Spec,
        past: Past,
        wanted: Wanted,
    ) -> Result<Event, NotAdoptable> {
        // Much may have happened since the first look.
        let Candidate { pid, process, handle, is_child } = self.candidate(spec)?;
        let spec = completed(spec, past, wanted).map_err(|error| unfit(pid.as_raw(), &error))?;
        if spec.size() > MAX_BODY {
            return Err(NotAdoptable::Unread(Unread::TooLarge(pid.as_raw())));
        }
        let (tree, members) = self.trees.tree_of(&process, pid);
        let others = members.iter().filter(|member| member.pid != pid.as_raw());
        let mut jobs = others.filter_map(|other| self.table.job_of(Pid::new(other.pid)?));
        if let Some(job) = jobs.next() {
            let (pid, job) = (pid.as_raw(), job.clone());
            return Err(NotAdoptable::HasJob { pid, job });
        }
        if !is_child {
            let watched = self.strangers.watch(pid, process.start, handle);
            watched.map_err(|errno| NotAdoptable::Unwatched { pid: pid.as_raw(), errno })?;
        }
        self.trees.adopt(id, &process, tree);
        Ok(Event::Adopted(id.clone(), pid, process.began(), Arc::new(spec)))
    }
}

/// What was asked for, with what was read.
fn completed(spec: &Spec, past: Past, wanted: Wanted) -> Result<Spec, SpecError> {
    let mut wire = spec.wire()?;
    let was_deleted = past.was_deleted;
    past.complete(&mut wire, wanted);
    let names_account = wire.user.is_some() || wire.group.is_some() || wire.groups.is_some();
    let accounts = if names_account && !wanted.reads_account() {
        Accounts::read().map_err(SpecError::account)?
    } else {
        Accounts::default()
    };
    let own = (getuid().as_raw(), getgid().as_raw());
    let mut checked = Spec::check(&wire, &accounts, own)?;
    checked.adoption.clone_from(&spec.adoption);
    if let Some(adoption) = &mut checked.adoption {
        adoption.was_deleted = was_deleted;
    }
    Ok(checked)
}

fn unfit(pid: i32, error: &SpecError) -> NotAdoptable {
    let (field, reason) = (error.field().to_owned(), error.to_string());
    NotAdoptable::Unread(Unread::Unfit { pid, field, reason })
}
