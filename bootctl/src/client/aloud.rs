//! A job that is run to its end, with what it has said last.

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
    /// Runs a job to its end and clears it; `None` if it took longer and was ended. One of that name that is left from
    /// before is ended first, unless it is the same and still runs: then its end is waited for.
    pub(crate) async fn run_aloud(
        &self,
        id: &str,
        spec: &JobSpec,
        within: Duration,
    ) -> Result<Option<Aloud>, InitError> {
        let path = format!("/job/{id}?wait=exit");
        let put = || self.server.ask(Method::PUT, &path, Some(spec), within);
        let mut answer = put().await;
        if answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::CONFLICT) {
            self.end(id, spec).await?;
            answer = put().await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(HttpError::TooSlow(_)) => {
                self.end(id, spec).await?;
                return Ok(None);
            }
            Err(error) => return Err(self.unreachable(error)),
        };
        judge(&answer)?;
        let job: JobInfo = answer.json().map_err(|error| self.unreachable(error))?;
        let log = self.last_lines(id, LINES).await;
        self.clear(id).await?;
        Ok(Some(Aloud { exit: job.last_exit, log }))
    }
}
