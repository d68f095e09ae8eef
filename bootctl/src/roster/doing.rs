//! What was asked of init, until its effect is seen: an answer and an event tell of it, in either order.

use std::sync::Arc;

use init_wire::JobSpec;

use super::Roster;
use crate::collecting;
use crate::generation::Generation;
use crate::name::InstanceId;
use crate::place::Place;

/// What was asked about an instance.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    Start {
        place: Place,
        spec: Arc<JobSpec>,
        answered: bool,
    },
    Retire {
        answered: bool,
    },
    /// It is stopped and started again, and its job stays.
    Restart,
}

/// A change of a generation's job, or of the collector's.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Start { spec: Arc<JobSpec>, answered: bool },
    Stop { answered: bool },
}

impl Roster {
    pub(crate) fn starting(&mut self, id: &InstanceId, place: Place, spec: Arc<JobSpec>) {
        self.doing.insert(id.clone(), Doing::Start { place, spec, answered: false });
        self.see(id);
    }

    pub(crate) fn retiring(&mut self, id: &InstanceId) {
        self.doing.insert(id.clone(), Doing::Retire { answered: false });
        self.see(id);
    }

    pub(crate) fn restarting(&mut self, id: &InstanceId) {
        self.doing.insert(id.clone(), Doing::Restart);
        self.see(id);
    }

    /// init has answered a restart. What is known of the process before it is void.
    pub(crate) fn restarted(&mut self, id: &InstanceId) {
        if matches!(self.doing.get(id), Some(Doing::Restart)) {
            self.doing.remove(id);
            self.see(id);
            // It is probed again, also if it is the process that it was.
            self.touch(&id.app);
        }
    }

    /// init has answered a start or a retirement. If it did as asked, its event tells, before or
    /// after this.
    pub(crate) fn answered(&mut self, id: &InstanceId, done: bool) {
        let there = self.jobs.contains_key(&id.to_string());
        match self.doing.get_mut(id) {
            Some(Doing::Start { answered, .. }) if done && !there => *answered = true,
            Some(Doing::Retire { answered }) if done && there => *answered = true,
            Some(_) => {
                self.doing.remove(id);
                self.see(id);
                self.touch(&id.app);
            }
            None => {}
        }
    }

    pub(crate) fn starting_proxy(&mut self, generation: Generation, spec: Arc<JobSpec>) {
        self.changing.insert(generation, Change::Start { spec, answered: false });
        self.see_proxies();
    }

    pub(crate) fn stopping_proxy(&mut self, generation: Generation) {
        self.changing.insert(generation, Change::Stop { answered: false });
        self.see_proxies();
    }

    /// init has answered to a change of a generation's job, as with instances.
    pub(crate) fn proxy_changed(&mut self, generation: Generation, done: bool) {
        match self.changing.get_mut(&generation) {
            Some(Change::Start { answered, .. } | Change::Stop { answered }) if done => {
                *answered = true;
            }
            Some(_) => drop(self.changing.remove(&generation)),
            None => {}
        }
        self.see_proxies();
    }

    pub(crate) fn starting_collector(&mut self, spec: Arc<JobSpec>) {
        self.collecting = Some(Change::Start { spec, answered: false });
        self.see_collector();
    }

    pub(crate) fn stopping_collector(&mut self) {
        self.collecting = Some(Change::Stop { answered: false });
        self.see_collector();
    }

    /// init has answered to a change of the collector's job, as with instances.
    pub(crate) fn collector_changed(&mut self, done: bool) {
        match &mut self.collecting {
            Some(Change::Start { answered, .. } | Change::Stop { answered }) if done => {
                *answered = true;
            }
            Some(_) => self.collecting = None,
            None => {}
        }
        self.see_collector();
    }

    /// An instance's job is there: a start that was answered is over.
    pub(super) fn see_begun(&mut self, id: &InstanceId) {
        if let Some(Doing::Start { answered: true, .. }) = self.doing.get(id) {
            self.doing.remove(id);
        }
    }

    /// Its job is gone: a retirement that was answered is over.
    pub(super) fn see_cleared(&mut self, id: &InstanceId) {
        if let Some(Doing::Retire { answered: true }) = self.doing.get(id) {
            self.doing.remove(id);
        }
    }

    /// init has told all jobs, so the effect of all that it has answered is there.
    pub(super) fn see_answered(&mut self) {
        self.doing.retain(|_, doing| match doing {
            Doing::Start { answered, .. } | Doing::Retire { answered } => !*answered,
            Doing::Restart => true,
        });
        self.changing.retain(|_, change| match change {
            Change::Start { answered, .. } | Change::Stop { answered } => !*answered,
        });
        self.collecting.take_if(|change| match change {
            Change::Start { answered, .. } | Change::Stop { answered } => *answered,
        });
    }

    /// Lets go of changes of the proxy whose effect is there.
    pub(super) fn let_go_of_proxies(&mut self) {
        let jobs = &self.jobs;
        self.changing.retain(|generation, change| {
            let there = jobs.contains_key(&generation.to_string());
            match change {
                Change::Start { answered, .. } => !(*answered && there),
                Change::Stop { answered } => !*answered || there,
            }
        });
    }

    /// The same of the collector.
    pub(super) fn let_go_of_collector(&mut self) {
        let there = self.jobs.contains_key(collecting::JOB);
        self.collecting.take_if(|change| match change {
            Change::Start { answered, .. } => *answered && there,
            Change::Stop { answered } => *answered && !there,
        });
    }
}
