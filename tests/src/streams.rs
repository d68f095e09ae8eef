//! A load over HTTP/2 within TLS whose every request has a fate: bodies that an app sums up, and calls as gRPC makes them,
//! in which each message is said only after the last was answered.
//!
//! Nothing is tried again. Several streams share a connection, which is left for a new one after some requests, and when
//! the other side has said that it goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::Request;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::fates::{Failure, Fates, Kind, LASTS, PATIENCE, PAUSE};
use crate::proxyd::{Random, Trust, checksum, noise};

/// Connections of a kind, and how many streams each has.
const CONNECTIONS: u64 = 2;
const STREAMS: u64 = 4;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Clients that never rest.
pub struct Streams {
    pub fates: Arc<Fates>,
    clients: Vec<JoinHandle<()>>,
}

impl Streams {
    /// Streams to an app that sums up, or to one that takes calls.
    pub fn start(to: SocketAddr, host: &str, kind: Kind, trust: &Trust) -> Streams {
        let fates = Arc::new(Fates::default());
        let trust = trust.forgetful().with(|config| config.alpn_protocols = vec![b"h2".to_vec()]);
        let client = |number: u64| {
            let (host, trust, fates) = (host.to_owned(), trust.clone(), Arc::clone(&fates));
            let connection = Mutex::default();
            let client = Arc::new(Client { to, host, trust, kind, fates, connection });
            thread::spawn(move || client.run(number))
        };
        let clients = (0..CONNECTIONS).map(client).collect();
        Streams { fates, clients }
    }

    /// Lets each finish what it has begun.
    pub fn stop(self) -> Arc<Fates> {
        self.fates.ended(self.clients);
        self.fates
    }
}

struct Client {
    to: SocketAddr,
    host: String,
    trust: Trust,
    kind: Kind,
    fates: Arc<Fates>,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    send: SendRequest<Bytes>,
    since: Instant,
    /// How many requests it is still for.
    left: u32,
}

impl Client {
    fn run(self: Arc<Self>, number: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let stream = |stream| {
                let random = Random(number * STREAMS + stream + 1);
                tokio::spawn(Arc::clone(&self).go_on(random))
            };
            let streams: Vec<_> = (0..STREAMS).map(stream).collect();
            for stream in streams {
                stream.await.expect("no stream panics");
            }
        });
    }

    async fn go_on(self: Arc<Self>, mut random: Random) {
        while !self.fates.is_over() {
            let begun = Instant::now();
            let mut connected = None;
            let done = timeout(PATIENCE, self.one(&mut random, &mut connected)).await;
            let why = match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if let Some(why) = why {
                self.fates.fail(Failure { kind: self.kind, connected, begun, why });
                self.leave(connected).await;
            }
            self.fates.note_time(begun.elapsed());
            sleep(PAUSE).await;
        }
    }

    /// One request with its answer, or one call with all of its messages.
    async fn one(
        &self,
        random: &mut Random,
        connected: &mut Option<Instant>,
    ) -> Result<(), Failed> {
        let Connection { mut send, since, .. } = self.connection().await?;
        *connected = Some(since);
        match self.kind {
            Kind::Call => {
                self.call(&mut send, random).await?;
                self.fates.calls.fetch_add(1, Ordering::SeqCst);
            }
            Kind::Sum | Kind::Get | Kind::Post | Kind::WebSocket => {
                self.sum(&mut send, random).await?;
                self.fates.sums.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// The connection that is there, if it takes requests; else a new one.
    async fn connection(&self) -> Result<Connection, Failed> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_mut().filter(|connection| connection.left > 0) {
            match connection.send.clone().ready().await {
                Ok(send) => {
                    connection.left -= 1;
                    return Ok(Connection { send, ..*connection });
                }
                Err(error) if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) => {
                    self.fates.going_away.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => drop(self.fates.closed_idle.fetch_add(1, Ordering::SeqCst)),
            }
        }
        *kept = None;
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TlsConnector::from(self.trust.config()).connect(name, stream).await?;
        let (send, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(async move { drop(connection.await) });
        self.fates.connections.fetch_add(1, Ordering::SeqCst);
        let connection =
            Connection { send: send.ready().await?, since: Instant::now(), left: LASTS };
        Ok(kept.insert(connection).clone())
    }

    /// Whoever had a failure goes on with a new connection.
    async fn leave(&self, connected: Option<Instant>) {
        let mut kept = self.connection.lock().await;
        if kept.as_ref().is_some_and(|connection| Some(connection.since) == connected) {
            *kept = None;
        }
    }

    /// A body in two pieces, and its sum.
    async fn sum(&self, send: &mut SendRequest<Bytes>, random: &mut Random) -> Result<(), Failed> {
        let body = Bytes::from(noise(random.next(), random.below(30_000)));
        let request =
            Request::post(format!("https://{}/", self.host)).header("content-length", body.len());
        let (answer, mut out) = send.send_request(request.body(())?, false)?;
        out.send_data(body.slice(..body.len() / 2), false)?;
        out.send_data(body.slice(body.len() / 2..), true)?;
        let answer = answer.await?;
        let status = answer.status();
        let mut incoming = answer.into_body();
        let told = read(&mut incoming, usize::MAX).await?;
        if status != 200 || told != format!("{:016x}", checksum(&body)) {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&told)).into());
        }
        Ok(())
    }

    /// Some messages, each said only after the one before was answered, and a status.
    async fn call(&self, send: &mut SendRequest<Bytes>, random: &mut Random) -> Result<(), Failed> {
        let request = Request::post(format!("https://{}/test.Echo/Talk", self.host))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let (answer, mut out) = send.send_request(request.body(())?, false)?;
        let answer = answer.await?;
        let status = answer.status();
        let mut incoming = answer.into_body();
        for _ in 0..=random.below(4) {
            let said = message(random);
            out.send_data(said.clone(), false)?;
            let heard = read(&mut incoming, said.len()).await?;
            if heard != said {
                return Err(format!("{status}: {}", String::from_utf8_lossy(&heard)).into());
            }
        }
        out.send_data(Bytes::new(), true)?;
        let more = read(&mut incoming, usize::MAX).await?;
        let trailers = incoming.trailers().await?;
        let told = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        if !more.is_empty() || told.is_none_or(|told| told != "0") {
            return Err(format!("{status}: {} more bytes, {trailers:?}", more.len()).into());
        }
        Ok(())
    }
}

/// As gRPC frames it: not compressed, and so long.
fn message(random: &mut Random) -> Bytes {
    let words = noise(random.next(), random.below(5_000));
    let length = u32::try_from(words.len()).expect("it is short").to_be_bytes();
    [&[0], &length[..], &words].concat().into()
}

/// What a body holds, up to so many bytes.
async fn read(body: &mut RecvStream, most: usize) -> Result<BytesMut, Failed> {
    let mut told = BytesMut::new();
    while told.len() < most {
        let Some(piece) = body.data().await else { break };
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        told.extend_from_slice(&piece);
    }
    Ok(told)
}
