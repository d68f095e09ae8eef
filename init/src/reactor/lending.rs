//! What init keeps for jobs and passes to their next run: sockets, and what they have stored.

use nix::errno::Errno;
use tracing::warn;

use super::Reactor;
use crate::id::{JobId, Pid};
use crate::listen::Failure;
use crate::notice::Rights;
use crate::process::Process;
use crate::snag::{Obstacle, Snag};
use crate::spawn::Passed;
use crate::spec::Spec;
use crate::store::Order;

/// Generations up to which a process is looked for among a job's descendants.
const MAX_GENERATIONS: u32 = 16;

impl Reactor {
    /// Opens the sockets of a job that is about to be started, and takes what it has stored.
    pub(super) fn lend(&mut self, id: &JobId, spec: &Spec) -> Result<Passed, Failure> {
        let most = self.keepable.saturating_sub(self.kept() - self.keeper.count());
        let lent = self.keeper.lend(&spec.listeners, most, &self.store);
        let mut fds = lent.map_err(|(errno, snag)| (errno, self.explained(spec, snag)))?;
        let mut names: Vec<_> = spec.listeners.iter().map(|listen| listen.name.as_str()).collect();
        // What an ended job has stored is not for another one of its name.
        if spec.store_max > 0 && !self.table.is_another(id) {
            for (fd, name) in self.store.lend(id).take(spec.store_max) {
                fds.push(fd);
                names.push(name);
            }
        }
        Ok(Passed { names: names.join(":"), fds })
    }

    /// The same with the job whose it is.
    fn explained(&self, spec: &Spec, mut snag: Snag) -> Snag {
        match &mut snag.obstacle {
            Some(Obstacle::Opened(_, job)) => {
                let wanted = spec.listeners.iter().find(|l| l.address == snag.address);
                let names = self.table.who_names(|listen| {
                    listen.address == snag.address
                        && wanted.is_none_or(|wanted| wanted.options != listen.options)
                });
                *job = names.cloned();
            }
            Some(Obstacle::Kept(address, job)) => {
                *job = self.table.who_names(|listen| listen.address == *address).cloned();
            }
            Some(Obstacle::Process { pid, job, .. }) => *job = self.job_of(*pid).cloned(),
            Some(Obstacle::Stored(_) | Obstacle::Api | Obstacle::File | Obstacle::Unseen)
            | None => {}
        }
        snag
    }

    /// The job that a process is of, as far as descent from a main process tells.
    fn job_of(&self, mut pid: i32) -> Option<&JobId> {
        for _ in 0..MAX_GENERATIONS {
            if let Some(job) = Pid::new(pid).and_then(|pid| self.table.job_of(pid)) {
                return Some(job);
            }
            pid = Process::read(pid)?.parent;
        }
        None
    }

    /// Whether a descriptor more may be kept for jobs.
    pub(super) fn may_keep(&self) -> Result<(), Errno> {
        if self.kept() < self.keepable { Ok(()) } else { Err(Errno::EMFILE) }
    }

    fn kept(&self) -> usize {
        let lent = self.keeper.count() + self.store.count();
        let streams = self.outputs.count() + self.inputs.count();
        lent + streams + self.ears.count() + self.strangers.count()
    }

    /// Does what one of a job's own messages says of descriptors.
    pub(super) fn store(&mut self, job: &JobId, text: &str, rights: Rights) {
        let Some(order) = Order::read(text) else { return };
        let most = self.table.spec(job).map_or(0, |spec| spec.store_max);
        let spare = self.keepable.saturating_sub(self.kept());
        let left_out = rights.left_out + self.store.obey(job, order, rights.fds, (most, spare));
        if left_out > 0 && self.ears.is_first_excess(job) {
            warn!(
                "job `{job}`: {left_out} descriptors are not stored: it may store {most} \
                 (`fd_store_max`), and init {spare} more"
            );
        }
    }
}
