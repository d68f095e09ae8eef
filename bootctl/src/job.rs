//! A job as init tells of it. Its spec is shared by all who have to do with it: the planner, the probes, and
//! whoever stops it.

use std::sync::Arc;

use init_wire::JobSpec;

use crate::app::identify;
use crate::name::InstanceId;
use crate::place::Place;
use crate::probe::asks;

/// One job.
pub(crate) type JobInfo = init_wire::JobInfo<Arc<JobSpec>>;

/// A job, and what it is of ours.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) info: JobInfo,
    pub(crate) role: Role,
}

/// What a job is of ours, which its spec says.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Instance(InstanceId, Place),
    /// It asks the instance of this name.
    Asks(String),
    /// Somebody else's, the proxy, the collector, or a command.
    Other,
}

impl Known {
    /// A job; `before` is what was known of the same one, whose spec it mostly has.
    pub(crate) fn of(told: init_wire::JobInfo, before: Option<&Self>) -> Self {
        let init_wire::JobInfo {
            id,
            status,
            pid,
            last_exit,
            respawn,
            why,
            status_text,
            started_at,
            ended_at,
            next_start,
            spec,
        } = told;
        let known = before.filter(|known| *known.info.spec == spec);
        let (spec, role) = if let Some(known) = known {
            (Arc::clone(&known.info.spec), known.role.clone())
        } else {
            let role = Role::of(&id, &spec);
            (Arc::new(spec), role)
        };
        let info = JobInfo {
            id,
            status,
            pid,
            last_exit,
            respawn,
            why,
            status_text,
            started_at,
            ended_at,
            next_start,
            spec,
        };
        Self { info, role }
    }

    /// Which instance it is, and in which place, if it is one.
    pub(crate) fn instance(&self) -> Option<(&InstanceId, &Place)> {
        match &self.role {
            Role::Instance(id, place) => Some((id, place)),
            Role::Asks(_) | Role::Other => None,
        }
    }
}

impl Role {
    fn of(id: &str, spec: &JobSpec) -> Self {
        match (identify(id, spec), asks(id, spec)) {
            (Some((id, place)), _) => Self::Instance(id, place),
            (None, Some(whom)) => Self::Asks(whom),
            (None, None) => Self::Other,
        }
    }
}
