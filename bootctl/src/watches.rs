//! Which processes are being probed: every instance that runs, and each in the way that its job says.

use std::collections::BTreeMap;

use tokio::task::AbortHandle;

use crate::condition::uptime;
use crate::event::Event;
use crate::health::{Check, Health, Probe};
use crate::name::InstanceId;
use crate::plan::Wanted;
use crate::probe::{self, Subject, Verdict};
use crate::supervise::Supervisor;

/// One a process.
pub(crate) type Watches = BTreeMap<InstanceId, Watched>;

/// A process that is being probed.
pub(crate) struct Watched {
    pid: u32,
    pub(crate) check: Check,
    task: AbortHandle,
}

impl Supervisor {
    /// Has every process of ours probed, and none that is gone.
    pub(crate) fn watch_processes(&mut self) {
        let processes = self.roster.processes();
        for (_, gone) in self.watches.extract_if(.., |id, _| !processes.contains_key(id)) {
            gone.task.abort();
        }
        for (id, (pid, place, job)) in processes {
            let app = self.wanted.get(&id.app).and_then(Wanted::app);
            let check = app.map_or_else(Check::default, |app| app.health.clone());
            let check = Check { probe: Probe::of(&job.spec), ..check };
            let same = |watched: &Watched| watched.pid == pid && watched.check == check;
            if self.watches.get(&id).is_some_and(same) {
                continue;
            }
            let from = self.roster.health(&id, pid);
            let age = uptime(job).unwrap_or_default();
            let (init, spec) = (self.hands.init.clone(), job.spec.clone());
            let subject = Subject { id: id.clone(), place, spec, age, init };
            let tell = self.hands.tell.clone();
            let whose = id.clone();
            let tell = async move |verdict| {
                tell.send(Event::Health { id: whose.clone(), pid, verdict }).await.is_ok()
            };
            let watch = probe::watch(check.clone(), subject, from, tell);
            let task = tokio::spawn(watch).abort_handle();
            if let Some(before) = self.watches.insert(id, Watched { pid, check, task }) {
                before.task.abort();
            }
        }
    }

    pub(crate) fn unwatch(&mut self, id: &InstanceId) {
        if let Some(watched) = self.watches.remove(id) {
            watched.task.abort();
        }
    }
}

/// A verdict for the log.
pub(crate) fn told(verdict: &Verdict) -> String {
    let fault = verdict.fault.as_ref();
    let word = match verdict.health {
        Health::Unknown => "not known yet",
        Health::Ready if fault.is_some() => "still ready",
        Health::Ready => "ready",
        Health::Unready => "not ready",
        Health::Failing => "failing",
    };
    fault.map_or_else(|| word.to_owned(), |fault| format!("{word}: {fault}"))
}
