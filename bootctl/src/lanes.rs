//! Connections that are gone on with while there is more to ask: whoever asks a thousand things opens a few, and
//! as soon as nobody is in line, they are closed. So there is none to go stale, and nothing to wake up for.
//!
//! What is asked here can be asked twice: on a connection that the other end has given up, it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::http::{Answer, HttpError, Server};

/// One connection.
pub(crate) type Lane = SendRequest<Full<Bytes>>;

/// A bounded number of connections to one server.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    server: Server,
    turns: Arc<Semaphore>,
    line: Arc<Mutex<Line>>,
    /// Told when the line is empty.
    idle: Arc<Notify>,
}

/// Who is in line, and what is free.
#[derive(Debug, Default)]
struct Line {
    /// Those that ask or wait for their turn.
    asking: usize,
    free: Vec<Lane>,
}

/// A place in the line.
struct Place<'a>(&'a Lanes);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.0.line();
        line.asking = line.asking.saturating_sub(1);
        let others = line.asking;
        line.free.truncate(others);
        if others == 0 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Lanes {
    /// At most so many at once.
    pub(crate) fn new(server: Server, most: usize) -> Self {
        Self {
            server,
            turns: Arc::new(Semaphore::new(most)),
            line: Arc::default(),
            idle: Arc::default(),
        }
    }

    /// Asks what may be asked twice, and reads the whole answer. The time begins with its turn.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        self.line().asking += 1;
        let _place = Place(self);
        let _turn = self.turns.acquire().await;
        let body = body.map(serde_json::to_vec).transpose()?.map(Bytes::from);
        let request = || self.server.whole(method.clone(), path, body.clone());
        let work = async {
            let free = self.line().free.pop();
            if let Some(mut lane) = free
                && let Ok(answer) = exchange(&mut lane, request()?).await
            {
                self.line().free.push(lane);
                return Ok(answer);
            }
            let mut lane = self.server.connect().await?;
            let answer = exchange(&mut lane, request()?).await?;
            self.line().free.push(lane);
            Ok(answer)
        };
        timeout(within, work).await.unwrap_or(Err(HttpError::TooSlow(within)))
    }

    /// Waits until nobody is in line.
    pub(crate) async fn idle(&self) {
        // First, so that no end of the line is missed.
        let idle = self.idle.notified();
        if self.line().asking > 0 {
            idle.await;
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn exchange(lane: &mut Lane, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
    lane.ready().await?;
    Answer::read(lane.send_request(request).await?).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers so many requests a connection, and counts connections.
    async fn server(requests_each: usize) -> (Server, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    for _ in 0..requests_each {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            match stream.read_u8().await {
                                Ok(byte) => head.push(byte),
                                Err(_) => return,
                            }
                        }
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        drop(stream.write_all(answer).await);
                    }
                });
            }
        });
        (Server::Tcp(address, None), count)
    }

    async fn ask_often(lanes: &Lanes, times: usize) {
        let all: Vec<_> = (0..times)
            .map(|_| {
                let lanes = lanes.clone();
                let second = Duration::from_secs(10);
                tokio::spawn(async move {
                    let nothing = None::<&()>;
                    lanes.ask(Method::PUT, "/", nothing, second).await.map(|answer| answer.body)
                })
            })
            .collect();
        for one in all {
            let body = one.await.expect("no panic").expect("an answer");
            assert_eq!(body, "ok");
        }
    }

    #[tokio::test]
    async fn many_questions_take_few_connections_and_leave_none() {
        let (server, count) = server(usize::MAX).await;
        let lanes = Lanes::new(server, 4);
        ask_often(&lanes, 100).await;
        assert_eq!(count.load(Ordering::SeqCst), 4);
        let line = lanes.line();
        assert_eq!((line.asking, line.free.len()), (0, 0));
    }

    #[tokio::test]
    async fn whoever_waits_for_the_lines_end_waits_for_all_in_it() {
        let (server, count) = server(1).await;
        let lanes = Lanes::new(server, 1);
        lanes.idle().await;
        let asking = tokio::spawn({
            let lanes = lanes.clone();
            async move { ask_often(&lanes, 10).await }
        });
        while lanes.line().asking == 0 {
            tokio::task::yield_now().await;
        }
        lanes.idle().await;
        assert_eq!(count.load(Ordering::SeqCst), 10);
        asking.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_connection_that_the_other_end_gives_up_is_replaced() {
        let (server, count) = server(3).await;
        let lanes = Lanes::new(server, 2);
        ask_often(&lanes, 30).await;
        assert!(count.load(Ordering::SeqCst) >= 10);
    }
}
