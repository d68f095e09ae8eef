//! The supervisor's part: that the gate's job is as the config says.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{JOB, Step, next, standing, view, wanted};
use crate::admin::wire::AdminView;
use crate::client::InitError;
use crate::collecting;
use crate::event::Event;
use crate::standing::Standing;
use crate::supervise::Supervisor;

/// The pause before init is asked again to start one that it could not start, for want of the port say.
const BREATH: Duration = Duration::from_secs(2);

/// What is known beside its job.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// init has been asked, and has not answered.
    is_changing: bool,
    /// The last change has failed a moment ago.
    rests: bool,
    /// What it said to the last change.
    trouble: Option<String>,
}

impl Supervisor {
    /// Starts or stops it, if it is time. Asked twice, init does it once.
    pub(crate) fn keep_gate(&mut self) {
        if self.gate.is_changing || self.gate.rests {
            return;
        }
        // While all winds down, whoever watches it from afar can do so to the end.
        let wanted = if self.winding_down && self.is_quiet() { None } else { self.wanted_gate() };
        let Some(step) = next(wanted, self.roster.named(JOB)) else { return };
        let spec = match &step {
            Step::Start(spec) => Arc::new((**spec).clone()),
            Step::Stop => match self.roster.named(JOB) {
                Some(job) => Arc::clone(&job.spec),
                None => return,
            },
        };
        self.gate.is_changing = true;
        let (init, tell) = (self.hands.init.clone(), self.hands.tell.clone());
        tokio::spawn(async move {
            let result = match step {
                Step::Start(_) => {
                    info!("starting {JOB}");
                    init.start(JOB, &spec).await
                }
                Step::Stop => {
                    info!("stopping {JOB}");
                    init.end(JOB, &spec).await
                }
            };
            if let Err(error) = &result {
                warn!("{JOB}: {error}");
            }
            drop(tell.send(Event::GateChanged(result)).await);
        });
    }

    fn wanted_gate(&self) -> Option<init_wire::JobSpec> {
        let (place, run) = (&self.fixed.collector, &self.hands.run_dir);
        let logs = collecting::folder(place.folder.as_deref(), &self.settings.logs);
        wanted(place, &self.settings.admin, (run, self.store.folder(), &logs))
    }

    pub(crate) fn gate_changed(&mut self, result: Result<(), InitError>) {
        self.gate.is_changing = false;
        self.gate.trouble = result.err().map(|error| error.to_string());
        if self.gate.trouble.is_some() {
            self.gate.rests = true;
            Self::remind(&self.hands.tell, BREATH, Event::GateRested);
        }
    }

    pub(crate) fn gate_rested(&mut self) {
        self.gate.rests = false;
    }

    /// Has it tried at once: what was in the way may be gone, or is not asked for any more.
    pub(crate) fn try_gate_again(&mut self) {
        self.gate.rests = false;
        self.gate.trouble = None;
    }

    /// How near it is to what the config says.
    pub(crate) fn gate_standing(&self) -> Standing {
        let (wanted, trouble) = (self.wanted_gate(), self.gate.trouble.as_deref());
        standing(&self.settings.admin, wanted.as_ref(), self.roster.named(JOB), trouble)
    }

    /// Whether it is as far as it has to be before bootctl may end.
    pub(crate) fn is_gate_gone(&self) -> bool {
        let ours = self.roster.named(JOB).is_some_and(|job| super::is_ours(&job.spec));
        !self.gate.is_changing && !ours
    }

    pub(crate) fn gate_view(&self) -> Option<AdminView> {
        view(&self.settings.admin, self.roster.named(JOB), self.gate.trouble.as_deref())
    }
}
