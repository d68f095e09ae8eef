//! `GET /logs`: what `bootctl log` shows, from afar; `DELETE /logs?app=APP` clears one. It is read here, as a command of
//! this machine reads it, in a thread of its own: so the supervisor has nothing to do with it.

use std::fs::File;
use std::io::{self, PipeWriter};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{StatusCode, header};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use crate::admin::refused;
use crate::admin::steps::JSON_LINES;
use crate::command::log::{self, Log, LogError};
use crate::logs::view::View;

/// How much is passed on at once.
const PIECE: usize = 16 << 10;

pub(super) async fn answer(query: &str, clear: bool, folder: &Path, init: SocketAddr) -> Response {
    let (log, view) = match Log::asked(query, clear, folder, init) {
        Ok(asked) => asked,
        Err(error) => {
            return refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_query", &error.to_string());
        }
    };
    let kind = match view {
        View::Json => JSON_LINES,
        View::Plain | View::Screen { .. } => "text/plain; charset=utf-8",
    };
    let head = [(header::CONTENT_TYPE, kind)];
    let (mut pipe, writer) = match pipe() {
        Ok(both) => both,
        Err(error) => {
            let message = format!("logs cannot be passed on: {error}");
            return refused(StatusCode::SERVICE_UNAVAILABLE, "no_pipe", &message);
        }
    };
    let (tell, ended) = oneshot::channel();
    std::thread::spawn(move || {
        // Whoever has left needs no answer.
        drop(tell.send(log::serve(&log, view, File::from(OwnedFd::from(writer)))));
    });
    match piece(&mut pipe).await {
        Some(first) => {
            let rest = stream::unfold((Some(first), pipe), |(first, mut pipe)| async move {
                let piece = match first {
                    Some(first) => first,
                    None => piece(&mut pipe).await?,
                };
                Some((Ok::<_, io::Error>(piece), (None, pipe)))
            });
            (head, Body::from_stream(rest)).into_response()
        }
        None => match ended.await {
            Ok(Ok(())) | Err(_) => (head, StatusCode::OK).into_response(),
            Ok(Err(error @ LogError::Unknown { .. })) => {
                refused(StatusCode::NOT_FOUND, "unknown_app", &error.to_string())
            }
            Ok(Err(error)) => {
                refused(StatusCode::INTERNAL_SERVER_ERROR, "no_logs", &error.to_string())
            }
        },
    }
}

fn pipe() -> io::Result<(Receiver, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((Receiver::from_owned_fd(reader.into())?, writer))
}

/// What comes next; `None` when there is no more.
async fn piece(pipe: &mut Receiver) -> Option<Bytes> {
    let mut bytes = vec![0; PIECE];
    let count = pipe.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
    bytes.truncate(count);
    Some(bytes.into())
}
