//! Clients that ask for an app's page without a pause, and how each answer was.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many there are.
pub(crate) const CLIENTS: usize = 4;
/// Whoever waits longer than that has lost his request.
const PATIENCE: Duration = Duration::from_secs(10);
/// No page of the demo is longer.
const MOST: u64 = 1024 * 1024;

/// What came of all requests so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Those with an answer of 200, by the release that it names.
    pub(crate) answered: BTreeMap<String, u64>,
    /// Those with another answer, or none.
    pub(crate) failed: u64,
    /// What was wrong with the last of them.
    pub(crate) why: Option<String>,
    /// How long an answer took at most.
    pub(crate) longest: Duration,
}

impl Counts {
    /// How many were answered as they should be.
    pub(crate) fn total(&self) -> u64 {
        self.answered.values().sum()
    }

    /// How many of them by that release.
    pub(crate) fn of(&self, release: &str) -> u64 {
        self.answered.get(release).copied().unwrap_or_default()
    }
}

/// The clients. Dropped, they stop.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    enough: AtomicBool,
    counts: Mutex<Counts>,
}

impl Load {
    /// Has them ask `proxy` for `host`.
    pub(crate) fn start(proxy: SocketAddr, host: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = (0..CLIENTS).map(|_| {
            let (shared, host) = (Arc::clone(&shared), host.to_owned());
            thread::spawn(move || ask(&shared, proxy, &host))
        });
        let clients = clients.collect();
        Self { shared, clients }
    }

    /// What came of it so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.lock().clone()
    }

    /// Ends it when each client has its answer.
    pub(crate) fn end(mut self) -> Counts {
        self.stop();
        self.counts()
    }

    fn stop(&mut self) {
        self.shared.enough.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // One that has panicked has asked nobody.
            drop(client.join());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client, on one connection for as long as that is kept open.
fn ask(shared: &Shared, proxy: SocketAddr, host: &str) {
    let wire = format!("GET / HTTP/1.1\r\nHost: {host}:{}\r\n\r\n", proxy.port());
    let mut connection = None;
    while !shared.enough.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = exchange(&mut connection, proxy, &wire);
        let mut counts = shared.lock();
        match answer {
            Ok(release) => {
                *counts.answered.entry(release).or_default() += 1;
                counts.longest = counts.longest.max(asked.elapsed());
            }
            Err(error) => {
                connection = None;
                counts.failed += 1;
                counts.why = Some(error.to_string());
                drop(counts);
                // Where nobody is, asking on at once would only be noise.
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// The release that has answered.
fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    proxy: SocketAddr,
    wire: &str,
) -> io::Result<String> {
    let mut stream = if let Some(stream) = connection.take() {
        stream
    } else {
        let stream = TcpStream::connect_timeout(&proxy, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        BufReader::new(stream)
    };
    stream.get_mut().write_all(wire.as_bytes())?;
    let (mut head, mut length, mut last) = (String::new(), 0, false);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if stream.by_ref().take(MOST).read_line(&mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = head.get(from..).unwrap_or_default().trim().to_ascii_lowercase();
        last |= line == "connection: close";
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| io::Error::other("no length"))?;
        }
    }
    let mut body = Vec::new();
    stream.by_ref().take(u64::min(length, MOST)).read_to_end(&mut body)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    if body.len() as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if !last {
        *connection = Some(stream);
    }
    let body = String::from_utf8_lossy(&body);
    let release = body.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(release.unwrap_or("-").to_owned())
}
