//! Which processes are being probed: every instance that runs, and each in the way that its job says.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::condition::uptime;
use crate::event::Event;
use crate::health::{Check, Health, Probe};
use crate::name::InstanceId;
use crate::plan::{Wanted, instances_in};
use crate::probe::{self, Subject, Verdict};
use crate::supervise::Supervisor;
use crate::touched::Touched;

/// One a process.
pub(crate) type Watches = BTreeMap<InstanceId, Watched>;

/// A process that is being probed.
pub(crate) struct Watched {
    pid: u32,
    pub(crate) check: Check,
    task: AbortHandle,
}

impl Supervisor {
    /// Has every process of ours probed, and none that is gone: of the apps that were touched.
    pub(crate) fn watch_processes(&mut self, touched: &Touched) {
        let Self { watches, roster, .. } = self;
        let is_gone = |id: &InstanceId, _: &mut Watched| roster.process(id).is_none();
        let gone: Vec<(InstanceId, Watched)> = match touched {
            Touched::All => watches.extract_if(.., is_gone).collect(),
            Touched::Only(apps) => {
                let mut gone = Vec::new();
                for app in apps {
                    gone.extend(watches.extract_if(InstanceId::all_of(app), is_gone));
                }
                gone
            }
        };
        for (_, watched) in gone {
            watched.task.abort();
        }
        let observed = self.roster.observed();
        for (id, seen) in instances_in(touched, &observed) {
            let Some((pid, place, job)) = self.roster.process(id) else { continue };
            let app = self.wanted.get(&id.app).and_then(Wanted::app);
            let check = app.map_or_else(Check::default, |app| app.health.clone());
            let check = Check { probe: Probe::of(&job.spec), ..check };
            let same = |watched: &Watched| watched.pid == pid && watched.check == check;
            if self.watches.get(id).is_some_and(same) {
                continue;
            }
            let from = self.roster.health(id, pid);
            let age = uptime(job).unwrap_or_default();
            let (init, spec) = (self.hands.init.clone(), Arc::clone(&seen.spec));
            let subject = Subject { id: id.clone(), place: place.clone(), spec, age, init };
            let tell = self.hands.tell.clone();
            let whose = id.clone();
            let tell = async move |verdict| {
                tell.send(Event::Health { id: whose.clone(), pid, verdict }).await.is_ok()
            };
            let watch = probe::watch(check.clone(), subject, from, tell);
            let task = tokio::spawn(watch).abort_handle();
            if let Some(before) = self.watches.insert(id.clone(), Watched { pid, check, task }) {
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
