//! Starting a job's process: what it is given, and what has become of it.

use std::sync::Arc;
use std::time::Instant;

use init_wire::{Cgroup as Settings, Channel, JobSpec, Log, Ready};
use nix::errno::Errno;
use tracing::warn;

use super::Reactor;
use crate::birth::Outfit;
use crate::cgroup::{self, Group, Handle};
use crate::clock::Moment;
use crate::event::{DELETED, Event, Fault, Stage};
use crate::id::{JobId, Pid};
use crate::notice::Mouth;
use crate::spawn::{Lent, Passed, shortened};
use crate::spec::Spec;
use crate::stdio::Kept;
use crate::sys::child::Unborn;

impl Reactor {
    /// Whether a child will have exec'ed in a moment, and somebody waits for that. Otherwise it is
    /// seen with whatever happens next.
    #[must_use]
    pub fn expects(&self, now: Instant) -> bool {
        self.spawner.births.are_urgent(now) || self.awaits(self.spawner.births.near(now))
    }

    pub(super) fn awaits<'a>(&self, mut starts: impl Iterator<Item = &'a JobId>) -> bool {
        starts.any(|job| self.is_followed() || self.table.is_start_awaited(job))
    }

    /// Waits for that moment.
    pub fn wait_for_births(&mut self) {
        self.spawner.births.wait();
        self.see_births();
    }

    /// Takes those that are on their way no more.
    pub fn see_births(&mut self) {
        while let Some(event) = self.birth() {
            self.handle(event);
        }
    }

    /// What has become of one of the children that were on their way.
    pub(super) fn birth(&mut self) -> Option<Event> {
        let (outfit, born) = self.spawner.births.take()?;
        Some(match born {
            Ok(pid) => self.born(pid, outfit),
            Err((stage, errno)) => {
                let Outfit { job, exec, group, .. } = outfit;
                self.trees.give_up(group);
                self.ears.stop(&job);
                let fault = Fault { exec, stage, errno, snag: None };
                warn!("job `{job}`: {fault}");
                Event::SpawnFailed(job, fault)
            }
        })
    }

    /// A job has the process that was made for it.
    pub(super) fn born(&mut self, pid: Pid, outfit: Outfit) -> Event {
        let Outfit { job, begun, group, bounds, kept, log, tty, .. } = outfit;
        self.connect(&job, kept, &log, tty);
        // Who had its number has ended.
        self.strangers.forget(pid);
        self.trees.plant(&job, pid, group);
        if let Some(bounds) = bounds {
            self.trees.bound(&job, &bounds);
        }
        Event::Spawned(job, pid, begun)
    }

    /// A new run of the job writes to these, and reads from these, and from no others.
    pub(super) fn connect(&mut self, job: &JobId, kept: Kept, log: &Log, tty: bool) {
        let Kept { stdin, stdout, stderr } = kept;
        for (channel, end) in [(Channel::Stdout, stdout), (Channel::Stderr, stderr)] {
            match end {
                Some(end) => self.outputs.capture(job, channel, log, end),
                None => self.outputs.release(job, channel),
            }
        }
        match stdin {
            Some(end) => self.inputs.keep(job, end, tty),
            None => self.inputs.close(job),
        }
    }

    /// Begins to start a process of the job, with all that is kept for it.
    pub(super) fn start(&mut self, id: &JobId, spec: &Arc<Spec>) -> Result<(), Fault> {
        let wire = spec.wire().map_err(|_| Fault {
            exec: id.to_string(),
            stage: Stage::Prepare,
            errno: Errno::EINVAL,
            snag: None,
        })?;
        let was_deleted = spec.adoption.as_ref().is_some_and(|adoption| adoption.was_deleted);
        let mark = if was_deleted { DELETED } else { "" };
        let exec = format!("{}{mark}", shortened(&wire.exec));
        let passed = match self.lend(id, spec) {
            Ok(passed) => passed,
            Err((errno, snag)) => {
                return Err(Fault { exec, stage: Stage::Listen, errno, snag: Some(snag.into()) });
            }
        };
        self.begin(id, spec, &wire, &exec, &passed).map_err(|(stage, errno)| Fault {
            exec,
            stage,
            errno,
            snag: None,
        })
    }

    pub(super) fn begin(
        &mut self,
        id: &JobId,
        spec: &Arc<Spec>,
        wire: &JobSpec,
        exec: &str,
        passed: &Passed,
    ) -> Result<(), (Stage, Errno)> {
        // What it was heard on before is not this run's.
        self.ears.stop(id);
        if spec.notifies() || spec.ready != Ready::Exec {
            self.may_keep().map_err(|errno| (Stage::Notify, errno))?;
        }
        if Kept::wanted(wire) > 0 {
            let ready = self.may_keep().and_then(|()| self.outputs.prepare());
            ready.map_err(|errno| (Stage::Stdout, errno))?;
        }
        let mouth = Mouth::open(spec).map_err(|errno| (Stage::Notify, errno))?;
        let lent = (passed, &mouth);
        let (mut child, kept, group) = match self.begin_in_group(id, spec, wire, lent) {
            // A group that was used before may have been left in a state that it cannot be in.
            Err((Stage::Clone, Errno::EBUSY | Errno::ENODEV | Errno::EOPNOTSUPP)) => {
                self.begin_in_group(id, spec, wire, lent)
            }
            Err((Stage::Clone, errno)) if self.trees.go_without_groups(errno) => {
                self.begin_in_group(id, spec, wire, lent)
            }
            begun => begun,
        }?;
        if spec.boot.is_some() {
            // It may have init's terminal.
            child.see_through();
        }
        let has_late =
            |settings: &&Settings| settings.settings().any(|(name, _)| name == cgroup::LATE);
        let bounds = wire.cgroup.as_ref().filter(has_late).cloned().map(Box::new);
        // From now on, though it is the job's only when it has exec'ed: it may have a lot to say.
        self.ears.listen(id, mouth);
        let (job, exec, begun) = (id.clone(), exec.to_owned(), Moment::now());
        let (log, tty) = (wire.log.clone(), wire.tty);
        let outfit = Outfit { job, exec, begun, group, bounds, kept, log, tty };
        self.spawner.births.add(child, outfit);
        Ok(())
    }

    pub(super) fn begin_in_group(
        &mut self,
        id: &JobId,
        spec: &Arc<Spec>,
        wire: &JobSpec,
        (passed, mouth): (&Passed, &Mouth),
    ) -> Result<(Unborn, Kept, Option<Group>), (Stage, Errno)> {
        // `boot` stays where init is, whatever that is a part of.
        let taken = match &spec.boot {
            Some(_) => Ok(None),
            None => self.trees.take_group(id, wire.cgroup.as_ref()),
        };
        let (group, handle) = taken.map_err(|errno| (Stage::Cgroup, errno))?.unzip();
        let lent = Lent { passed, mouth, group: handle.as_ref().map(Handle::as_raw) };
        match self.spawner.spawn(spec, wire, &lent) {
            Ok((child, kept)) => Ok((child, kept, group)),
            Err(failure) => {
                self.trees.give_up(group);
                Err(failure)
            }
        }
    }
}
