//! How the commands ask the supervisor.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use super::steps::{self, JSON_LINES, Line, StepView};
use super::version::{self, VERSION, told_apart};
use super::wire::Refusal;
use crate::account::owners;
use crate::command::JobError;
use crate::http::{Answer, HttpError, Server};
use crate::release::pack::PackError;
use crate::remote::contexts::{ContextError, Contexts};
use crate::remote::host::{Host, Way};
use crate::remote::{RemoteError, remote};
use crate::speech::Unsaid;
use crate::upload::Upload;

/// How much longer than the supervisor itself a client waits.
const SLACK: Duration = Duration::from_secs(15);

/// A supervisor whose socket is there while nobody listens is being started again by init.
const COMING_BACK: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// A way to the supervisor.
#[derive(Debug)]
pub(crate) struct Client {
    way: Way,
    /// As soon as somebody is asked.
    server: OnceCell<Server>,
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
    #[error(transparent)]
    Remote(RemoteError),
    #[error("{0}; `bootctl context list` shows where other machines are")]
    RemoteUnreachable(HttpError),
    #[error("{} cannot be written: {why}; nothing was asked for", path.display())]
    File { path: PathBuf, why: String },
    #[error("{why}; the token {name} is revoked again, as nobody has it")]
    TokenLost { name: String, why: String },
    #[error(
        "{why}; the token {name} is there, nobody has it, and it could not be revoked: {source}; `bootctl generate \
         --revoke {name}` does it"
    )]
    TokenLeft { name: String, why: String, source: Box<ClientError> },
    #[error(
        "{} may not be used by this user: {who} may. Do this as root, with sudo say, or as others may, with --host and \
         a token that `bootctl generate` makes", socket.display()
    )]
    Forbidden { socket: PathBuf, who: String },
    #[error("{}{}{}", .0.message, list(&.0.problems), quote(&.0.log))]
    Refused(Refusal),
    #[error(
        "the supervisor has ended in the middle of this; the next one goes on with it, `bootctl \
         status` shows how far it is"
    )]
    Cut,
    #[error("interrupted; {0}")]
    Left(String),
    #[error("{0}; nothing was sent")]
    Source(#[from] PackError),
    #[error(transparent)]
    Job(#[from] Box<JobError>),
    #[error("this is longer than can be asked for; is a name in it too long?")]
    TooLong,
    #[error("the supervisor's answer makes no sense: {0}")]
    Odd(HttpError),
    #[error(transparent)]
    Unsaid(#[from] Unsaid),
    #[error(
        "{error}; the supervisor is bootctl {theirs}, and this is bootctl {VERSION}: for what only one of them \
         knows, use the same on both sides"
    )]
    Versions { theirs: String, error: Box<ClientError> },
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
    /// Whether what a command has written was shown as it came.
    fn has_echoed(&self) -> bool;
    /// How long it may be silent before it wants to look at its clock.
    fn next_look(&self) -> Duration;
    fn look(&mut self);
    /// That it was shown to the end, where that matters.
    fn end(self: Box<Self>) -> Result<(), Unsaid> {
        Ok(())
    }
}

/// Whom a way leads to, below a path there if it is another machine.
pub(crate) async fn server(way: &Way, below: &'static str) -> Result<Server, ClientError> {
    let usual = Host::default();
    let (host, contexts) = match way {
        Way::Socket(path) => return Ok(Server::Unix(path.clone())),
        Way::Usual(path) => match Contexts::own() {
            Ok(contexts) if contexts.current().is_some() => (&usual, contexts),
            Ok(_) | Err(ContextError::NoHome) => return Ok(Server::Unix(path.clone())),
            Err(error) => return Err(ClientError::Remote(error.into())),
        },
        Way::Remote(host) => {
            (host, Contexts::own().map_err(|error| ClientError::Remote(error.into()))?)
        }
    };
    let remote = remote(host, contexts).await.map_err(ClientError::Remote)?;
    Ok(Server::Remote(Arc::new(remote), below))
}

impl Client {
    pub(crate) fn at(way: &Way) -> Self {
        Self { way: way.clone(), server: OnceCell::new() }
    }

    /// Whom to ask. Another machine is looked for when it is needed.
    async fn server(&self) -> Result<&Server, ClientError> {
        self.server.get_or_try_init(|| server(&self.way, "")).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// Asks for a change, and hands over each line of its progress. `within` is what the supervisor is
    /// told to wait at most.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        path: &str,
        within: Duration,
        progress: &mut dyn Progress,
    ) -> Result<T, ClientError> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}timeout_ms={}", within.as_millis());
        let work = async {
            let server = self.server().await?;
            let response = self.reach(|| server.put_for(&path, JSON_LINES)).await?;
            self.read(response, progress).await
        };
        let too_slow = |_| self.unreached(HttpError::TooSlow(within + SLACK));
        timeout(within + SLACK, work).await.map_err(too_slow)?
    }

    /// Reads an answer that tells its progress, or a refusal.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
        progress: &mut dyn Progress,
    ) -> Result<T, ClientError> {
        let theirs = version::of(response.headers());
        if response.status().is_success() {
            let followed = Self::follow(response.into_body(), progress).await;
            return followed.map_err(|error| told_apart(theirs, error));
        }
        let answer = Answer::read(response).await.map_err(ClientError::Odd)?;
        let error = refused(&answer);
        if let ClientError::Refused(refusal) = &error {
            let line = Line::Failed { status: answer.status.as_u16(), refusal: refusal.clone() };
            progress.raw(&serde_json::to_string(&line).unwrap_or_default());
        }
        Err(told_apart(theirs, error))
    }

    async fn follow<T: DeserializeOwned>(
        mut body: Incoming,
        progress: &mut dyn Progress,
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
                let parsed = steps::read(&line).map_err(odd)?;
                progress.raw(String::from_utf8_lossy(&line).trim_end());
                let Some(known) = parsed else { continue };
                match known {
                    Line::Step(step) => progress.step(&step),
                    Line::Done { answer } => return serde_json::from_value(answer).map_err(odd),
                    Line::Failed { mut refusal, .. } => {
                        if progress.has_echoed() {
                            refusal.log.clear();
                        }
                        return Err(ClientError::Refused(refusal));
                    }
                }
            }
        }
    }

    /// Asks, and hands over the answer as it comes, for as long as it is taken.
    pub(crate) async fn bytes(
        &self,
        method: Method,
        path: &str,
        mut take: impl FnMut(Bytes) -> bool,
    ) -> Result<(), ClientError> {
        let server = self.server().await?;
        let response = self.reach(|| server.begin(method.clone(), path)).await?;
        if !response.status().is_success() {
            let answer = Answer::read(response).await.map_err(ClientError::Odd)?;
            return Err(told_apart(answer.version.clone(), refused(&answer)));
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(ClientError::Cut) };
            if let Ok(data) = frame.into_data()
                && !take(data)
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks for something with a body, and hands over each line of the answer.
    pub(crate) async fn lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        mut take: impl FnMut(T),
    ) -> Result<(), ClientError> {
        let server = self.server().await?;
        let response = self.reach(|| server.put_json(path, body)).await?;
        if !response.status().is_success() {
            let answer = Answer::read(response).await.map_err(ClientError::Odd)?;
            return Err(told_apart(answer.version.clone(), refused(&answer)));
        }
        let theirs = version::of(response.headers());
        let mut body = response.into_body();
        let mut partial = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(ClientError::Cut) };
            let Ok(data) = frame.into_data() else { continue };
            partial.extend_from_slice(&data);
            while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = partial.drain(..=end).collect();
                let line = serde_json::from_slice(&line).map_err(odd);
                take(line.map_err(|error| told_apart(theirs.clone(), error))?);
            }
        }
        Ok(())
    }

    /// Sends a body as it comes; `within` is what the supervisor is told to wait at most when it has it. The
    /// answer begins when all of it was sent.
    pub(crate) async fn send(
        &self,
        path: &str,
        body: Upload,
        within: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        let path = format!("{path}?timeout_ms={}", within.as_millis());
        let server = self.server().await?;
        server.stream_for(&path, JSON_LINES, body).await.map_err(|e| self.unreached(e))
    }

    /// Asks for a change that takes no time.
    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::PUT, path, None::<&()>).await
    }

    /// The same with a body.
    pub(crate) async fn put_value<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        self.ask(Method::PUT, path, Some(value)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> Result<T, ClientError> {
        let server = self.server().await?;
        let work = || server.ask(method.clone(), path, body, SLACK);
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
        if matches!(source, HttpError::Request(_)) {
            return ClientError::TooLong;
        }
        let Some(Server::Unix(socket)) = self.server.get().cloned() else {
            return ClientError::RemoteUnreachable(source);
        };
        if source.is_forbidden() {
            let unseen = |_| "only root and its owner".to_owned();
            let who = fs::metadata(&socket).map_or_else(unseen, |about| owners(about.uid()));
            ClientError::Forbidden { socket, who }
        } else {
            ClientError::Unreachable { socket, source }
        }
    }

    fn judge<T: DeserializeOwned>(answer: &Answer) -> Result<T, ClientError> {
        let judged = if answer.status.is_success() {
            answer.json().map_err(ClientError::Odd)
        } else {
            Err(refused(answer))
        };
        judged.map_err(|error| told_apart(answer.version.clone(), error))
    }
}

/// What is wrong, as an answer says it.
fn refused(answer: &Answer) -> ClientError {
    if answer.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        return ClientError::TooLong;
    }
    answer.json().map_or_else(ClientError::Odd, ClientError::Refused)
}

fn odd(error: serde_json::Error) -> ClientError {
    ClientError::Odd(HttpError::Json(error))
}
