//! What an administrator asks of single jobs, whoever has started them.

use http::Method;
use init_wire::{Channel, ErrorBody, JobInfo, JobSpec, JobStats};
use serde::de::DeserializeOwned;

use super::{Init, InitError, Output, QUICK, segment};
use crate::errand::{Adoption, Errand};
use crate::http::{Answer, Server};

impl Init {
    /// Sends a signal to a job's main process.
    pub(crate) async fn signal(&self, id: &str, signal: &str) -> Result<(), InitError> {
        let path = format!("/job/{}/sig/{}", segment(id), segment(signal));
        said(&self.ask(Method::PUT, &path, None::<&()>, QUICK).await?)
    }

    /// What a job uses; with `pss`, also its share of the pages that it shares.
    pub(crate) async fn stats_of(&self, id: &str, pss: bool) -> Result<JobStats, InitError> {
        let query = if pss { "?pss" } else { "" };
        let path = format!("/job/{}/stats{query}", segment(id));
        self.read(Method::GET, &path, None::<&()>).await
    }

    /// Lets go of a job's processes alive.
    pub(crate) async fn detach(&self, id: &str) -> Result<JobInfo, InitError> {
        self.read(Method::PUT, &format!("/job/{}/detach", segment(id)), None::<&()>).await
    }

    /// Lets go of a job alive; one that has no process any more is cleared. It is gone afterwards, also if it never was
    /// there.
    pub(crate) async fn let_go(&self, id: &str, spec: &JobSpec) -> Result<(), InitError> {
        let Err(refused) = self.detach(id).await else { return Ok(()) };
        let is_unknown = |error: &InitError| matches!(error, InitError::Refused(body) if body.error == "unknown_job");
        match self.job(id).await {
            Ok(job) if job.pid.is_none() => self.end(id, spec).await,
            Err(error) if is_unknown(&error) => Ok(()),
            Ok(_) | Err(_) => Err(refused),
        }
    }

    /// Makes a running process a job. From afar, the gate says what else that one is.
    pub(crate) async fn adopt(&self, id: &str, adoption: Adoption) -> Result<JobInfo, InitError> {
        if self.is_remote() {
            let path = format!("/job/{}/adopt", segment(id));
            return self.read(Method::PUT, &path, Some(&adoption)).await;
        }
        self.put(id, &adoption.spec()).await
    }

    /// Runs a command as the job `like` runs. From afar, the gate sees to that.
    pub(crate) async fn errand(
        &self,
        id: &str,
        errand: &Errand,
        like: &JobInfo,
    ) -> Result<JobInfo, InitError> {
        if self.is_remote() {
            let path = format!("/job/{}/exec", segment(id));
            return self.read(Method::PUT, &path, Some(errand)).await;
        }
        self.put(id, &errand.spec(like)).await
    }

    fn is_remote(&self) -> bool {
        matches!(self.server, Server::Remote(..))
    }

    /// Starts a job, and answers how it stands.
    pub(crate) async fn put(&self, id: &str, spec: &JobSpec) -> Result<JobInfo, InitError> {
        self.read(Method::PUT, &format!("/job/{}", segment(id)), Some(spec)).await
    }

    /// Clears a job that has ended.
    pub(crate) async fn forget(&self, id: &str) -> Result<(), InitError> {
        let path = format!("/job/{}", segment(id));
        said(&self.ask(Method::DELETE, &path, None::<&()>, QUICK).await?)
    }

    /// What a job has written to a stream. `query` is as init's API has it.
    pub(crate) async fn open_stream(
        &self,
        id: &str,
        stream: Channel,
        query: &str,
    ) -> Result<Output, InitError> {
        let stream = match stream {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
        };
        self.output(&format!("/job/{}/{stream}?{query}", segment(id))).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> Result<T, InitError> {
        let answer = self.ask(method, path, body, QUICK).await?;
        said(&answer)?;
        answer.json().map_err(|error| self.unreachable(error))
    }
}

/// Whatever init refuses, its own words are the best.
fn said(answer: &Answer) -> Result<(), InitError> {
    if answer.status.is_success() {
        return Ok(());
    }
    match answer.json::<ErrorBody>() {
        Ok(body) if answer.status.is_client_error() => Err(InitError::Refused(body)),
        Ok(body) => Err(InitError::Trouble(answer.status, body.message)),
        Err(error) => Err(InitError::Trouble(answer.status, error.to_string())),
    }
}
