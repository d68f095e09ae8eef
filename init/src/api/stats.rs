//! `GET /job/{id}/stats` and `GET /jobs/stats`: what jobs use.

use http::StatusCode;
use init_wire::JobStats;
use tokio::sync::Semaphore;

use super::answer::{Answer, Refused, json, list};
use crate::door::Door;
use crate::event::Refusal;
use crate::id::JobId;
use crate::stats;
use crate::tree::Roots;

/// One reads at a time, however many ask, so that between two of its steps everybody else has a
/// turn.
static READING: Semaphore = Semaphore::const_new(1);

/// What a job uses.
pub(super) async fn of_one(door: &Door, job: JobId, pss: bool) -> Result<Answer, Refused> {
    let stats = read(door, Some(&job), pss).await?.pop();
    // It has ended while it was looked at.
    let stats = stats.ok_or(Refusal::Dead(job))?;
    Ok(json(StatusCode::OK, &stats))
}

/// What each job that has processes uses.
pub(super) async fn of_all(door: &Door, pss: bool) -> Result<Answer, Refused> {
    Ok(list(read(door, None, pss).await?))
}

async fn read(door: &Door, only: Option<&JobId>, pss: bool) -> Result<Vec<JobStats>, Refused> {
    let _turn = READING.acquire().await;
    let roots = door.roots(only.cloned()).await??;
    let stats = stats::read(&roots, pss).await;
    // One that has ended meanwhile, or was started again, may have got another's figures.
    let now = door.roots(only.cloned()).await??;
    let mut now = now.iter().peekable();
    let mut is_the_same = |before: &Roots| {
        // Both are in the order of their names.
        while now.next_if(|now| now.job < before.job).is_some() {}
        now.peek().is_some_and(|now| (&now.job, now.leader) == (&before.job, before.leader))
    };
    let both = roots.iter().zip(stats);
    Ok(both.filter(|(roots, _)| is_the_same(roots)).map(|(_, stats)| stats).collect())
}
