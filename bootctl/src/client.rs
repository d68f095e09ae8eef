//! init's job API: nobody else in bootctl knows it.

mod collected;
mod errand;
mod events;
mod jobs;
mod lines;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use init_wire::{Channel, ErrorBody, InitInfo, JobInfo, JobSpec, JobStats, LogLine};
use tokio::sync::Semaphore;

use crate::http::{Answer, HttpError, Server, segment};
use crate::lanes::Lanes;
use crate::socket_file::SocketFileError;
use crate::token::Token;

pub(crate) use collected::{Collected, bytes};
pub(crate) use errand::Aloud;
pub(crate) use events::{News, follow};
pub(crate) use lines::Stream;

/// How many requests are under way at once: init serves a bounded number of connections.
const AT_ONCE: usize = 64;
/// How many starts are under way at once: init makes one process after the other, so that more would only wait
/// there.
const STARTS: usize = 8;
/// How many jobs are run to their end at once, beside that: they may take their time.
const ERRANDS: usize = 32;
/// How long init may take for what needs no waiting.
const QUICK: Duration = Duration::from_secs(30);
/// How much longer than its spec allows a stop may take.
const STOP_SLACK: Duration = Duration::from_secs(30);
/// The longest line of the event stream.
const LONGEST_LINE: usize = 4 << 20;

/// How many characters of a line are told.
const LONGEST_SHOWN: usize = 500;

/// A way to init.
#[derive(Clone, Debug)]
pub(crate) struct Init {
    server: Server,
    lanes: Lanes,
    starts: Lanes,
    slots: Arc<Semaphore>,
    errands: Arc<Semaphore>,
}

/// What becomes of a machine when init has ended all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Poweroff,
    Reboot,
    Halt,
    /// init alone, which is no machine's.
    Exit,
}

/// Why init did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("init at {0} cannot be asked: {1}")]
    Unreachable(String, HttpError),
    #[error("init refused: {}", .0.message)]
    Refused(ErrorBody),
    #[error("{0}")]
    Socket(#[from] SocketFileError),
    #[error("something is in the way: {0}")]
    Conflict(String),
    #[error("init has trouble ({0}): {1}")]
    Trouble(StatusCode, String),
}

impl Init {
    /// init at `address`, asked with a token if there is one.
    pub(crate) fn at(address: SocketAddr, token: Option<&Token>) -> Self {
        Self::through(Server::Tcp(address, token.map(Token::authorization)))
    }

    /// The same by any way there.
    pub(crate) fn through(server: Server) -> Self {
        Self {
            lanes: Lanes::new(server.clone(), AT_ONCE),
            starts: Lanes::new(server.clone(), STARTS),
            server,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            errands: Arc::new(Semaphore::new(ERRANDS)),
        }
    }

    /// Starts a job. It exists afterwards, or nothing has changed.
    pub(crate) async fn start(&self, id: &str, spec: &JobSpec) -> Result<(), InitError> {
        let answer = self.starts.ask(Method::PUT, &format!("/job/{id}"), Some(spec), QUICK).await;
        judge(&answer.map_err(|error| self.unreachable(error))?)
    }

    /// Waits until no job is in line to be started.
    pub(crate) async fn all_started(&self) {
        self.starts.idle().await;
    }

    /// Ends a job's processes and clears it. It is gone afterwards, also if it never was there.
    pub(crate) async fn end(&self, id: &str, spec: &JobSpec) -> Result<(), InitError> {
        let patience = Duration::from_millis(spec.stop.timeout_ms).saturating_add(STOP_SLACK);
        let path = format!("/job/{id}");
        let nothing = None::<&()>;
        let stop = format!("{path}/stop");
        let stopped = self.lanes.ask(Method::PUT, &stop, nothing, patience).await;
        let stopped = stopped.map_err(|error| self.unreachable(error))?;
        if stopped.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        judge(&stopped)?;
        self.clear(id).await
    }

    /// Clears a job that has ended. It is gone afterwards, also if it never was there.
    async fn clear(&self, id: &str) -> Result<(), InitError> {
        let path = format!("/job/{id}");
        let cleared = self.lanes.ask(Method::DELETE, &path, None::<&()>, QUICK).await;
        let cleared = cleared.map_err(|error| self.unreachable(error))?;
        if cleared.status == StatusCode::NOT_FOUND { Ok(()) } else { judge(&cleared) }
    }

    /// Stops a job's processes. The job stays, with how it has ended.
    pub(crate) async fn stop(&self, id: &str, spec: &JobSpec) -> Result<(), InitError> {
        let patience = Duration::from_millis(spec.stop.timeout_ms).saturating_add(STOP_SLACK);
        let path = format!("/job/{id}/stop");
        judge(&self.ask(Method::PUT, &path, None::<&()>, patience).await?)
    }

    /// Stops a job's processes and starts it again.
    pub(crate) async fn restart(&self, id: &str, spec: &JobSpec) -> Result<(), InitError> {
        let patience = Duration::from_millis(spec.stop.timeout_ms).saturating_add(STOP_SLACK);
        let path = format!("/job/{id}/restart");
        judge(&self.ask(Method::PUT, &path, None::<&()>, patience).await?)
    }

    /// Whether init is the first process of a machine.
    pub(crate) async fn is_machine(&self) -> Result<bool, InitError> {
        let answer = self.ask(Method::GET, "/job/init", None::<&()>, QUICK).await?;
        judge(&answer)?;
        let about = answer.json::<InitInfo>().map_err(|error| self.unreachable(error))?;
        Ok(about.machine)
    }

    /// Ends everything, and the machine; done when init has begun.
    pub(crate) async fn end_machine(&self, then: Then) -> Result<(), InitError> {
        let word = match then {
            Then::Poweroff => "poweroff",
            Then::Reboot => "reboot",
            Then::Halt => "halt",
            Then::Exit => "exit",
        };
        let path = format!("/job/init/stop?then={word}");
        judge(&self.ask(Method::PUT, &path, None::<&()>, QUICK).await?)
    }

    /// What all jobs use that have processes.
    pub(crate) async fn stats(&self) -> Result<Vec<JobStats>, InitError> {
        let answer = self.ask(Method::GET, "/jobs/stats", None::<&()>, QUICK).await?;
        judge(&answer)?;
        answer.json().map_err(|error| self.unreachable(error))
    }

    /// How a job is.
    pub(crate) async fn job(&self, id: &str) -> Result<JobInfo, InitError> {
        let path = format!("/job/{}", segment(id));
        let answer = self.ask(Method::GET, &path, None::<&()>, QUICK).await?;
        judge(&answer)?;
        answer.json().map_err(|error| self.unreachable(error))
    }

    /// The last lines of both of a job's streams, in the order in which they came. What is not kept, or
    /// cannot be read, has none.
    pub(crate) async fn last_lines(&self, id: &str, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for stream in ["stdout", "stderr"] {
            let path = format!("/job/{}/{stream}?tail={count}&format=json", segment(id));
            let Ok(answer) = self.ask(Method::GET, &path, None::<&()>, QUICK).await else {
                continue;
            };
            if !answer.status.is_success() {
                continue;
            }
            let lines = answer.body.split(|byte| *byte == b'\n');
            all.extend(lines.filter_map(|line| match serde_json::from_slice(line).ok()? {
                LogLine::Line { time, text, .. } => Some((time, shown(&text))),
                LogLine::Missed { .. } => None,
            }));
        }
        // Those of one moment stay in the order of their stream.
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let beginning = all.len().saturating_sub(count);
        all.split_off(beginning).into_iter().map(|(_, text)| text).collect()
    }

    /// The last lines of what a job has written, and what it writes from now on.
    pub(crate) async fn open_output(&self, id: &str, lines: usize) -> Result<Output, InitError> {
        self.open_stream(id, Channel::Stdout, &format!("follow&tail={lines}")).await
    }

    /// The same from where `output` broke off.
    pub(crate) async fn reopen_output(
        &self,
        id: &str,
        output: &Output,
    ) -> Result<Output, InitError> {
        self.open_stream(id, Channel::Stdout, &format!("follow&from={}", output.at)).await
    }

    async fn output(&self, path: &str) -> Result<Output, InitError> {
        let response = self.server.open(path).await.map_err(|e| self.unreachable(e))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        let Some(at) = number(response.headers(), "output-from") else {
            let what = "it does not say where a job's output begins".to_owned();
            return Err(InitError::Trouble(response.status(), what));
        };
        Ok(Output { body: response.into_body(), at })
    }

    /// Writes to a job.
    pub(crate) async fn write_input(&self, id: &str, bytes: Bytes) -> Result<(), InitError> {
        self.put_input(&format!("/job/{}/stdin", segment(id)), bytes).await
    }

    /// Ends a job's input.
    pub(crate) async fn end_input(&self, id: &str) -> Result<(), InitError> {
        self.put_input(&format!("/job/{}/stdin?close", segment(id)), Bytes::new()).await
    }

    /// What is not written when init becomes another one is the next one's.
    async fn put_input(&self, path: &str, mut bytes: Bytes) -> Result<(), InitError> {
        loop {
            let sent = self.server.put(path, bytes.clone()).await;
            let response = sent.map_err(|e| self.unreachable(e))?;
            if response.status().is_success() {
                return Ok(());
            }
            let written = number(response.headers(), "input-written");
            let written = written.and_then(|count| usize::try_from(count).ok());
            match written.filter(|_| response.status() == StatusCode::SERVICE_UNAVAILABLE) {
                Some(count) => drop(bytes.split_to(count.min(bytes.len()))),
                None => return Err(self.refused(response).await),
            }
        }
    }

    /// Sets the size of a job's window.
    pub(crate) async fn resize(&self, id: &str, rows: u16, cols: u16) -> Result<(), InitError> {
        let path = format!("/job/{}/tty?rows={rows}&cols={cols}", segment(id));
        judge(&self.ask(Method::PUT, &path, None::<&()>, QUICK).await?)
    }

    /// Why an answer is not what was asked for.
    async fn refused(&self, response: http::Response<Incoming>) -> InitError {
        match Answer::read(response).await.and_then(|answer| answer.json()) {
            Ok(body) => InitError::Refused(body),
            Err(error) => self.unreachable(error),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
        within: Duration,
    ) -> Result<Answer, InitError> {
        let _slot = self.slots.acquire().await;
        self.server.ask(method, path, body, within).await.map_err(|e| self.unreachable(e))
    }

    fn unreachable(&self, error: HttpError) -> InitError {
        let address = match &self.server {
            Server::Tcp(address, _) => address.to_string(),
            Server::Unix(path) => path.display().to_string(),
            Server::Remote(remote, _) => remote.address().to_string(),
        };
        InitError::Unreachable(address, error)
    }
}

fn judge(answer: &Answer) -> Result<(), InitError> {
    if answer.status.is_success() {
        return Ok(());
    }
    match answer.json::<ErrorBody>() {
        Ok(body) if answer.status == StatusCode::CONFLICT => Err(InitError::Conflict(body.message)),
        Ok(body) if answer.status.is_client_error() => Err(InitError::Refused(body)),
        Ok(body) => Err(InitError::Trouble(answer.status, body.message)),
        Err(error) => Err(InitError::Trouble(answer.status, error.to_string())),
    }
}

/// A line as it may be shown to an administrator: not longer than he reads, and without what would move
/// his cursor.
fn shown(text: &str) -> String {
    let visible = |c: char| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c };
    text.chars().take(LONGEST_SHOWN).map(visible).collect()
}

/// A number that a header says.
fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// What a job writes.
pub(crate) struct Output {
    body: Incoming,
    /// The offset of what comes next. Where init says that bytes are missing, that counts as if the job
    /// had said it: who goes on from there sees a little twice.
    at: u64,
}

impl Output {
    /// The offset of what comes next.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// What comes next; `None` when the job has ended, an error when it breaks off.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, HttpError>> {
        loop {
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(error.into())),
            };
            if let Ok(bytes) = frame.into_data() {
                self.at += bytes.len() as u64;
                return Some(Ok(bytes));
            }
        }
    }
}
