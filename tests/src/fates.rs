//! A load whose every request has a fate: GETs and POSTs on connections that are kept, and messages
//! over a `WebSocket`.
//!
//! Nothing is tried again. A client goes on with a new connection after an answer that says so, and after
//! a failure.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::proxyd::websocket::{GOING_AWAY, UPGRADE, frame, read_frame};
use crate::proxyd::{Random, SecureClient, Trust, checksum, noise};

/// How long a request may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between two requests of a client: the load is to be steady, not the most that is possible.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);
/// So many requests a connection within TLS is for, so that there are handshakes all the time.
pub(crate) const LASTS: u32 = 20;

/// A request that was not answered as it has to be.
#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: Kind,
    /// When its connection was there; none if there was none.
    pub connected: Option<Instant>,
    pub begun: Instant,
    pub why: String,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Get,
    Post,
    WebSocket,
    /// Over HTTP/2, a body and its sum.
    Sum,
    /// As gRPC makes it, messages both ways.
    Call,
}

/// What has become of all requests.
#[derive(Debug, Default)]
pub struct Fates {
    pub gets: AtomicU64,
    pub posts: AtomicU64,
    pub messages: AtomicU64,
    pub sums: AtomicU64,
    pub calls: AtomicU64,
    /// How often there was a new connection.
    pub connections: AtomicU64,
    /// How often a `WebSocket` was closed with 1001, or a connection of HTTP/2 told by GOAWAY.
    pub going_away: AtomicU64,
    /// Connections that were closed between two requests.
    pub closed_idle: AtomicU64,
    pub failures: Mutex<Vec<Failure>>,
    /// The longest that an answer took, in microseconds.
    pub longest: AtomicU64,
    over: AtomicBool,
}

impl Fates {
    /// Requests and messages that were answered.
    pub fn answered(&self) -> u64 {
        let all = [&self.gets, &self.posts, &self.messages, &self.sums, &self.calls];
        all.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }

    /// Waits until so many more were answered.
    #[track_caller]
    pub fn go_on(&self, more: u64) {
        let until = self.answered() + more;
        let deadline = Instant::now() + PATIENCE;
        while self.answered() < until && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        let last = self.failures.lock().unwrap().last().cloned();
        assert!(self.answered() >= until, "the load stands still: {last:?}");
    }

    pub(crate) fn fail(&self, failure: Failure) {
        self.failures.lock().unwrap().push(failure);
    }

    pub(crate) fn note_time(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest.fetch_max(took, Ordering::SeqCst);
    }

    /// Whether clients are to come to an end.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Has clients finish what they have begun.
    pub(crate) fn ended(&self, clients: Vec<JoinHandle<()>>) {
        self.over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("no client panics");
        }
    }
}

/// Clients that never rest.
pub struct Load {
    pub fates: Arc<Fates>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients of each kind, in the order of [`Kind`].
    pub fn start(to: SocketAddr, host: &str, counts: [usize; 3]) -> Load {
        Load::start_with(to, host, counts, None)
    }

    /// The same over TLS, by clients that believe somebody.
    pub fn start_secure(to: SocketAddr, host: &str, counts: [usize; 3], trust: &Trust) -> Load {
        Load::start_with(to, host, counts, Some(trust))
    }

    fn start_with(to: SocketAddr, host: &str, counts: [usize; 3], trust: Option<&Trust>) -> Load {
        let fates = Arc::new(Fates::default());
        let mut clients = Vec::new();
        for (kind, count) in [Kind::Get, Kind::Post, Kind::WebSocket].into_iter().zip(counts) {
            for number in 0..count {
                let fates = Arc::clone(&fates);
                let (host, trust) = (host.to_owned(), trust.cloned());
                let random = Random(number as u64 + 1);
                clients.push(thread::spawn(move || {
                    let connection = None;
                    Client { to, host, trust, kind, random, fates, connection, left: 0 }.run();
                }));
            }
        }
        Load { fates, clients }
    }

    /// Waits until so many more were answered.
    #[track_caller]
    pub fn go_on(&self, more: u64) {
        self.fates.go_on(more);
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
    trust: Option<Trust>,
    kind: Kind,
    random: Random,
    fates: Arc<Fates>,
    connection: Option<(Stream, Instant)>,
    /// How many requests the connection is still for, within TLS.
    left: u32,
}

/// Plain, or over TLS.
enum Stream {
    Plain(TcpStream),
    Secure(Box<SecureClient>),
}

impl Stream {
    fn connect(to: SocketAddr, host: &str, trust: Option<&Trust>) -> io::Result<Stream> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        match trust {
            None => Ok(Stream::Plain(stream)),
            Some(trust) => Ok(Stream::Secure(Box::new(trust.over(stream, host)?))),
        }
    }

    /// Whether the other side has closed it, as far as is known here.
    fn has_ended(&mut self) -> bool {
        match self {
            Stream::Plain(stream) => has_ended(stream),
            Stream::Secure(client) => client.has_ended(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Secure(client) => client.stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Secure(client) => client.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Secure(client) => client.stream.flush(),
        }
    }
}

impl Client {
    fn run(mut self) {
        while !self.fates.is_over() {
            let begun = Instant::now();
            if let Err(error) = self.one() {
                let connected = self.connection.take().map(|(_, since)| since);
                let why = error.to_string();
                let failure = Failure { kind: self.kind, connected, begun, why };
                self.fates.fail(failure);
            }
            self.fates.note_time(begun.elapsed());
            thread::sleep(PAUSE);
        }
        if let (Kind::WebSocket, Some((mut stream, _))) = (self.kind, self.connection.take()) {
            drop(stream.write_all(&frame(8, &1000_u16.to_be_bytes(), true)));
        }
    }

    /// One request with its answer, or one message with its echo.
    fn one(&mut self) -> io::Result<()> {
        if self.connection.as_mut().is_some_and(|(stream, _)| stream.has_ended()) {
            self.fates.closed_idle.fetch_add(1, Ordering::SeqCst);
            self.connection = None;
        }
        let is_new = self.connection.is_none();
        if is_new {
            let stream = Stream::connect(self.to, &self.host, self.trust.as_ref())?;
            self.connection = Some((stream, Instant::now()));
            self.fates.connections.fetch_add(1, Ordering::SeqCst);
            self.left = LASTS;
        }
        let Some((stream, _)) = &mut self.connection else { return Ok(()) };
        let host = &self.host;
        let (counted, goes_on) = match self.kind {
            Kind::Get => {
                stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
                (&self.fates.gets, read_answer(stream, checksum(&[]))?)
            }
            Kind::Post => {
                let size = self.random.below(100_000);
                let body = noise(self.random.next(), size);
                let head =
                    format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n");
                // In two pieces, so that some come while their answer is decided about.
                stream.write_all(&[head.as_bytes(), &body[..size / 2]].concat())?;
                stream.write_all(&body[size / 2..])?;
                (&self.fates.posts, read_answer(stream, checksum(&body))?)
            }
            Kind::WebSocket => {
                if is_new {
                    let upgrade = UPGRADE.replace("app.test", host);
                    stream.write_all(format!("GET /ws {upgrade}").as_bytes())?;
                    let head = read_head(stream)?;
                    if !head.starts_with("HTTP/1.1 101 ") {
                        return Err(other(&head));
                    }
                }
                let text = self.random.next().to_be_bytes().repeat(1 + self.random.below(200));
                if message(stream, &text)? {
                    (&self.fates.messages, true)
                } else {
                    (&self.fates.going_away, false)
                }
            }
            Kind::Sum | Kind::Call => return Err(other("there is no HTTP/2 here")),
        };
        counted.fetch_add(1, Ordering::SeqCst);
        self.left = self.left.saturating_sub(1);
        let is_enough = self.left == 0 && self.trust.is_some() && self.kind != Kind::WebSocket;
        if !goes_on || is_enough {
            self.connection = None;
        }
        Ok(())
    }
}

/// Whether the other side has closed it, as far as is known here.
fn has_ended(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let peeked = stream.peek(&mut [0]);
    let open = match &peeked {
        Ok(count) => *count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).is_err() || !open
}

fn other(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

/// Sends a message, and reads its echo. `false`: the other side was going away, and was answered.
fn message(stream: &mut Stream, text: &[u8]) -> io::Result<bool> {
    let sent = stream.write_all(&frame(2, text, true));
    let read = |count| {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let echo = read_frame(read);
    match echo {
        Some((2, echo)) if echo == text => sent.map(|()| true),
        Some((8, code)) if code == GOING_AWAY[2..] => {
            let _ = stream.write_all(&frame(8, &code, true));
            let _ = stream.read(&mut [0; 16]);
            Ok(false)
        }
        Some((opcode, payload)) => Err(other(&format!("frame {opcode}, {} bytes", payload.len()))),
        None => Err(sent.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into())),
    }
}

fn read_head(stream: &mut Stream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Reads an answer that has to say this sum; whether the connection goes on.
fn read_answer(stream: &mut Stream, sum: u64) -> io::Result<bool> {
    let head = read_head(stream)?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    if !head.starts_with("HTTP/1.1 200 ") || body != format!("{sum:016x}").as_bytes() {
        return Err(other(&format!("{head}{}", String::from_utf8_lossy(&body))));
    }
    Ok(!head.contains("Connection: close"))
}
