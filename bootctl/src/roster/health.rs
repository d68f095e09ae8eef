//! What the probes say of processes.

use super::{Roster, Told};
use crate::health::{Fault, Health};
use crate::name::InstanceId;
use crate::plan::key;
use crate::probe::Verdict;

/// What the probes of a process say.
#[derive(Clone, Debug)]
pub(super) struct Pronounced {
    pid: u32,
    verdict: Verdict,
    /// It was the first that this bootctl has heard of it, and no good news.
    is_doubted: bool,
}

impl Roster {
    /// Notes what a probe of a process says.
    pub(crate) fn judge(&mut self, id: &InstanceId, pid: u32, verdict: Verdict) {
        let before = self.health.get(id).filter(|known| known.pid == pid);
        let was_failing = before.is_some_and(|known| known.verdict.health == Health::Failing);
        let was_doubted = before.is_some_and(|known| known.is_doubted);
        let is_unready = verdict.health == Health::Unready;
        let health = if was_failing && is_unready { Health::Failing } else { verdict.health };
        let is_first = self.health(id, pid) == Health::Unknown;
        let is_doubted = is_unready && (is_first || was_doubted);
        let verdict = Verdict { health, ..verdict };
        self.health.insert(id.clone(), Pronounced { pid, verdict, is_doubted });
        self.see(id);
    }

    /// What is known of a process; forgets what was known of an earlier one.
    pub(crate) fn health(&self, id: &InstanceId, pid: u32) -> Health {
        match self.health.get(id) {
            Some(known) if known.pid == pid => known.verdict.health,
            // Its predecessor was seen, so this one has just begun.
            Some(_) => Health::Unready,
            None => Health::Unknown,
        }
    }

    /// Why the last probe of a process has failed, if it has.
    pub(crate) fn fault(&self, id: &InstanceId, pid: u32) -> Option<&Fault> {
        let known = self.health.get(id).filter(|known| known.pid == pid)?;
        known.verdict.fault.as_ref()
    }

    /// What this bootctl has never seen ready was so before, if a proxy has it as a target.
    pub(crate) fn see_lost(&mut self) {
        let is_open =
            |known: &Pronounced| known.is_doubted && known.verdict.health != Health::Failing;
        let doubted = self.health.iter().filter(|(_, known)| is_open(known));
        let lost: Vec<InstanceId> =
            doubted.map(|(id, _)| id).filter(|id| self.is_target(id)).cloned().collect();
        for id in lost {
            if let Some(known) = self.health.get_mut(&id) {
                known.verdict.health = Health::Failing;
            }
            self.see(&id);
        }
    }

    /// Whether a generation has an instance as a target, in its place.
    fn is_target(&self, id: &InstanceId) -> bool {
        let Some((_, place)) = self.instance(id) else { return false };
        let (key, address) = (key(id), place.address());
        self.told.values().any(|told| match told {
            Told::Table { table, .. } => {
                table.targets.get(&key).is_some_and(|target| target.address == address)
            }
            Told::Asked { .. } => false,
        })
    }
}
