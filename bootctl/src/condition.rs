//! How one instance is, in words: what init, the probes and those who look after it say.

use std::time::{Duration, Instant};

use init_wire::{Policy, Status};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::admin::wire::InstanceState;
use crate::health::Health;
use crate::job::JobInfo;
use crate::name::InstanceId;
use crate::plan::{Life, Seen};
use crate::roster::Roster;

/// The word for it.
pub(crate) fn state(life: Life, job: &JobInfo) -> InstanceState {
    match life {
        Life::Coming if job.status == Status::Backoff => InstanceState::Backoff,
        Life::Asked | Life::Coming | Life::Running(Health::Unknown | Health::Unready) => {
            InstanceState::Starting
        }
        Life::Running(Health::Ready) => InstanceState::Ready,
        Life::Running(Health::Failing) => InstanceState::Unhealthy,
        Life::Leaving => InstanceState::Stopping,
        Life::Stopped => InstanceState::Stopped,
        Life::Ended if job.status == Status::Success => InstanceState::Stopped,
        Life::Ended if job.spec.restart.policy == Policy::Never => InstanceState::Failed,
        Life::Ended => InstanceState::Fatal,
    }
}

/// One sentence on why it is so.
pub(crate) fn why(id: &InstanceId, seen: &Seen, job: Option<&JobInfo>, roster: &Roster) -> String {
    let Some(job) = job else { return "init is asked to start it".into() };
    let fault = trouble(id, Some(job), roster);
    let ready = seen.life == Life::Running(Health::Ready);
    match (state(seen.life, job), fault) {
        (InstanceState::Ready, Some(fault)) if ready => format!("its last probe failed: {fault}"),
        (InstanceState::Starting, Some(fault)) => format!("not ready yet: {fault}"),
        (InstanceState::Unhealthy, fault) => {
            let fault = fault.unwrap_or_else(|| "it does not answer".into());
            match roster.liveness.due(id) {
                Some(due) => format!("{fault}; it is restarted{}", until(due)),
                None => format!("{fault}; it is not restarted for that"),
            }
        }
        (InstanceState::Backoff, _) => match next_start(job) {
            Some(wait) => format!("{}; it is started again in {}", job.why, seconds(wait)),
            None => job.why.clone(),
        },
        (InstanceState::Fatal, _) => {
            format!("{}; start it again with `bootctl start {}`", job.why, id.app)
        }
        (
            InstanceState::Starting
            | InstanceState::Ready
            | InstanceState::Failed
            | InstanceState::Stopping
            | InstanceState::Stopped,
            _,
        ) => job.why.clone(),
    }
}

/// Why it did not answer when it was last asked.
pub(crate) fn trouble(id: &InstanceId, job: Option<&JobInfo>, roster: &Roster) -> Option<String> {
    let pid = job?.pid?;
    roster.fault(id, pid).map(ToString::to_string)
}

/// How often its process was started anew, by init and on behalf of its health.
pub(crate) fn restarts(id: &InstanceId, job: Option<&JobInfo>, roster: &Roster) -> u32 {
    let by_init = job.map_or(0, |job| job.respawn);
    by_init.saturating_add(roster.liveness.restarts(id))
}

/// How long a job's process has lived.
pub(crate) fn uptime(job: &JobInfo) -> Option<Duration> {
    job.pid?;
    let since = OffsetDateTime::parse(job.started_at.as_deref()?, &Rfc3339).ok()?;
    Duration::try_from(OffsetDateTime::now_utc() - since).ok()
}

fn next_start(job: &JobInfo) -> Option<Duration> {
    let at = OffsetDateTime::parse(job.next_start.as_deref()?, &Rfc3339).ok()?;
    Duration::try_from(at - OffsetDateTime::now_utc()).ok()
}

fn until(due: Instant) -> String {
    match due.saturating_duration_since(Instant::now()) {
        Duration::ZERO => " when it is its turn".into(),
        wait => format!(" in {}", seconds(wait)),
    }
}

fn seconds(wait: Duration) -> String {
    format!("{:.1} s", wait.as_secs_f64())
}
