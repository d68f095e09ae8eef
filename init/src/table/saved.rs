//! The table from one process to the next, and after a step that was not finished.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Entry, Rules, Table};
use crate::event::{Ending, Ticket};
use crate::id::JobId;
use crate::job::State;
use crate::shutdown::Shutdown;

/// A table as it is written down. What follows from the jobs is not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    jobs: Vec<Entry>,
    starts: u64,
    names: u64,
    changes: u64,
    random: u64,
    shutdown: Shutdown,
    boot_code: u8,
}

impl Saved {
    /// Whether init was ending.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.shutdown.is_going_on()
    }
}

impl Table {
    /// The table, to be written down.
    #[must_use]
    pub fn save(&self) -> Saved {
        Saved {
            jobs: self.jobs.values().map(|entry| Entry::clone(entry)).collect(),
            starts: self.starts,
            names: self.names,
            changes: self.changes,
            random: self.random,
            shutdown: self.shutdown,
            boot_code: self.boot_code,
        }
    }

    /// A table that goes on where another was written down.
    #[must_use]
    pub fn restore(rules: Rules, saved: Saved) -> Self {
        let Saved { jobs, starts, names, changes, random, shutdown, boot_code } = saved;
        let mut table =
            Self { starts, names, changes, random, shutdown, boot_code, ..Self::new(rules) };
        for entry in jobs {
            let job = &entry.job;
            let id = job.id().clone();
            table.specs += job.spec().size();
            table.specs += entry.replaced.as_ref().map_or(0, |old| old.job.spec().size());
            table.live += usize::from(job.is_live());
            table.pids.extend(job.pid().map(|pid| (pid, id.clone())));
            table.timers.extend(job.deadline().map(|at| (at, id.clone())));
            if job.awaits_tree() {
                table.trees.insert(id.clone());
            }
            table.jobs.insert(id, Box::new(entry));
        }
        table
    }

    /// The same jobs, with everything that follows from them found anew: a step that was not finished
    /// may have left it untrue.
    pub fn tidy(&mut self) {
        let (saved, hold) = (self.save(), self.hold);
        *self = Self::restore(self.rules, saved);
        self.hold = hold;
    }

    /// Nobody waits for any job any more.
    pub fn abandon_all(&mut self) {
        for entry in self.jobs.values_mut() {
            entry.job.abandon_all();
            if let Some(replaced) = &mut entry.replaced {
                replaced.job.abandon_all();
            }
        }
    }

    /// The jobs whose process is on its way, and those whose tree is about to be looked at.
    #[must_use]
    pub fn in_between(&self) -> (Vec<JobId>, Vec<JobId>) {
        let (mut starting, mut leaving) = (Vec::new(), Vec::new());
        for (id, entry) in &self.jobs {
            match entry.job.state() {
                State::Spawning(_) => starting.push(id.clone()),
                State::Leaving(_) => leaving.push(id.clone()),
                State::Running(_)
                | State::Stopping(_)
                | State::Backoff { .. }
                | State::Ended { .. } => {}
            }
        }
        (starting, leaving)
    }

    /// Whether the process that a job is to take over is being looked at.
    #[must_use]
    pub fn is_being_adopted(&self, id: &JobId) -> bool {
        let entry = self.jobs.get(id).filter(|entry| entry.order == 0);
        entry.is_some_and(|entry| entry.job.spec().adoption.is_some())
    }

    /// The questions that jobs will answer.
    #[must_use]
    pub fn awaited(&self) -> HashSet<Ticket> {
        let replaced =
            |entry: &Entry| entry.replaced.as_ref().map(|replaced| replaced.job.tickets());
        let of_entry = |entry: &Entry| {
            let replaced = replaced(entry).into_iter().flatten();
            entry.job.tickets().into_iter().chain(replaced).collect::<Vec<_>>()
        };
        self.jobs.values().flat_map(|entry| of_entry(entry)).collect()
    }

    /// How all has ended, if it has.
    #[must_use]
    pub fn over(&self) -> Option<(Ending, u8)> {
        self.shutdown.over().map(|ending| (ending, self.boot_code))
    }
}
