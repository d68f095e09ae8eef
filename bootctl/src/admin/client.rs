//! How the commands ask the supervisor.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::wire::Refusal;
use crate::http::{HttpError, Server};

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

impl Client {
    pub(crate) fn at(socket: &Path) -> Self {
        Self { server: Server::Unix(socket.to_owned()), socket: socket.to_owned() }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Duration::ZERO).await
    }

    /// `within` is what the supervisor is told to wait at most.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        within: Duration,
    ) -> Result<T, ClientError> {
        let path = format!("{path}?timeout_ms={}", within.as_millis());
        self.ask(Method::PUT, &path, within).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        within: Duration,
    ) -> Result<T, ClientError> {
        let by = Instant::now() + COMING_BACK;
        let asked = loop {
            let asked = self.server.ask(method.clone(), path, None::<&()>, within + SLACK).await;
            match &asked {
                Err(error) if error.is_refused() && Instant::now() < by => sleep(TRY_AGAIN).await,
                Ok(_) | Err(_) => break asked,
            }
        };
        let answer = asked.map_err(|source| {
            let socket = self.socket.clone();
            if source.is_forbidden() {
                ClientError::Forbidden(socket)
            } else {
                ClientError::Unreachable { socket, source }
            }
        })?;
        if answer.status.is_success() {
            return answer.json().map_err(ClientError::Odd);
        }
        Err(answer.json().map_or_else(ClientError::Odd, ClientError::Refused))
    }
}
