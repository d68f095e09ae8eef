//! How the commands ask the supervisor.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::steps::{JSON_LINES, Line, StepView};
use super::wire::Refusal;
use crate::http::{Answer, HttpError, Server};
use crate::release::pack::PackError;
use crate::upload::Upload;

/// How much longer than the supervisor itself a client waits.
const SLACK: Duration = Duration::from_secs(15);

/// A supervisor whose socket is there while nobody listens is being started again by init.
const COMING_BACK: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// A way to the supervisor.
#[derive(Debug)]
pub(crate) struct Client {
    server: Server,
    socket: PathBuf,
}

/// Why a command has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(
        "no supervisor answers on {}: {source}; start one with `bootctl boot` (normally init \
         does), or name its socket with --socket",
        socket.display()
    )]
    Unreachable { socket: PathBuf, source: HttpError },
    #[error("{} may not be used by this user; try it with sudo", .0.display())]
    Forbidden(PathBuf),
    #[error("{}{}{}", .0.message, list(&.0.problems), quote(&.0.log))]
    Refused(Refusal),
    #[error(
        "the supervisor has ended in the middle of this; the next one goes on with it, `bootctl \
         status` shows how far it is"
    )]
    Cut,
    #[error("{0}; nothing was sent")]
    Source(#[from] PackError),
    #[error("the supervisor's answer makes no sense: {0}")]
    Odd(HttpError),
}

fn list(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  " + problem)
}

/// What a failed instance has written, as it has written it.
pub(crate) fn quote(log: &[String]) -> String {
    let head = if log.is_empty() { "" } else { "\nit has written last:" };
    log.iter().fold(head.to_owned(), |text, line| text + "\n  | " + line)
}

/// Who shows progress.
pub(crate) trait Progress {
    /// A line as it came.
    fn raw(&mut self, line: &str);
    fn step(&mut self, step: &StepView);
    /// How long it may be silent before it wants to look at its clock.
    fn next_look(&self) -> Duration;
    fn look(&mut self);
}

impl Client {
    pub(crate) fn at(socket: &Path) -> Self {
        Self { server: Server::Unix(socket.to_owned()), socket: socket.to_owned() }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Duration::ZERO).await
    }

    /// Asks for a change, and hands over each line of its progress. `within` is what the supervisor is
    /// told to wait at most.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        path: &str,
        within: Duration,
        progress: &mut impl Progress,
    ) -> Result<T, ClientError> {
        let path = format!("{path}?timeout_ms={}", within.as_millis());
        let work = async {
            let response = self.reach(|| self.server.put_for(&path, JSON_LINES)).await?;
            if response.status().is_success() {
                return self.follow(response.into_body(), progress).await;
            }
            let answer = Answer::read(response).await.map_err(ClientError::Odd)?;
            let refusal: Refusal = answer.json().map_err(ClientError::Odd)?;
            let status = answer.status.as_u16();
            let line = Line::Failed { status, refusal: refusal.clone() };
            progress.raw(&serde_json::to_string(&line).unwrap_or_default());
            Err(ClientError::Refused(refusal))
        };
        let too_slow = |_| self.unreached(HttpError::TooSlow(within + SLACK));
        timeout(within + SLACK, work).await.map_err(too_slow)?
    }

    async fn follow<T: DeserializeOwned>(
        &self,
        mut body: Incoming,
        progress: &mut impl Progress,
    ) -> Result<T, ClientError> {
        let mut partial = Vec::new();
        loop {
            let now = tokio::select! {
                frame = body.frame() => Some(frame),
                () = sleep(progress.next_look()) => None,
            };
            let Some(frame) = now else {
                progress.look();
                continue;
            };
            let Some(Ok(frame)) = frame else { return Err(ClientError::Cut) };
            let Ok(data) = frame.into_data() else { continue };
            partial.extend_from_slice(&data);
            while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = partial.drain(..=end).collect();
                let parsed = serde_json::from_slice(&line).map_err(odd)?;
                progress.raw(String::from_utf8_lossy(&line).trim_end());
                match parsed {
                    Line::Step(step) => progress.step(&step),
                    Line::Done { answer } => return serde_json::from_value(answer).map_err(odd),
                    Line::Failed { refusal, .. } => return Err(ClientError::Refused(refusal)),
                }
            }
        }
    }

    /// Sends a body as it comes; `within` is what the supervisor is told to wait at most when it has it.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Upload,
        within: Duration,
    ) -> Result<T, ClientError> {
        let path = format!("{path}?timeout_ms={}", within.as_millis());
        let response = self.server.stream(&path, body).await.map_err(|e| self.unreached(e))?;
        Self::judge(&Answer::read(response).await.map_err(ClientError::Odd)?)
    }

    /// Asks for a change without its progress.
    pub(crate) async fn put_with<T: DeserializeOwned>(
        &self,
        path: &str,
        more: &str,
        within: Duration,
    ) -> Result<T, ClientError> {
        let path = format!("{path}?timeout_ms={}{more}", within.as_millis());
        self.ask(Method::PUT, &path, within).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, Duration::ZERO).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        within: Duration,
    ) -> Result<T, ClientError> {
        let work = || self.server.ask(method.clone(), path, None::<&()>, within + SLACK);
        Self::judge(&self.reach(work).await?)
    }

    /// Asks, and once more where a supervisor is coming back.
    async fn reach<A>(
        &self,
        ask: impl AsyncFn() -> Result<A, HttpError>,
    ) -> Result<A, ClientError> {
        let by = Instant::now() + COMING_BACK;
        let asked = loop {
            let asked = ask().await;
            match &asked {
                Err(error) if error.is_refused() && Instant::now() < by => sleep(TRY_AGAIN).await,
                Ok(_) | Err(_) => break asked,
            }
        };
        asked.map_err(|source| self.unreached(source))
    }

    fn unreached(&self, source: HttpError) -> ClientError {
        let socket = self.socket.clone();
        if source.is_forbidden() {
            ClientError::Forbidden(socket)
        } else {
            ClientError::Unreachable { socket, source }
        }
    }

    fn judge<T: DeserializeOwned>(answer: &Answer) -> Result<T, ClientError> {
        if answer.status.is_success() {
            return answer.json().map_err(ClientError::Odd);
        }
        Err(answer.json().map_or_else(ClientError::Odd, ClientError::Refused))
    }
}

fn odd(error: serde_json::Error) -> ClientError {
    ClientError::Odd(HttpError::Json(error))
}
