//! One request to the control socket, which may be cut off at any moment.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::model::Made;
use crate::http::Answer;

/// Longer than any request here waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has come of a request.
#[derive(Debug)]
pub enum Fate {
    /// Nobody listened.
    Unheard,
    /// It was sent, and there was no whole answer.
    CutOff,
    Answered(Answer),
}

pub fn put(socket: &Path, path: &str) -> Fate {
    put_with(socket, path, &[])
}

pub fn put_with(socket: &Path, path: &str, body: &[u8]) -> Fate {
    let Ok(mut stream) = UnixStream::connect(socket) else { return Fate::Unheard };
    let length = body.len();
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: bootctl\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    drop(stream.set_read_timeout(Some(PATIENCE)));
    if stream.write_all(&[request.as_bytes(), body].concat()).is_err() {
        return Fate::CutOff;
    }
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Answer::parse(&bytes).map_or(Fate::CutOff, Fate::Answered),
        Err(_) => Fate::CutOff,
    }
}

impl Fate {
    /// Whether what was asked for is noted, wherever it leads.
    pub fn made(&self) -> Made {
        match self {
            Self::Unheard => Made::Not,
            Self::CutOff => Made::Perhaps,
            Self::Answered(answer) if answer.status == 200 => Made::Surely,
            Self::Answered(_) => match self.error().as_deref() {
                // It goes on, or has been tried.
                Some("timeout" | "failed") => Made::Surely,
                // bootctl ends before it has looked at it, or after.
                Some("ending") => Made::Perhaps,
                _ => Made::Not,
            },
        }
    }

    fn error(&self) -> Option<String> {
        let Self::Answered(answer) = self else { return None };
        let body: Value = serde_json::from_str(&answer.body).ok()?;
        body["error"].as_str().map(str::to_owned)
    }

    /// For the record.
    pub fn told(&self) -> String {
        match self {
            Self::Unheard => "nobody listens".into(),
            Self::CutOff => "cut off".into(),
            Self::Answered(answer) if answer.status == 200 => "done".into(),
            Self::Answered(answer) => {
                let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
                format!("{} {} {}", answer.status, body["error"], body["message"])
            }
        }
    }
}
