//! An archive on its way from a client to the shelf: the control socket's task passes on pieces, a thread reads
//! them. An archive counts as whole only when its client has said so; one that breaks off is an error to the
//! reader, not an end.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

/// Pieces on their way.
const QUEUE: usize = 8;
/// How long a client may be silent in the middle: while his archive is taken in, the app is nobody else's to deploy.
const SILENCE: Duration = Duration::from_mins(1);

/// What a client sends.
enum Piece {
    Bytes(Bytes),
    End,
    Broken(io::Error),
}

/// The archive, for one reader.
#[derive(Clone)]
pub(crate) struct Archive(Arc<Mutex<Option<Receiver<Piece>>>>);

/// The client's end of it.
pub(crate) struct Source(Sender<Piece>);

/// Reads it, in a thread of its own.
pub(crate) struct Arriving {
    pieces: Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

/// Both ends.
pub(crate) fn channel() -> (Source, Archive) {
    let (to, from) = mpsc::channel(QUEUE);
    (Source(to), Archive(Arc::new(Mutex::new(Some(from)))))
}

impl Archive {
    /// Once.
    pub(crate) fn open(&self) -> Option<Arriving> {
        let pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Arriving { pieces, rest: Bytes::new(), ended: false })
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an archive")
    }
}

impl Source {
    /// Passes on the whole of a body, or as much as is wanted of it.
    pub(crate) async fn pump(self, body: Body) {
        self.pump_unless(body, SILENCE).await;
    }

    async fn pump_unless(self, mut body: Body, silence: Duration) {
        loop {
            let piece = match timeout(silence, body.frame()).await {
                Err(_) => Piece::Broken(silent(silence)),
                Ok(None) => Piece::End,
                Ok(Some(Err(error))) => Piece::Broken(io::Error::other(error)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => Piece::Bytes(bytes),
                    Err(_) => continue,
                },
            };
            let is_last = !matches!(piece, Piece::Bytes(_));
            if self.0.send(piece).await.is_err() || is_last {
                return;
            }
        }
    }
}

fn silent(silence: Duration) -> io::Error {
    let what = format!("nothing has come for {silence:?}, in the middle of it");
    io::Error::new(ErrorKind::TimedOut, what)
}

impl Read for Arriving {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.rest = bytes,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Broken(error)) => return Err(error),
                None => {
                    let what = "whoever sent it has gone in the middle";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, what));
                }
            }
        }
        let count = into.len().min(self.rest.len());
        let (to, rest) = into.split_at_mut(count);
        self.rest.copy_to_slice(to);
        let _ = rest;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    async fn read(source: impl AsyncFnOnce(Source)) -> io::Result<Vec<u8>> {
        let (to, archive) = channel();
        let mut arriving = archive.open().expect("the first time");
        assert!(archive.open().is_none());
        let reader = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            arriving.read_to_end(&mut all).map(|_| all)
        });
        source(to).await;
        reader.await.expect("it does not panic")
    }

    #[tokio::test]
    async fn d08_an_archive_is_whole_only_if_its_end_was_told() {
        let whole = read(async |to| to.pump(Body::from("hello")).await).await;
        assert_eq!(whole.expect("whole"), b"hello");
        let cut = read(async |to| drop(to.0.send(Piece::Bytes("hel".into())).await)).await;
        assert_eq!(cut.expect_err("cut off").kind(), ErrorKind::UnexpectedEof);
        let broken = read(async |to| {
            let failing = [Ok(Bytes::from("hel")), Err(io::Error::other("no"))];
            to.pump(Body::from_stream(futures_util::stream::iter(failing))).await;
        });
        assert!(broken.await.is_err());
    }

    #[tokio::test]
    async fn d08_a_client_that_falls_silent_is_not_waited_for() {
        let silent = read(async |to| {
            let first = futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from("hel"))]);
            let body = Body::from_stream(first.chain(futures_util::stream::pending()));
            to.pump_unless(body, Duration::from_millis(1)).await;
        });
        assert_eq!(silent.await.expect_err("it is not whole").kind(), ErrorKind::TimedOut);
    }
}
