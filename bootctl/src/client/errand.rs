//! A job that is run to its end and cleared: how it has ended, and what it has said last.

use std::time::Duration;

use http::{Method, StatusCode};
use init_wire::{JobInfo, JobSpec, LastExit};

use super::{Init, InitError, judge};
use crate::http::HttpError;

/// How many lines of what it has said are kept.
const LINES: usize = 20;

/// How a job has ended.
#[derive(Debug)]
pub(crate) struct Aloud {
    pub(crate) exit: Option<LastExit>,
    pub(crate) log: Vec<String>,
}

impl Init {
    /// Runs a job to its end and clears it; answers how it ended, or nothing if it took longer and was ended. One
    /// of that name that is left from before is ended first. No more than a number of them run at once.
    pub(crate) async fn run(
        &self,
        id: &str,
        spec: &JobSpec,
        within: Duration,
    ) -> Result<Option<Option<LastExit>>, InitError> {
        let _slot = self.errands.acquire().await;
        let Some(job) = self.see_through(id, spec, within).await? else { return Ok(None) };
        self.clear(id).await?;
        Ok(Some(job.last_exit))
    }

    /// The same, with what it has said last, and without a wait for others. The very same one, if it still runs, is not
    /// ended: its end is waited for.
    pub(crate) async fn run_aloud(
        &self,
        id: &str,
        spec: &JobSpec,
        within: Duration,
    ) -> Result<Option<Aloud>, InitError> {
        let Some(job) = self.see_through(id, spec, within).await? else { return Ok(None) };
        let log = self.last_lines(id, LINES).await;
        self.clear(id).await?;
        Ok(Some(Aloud { exit: job.last_exit, log }))
    }

    /// The job when it has ended; nothing if it took longer: then it is gone.
    async fn see_through(
        &self,
        id: &str,
        spec: &JobSpec,
        within: Duration,
    ) -> Result<Option<JobInfo>, InitError> {
        let path = format!("/job/{id}?wait=exit");
        let put = || self.server.ask(Method::PUT, &path, Some(spec), within);
        let mut answer = put().await;
        if answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::CONFLICT) {
            self.end(id, spec).await?;
            answer = put().await;
        }
        match answer {
            Ok(answer) => {
                judge(&answer)?;
                Ok(Some(answer.json().map_err(|error| self.unreachable(error))?))
            }
            Err(HttpError::TooSlow(_)) => {
                self.end(id, spec).await?;
                Ok(None)
            }
            Err(error) => Err(self.unreachable(error)),
        }
    }
}
