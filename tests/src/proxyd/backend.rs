//! Backends: one thread a connection, and a record of every byte that came.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::socket::{Backlog, listen};

use super::DEADLINE;

/// A request as it came out of the proxy.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The fields behind the body.
    pub trailers: Vec<(String, String)>,
    /// Which connection it came on, from 0.
    pub connection: usize,
}

impl Seen {
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

#[derive(Default)]
struct Record {
    seen: Mutex<Vec<Seen>>,
    /// By connection, every byte.
    raw: Mutex<Vec<Vec<u8>>>,
    open: AtomicUsize,
    stopped: AtomicBool,
    /// A request came that must never come.
    appalled: AtomicBool,
}

/// A server on a free port.
pub struct Backend {
    pub address: SocketAddr,
    record: Arc<Record>,
}

impl Backend {
    /// Reads requests by the book and answers each with what `answer` writes; `false` closes.
    pub fn start<F>(answer: F) -> Backend
    where
        F: Fn(&Seen, &mut TcpStream) -> io::Result<bool> + Send + Sync + 'static,
    {
        Backend::raw(move |mut connection| {
            while let Some(seen) = connection.request() {
                if !matches!(answer(&seen, &mut connection.stream), Ok(true)) {
                    return;
                }
            }
        })
    }

    /// Answers 200 with a fixed body.
    pub fn saying(body: &'static str) -> Backend {
        Backend::start(move |_, out| {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
            Ok(true)
        })
    }

    /// Does with each connection whatever `serve` does.
    pub fn raw<F>(serve: F) -> Backend
    where
        F: Fn(Connection) + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // A burst that finds no room in the queue comes again after seconds, and that would count as the proxy's.
        listen(&listener, Backlog::new(4096).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Record::default());
        let (shared, serve) = (Arc::clone(&record), Arc::new(serve));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(DEADLINE * 3));
                shared.raw.lock().unwrap().push(Vec::new());
                shared.open.fetch_add(1, Ordering::SeqCst);
                let connection =
                    Connection { stream, number, unread: Vec::new(), record: Arc::clone(&shared) };
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(connection));
            }
        });
        Backend { address, record }
    }

    /// Its address as a target has it.
    pub fn target(&self) -> String {
        format!("tcp:{}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().unwrap().clone()
    }

    /// Every byte of each connection.
    pub fn raw_bytes(&self) -> Vec<Vec<u8>> {
        self.record.raw.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.record.raw.lock().unwrap().len()
    }

    pub fn open_connections(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.record.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if !thread::panicking() {
            assert!(!self.record.appalled.load(Ordering::SeqCst), "see the panic of a backend");
        }
    }
}

/// A connection from the proxy.
pub struct Connection {
    pub stream: TcpStream,
    pub number: usize,
    unread: Vec<u8>,
    record: Arc<Record>,
}

impl Connection {
    /// The next request with its body; `None` at the end of the connection.
    ///
    /// It panics at what the proxy must never send: this is the judge.
    pub fn request(&mut self) -> Option<Seen> {
        let mut seen = self.head()?;
        assert!(
            seen.field("transfer-encoding").is_none() || seen.field("content-length").is_none(),
            "ambiguous: {seen:?}"
        );
        if let Some(length) = seen.field("content-length") {
            seen.body = self.read_exact(length.parse().unwrap())?;
        } else if seen.field("transfer-encoding").is_some() {
            loop {
                let size = self.read_until(b"\r\n")?;
                let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap(), 16).unwrap();
                if size == 0 {
                    break;
                }
                let chunk = self.read_exact(size)?;
                assert_eq!(self.read_exact(2)?, b"\r\n");
                seen.body.extend(chunk);
            }
            loop {
                let line = String::from_utf8_lossy(&self.read_until(b"\r\n")?).into_owned();
                if line.is_empty() {
                    break;
                }
                seen.trailers.push(field(&line));
            }
        }
        self.record.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    /// The next request's head only.
    pub fn head(&mut self) -> Option<Seen> {
        let head = self.read_until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.split("\r\n");
        let line: Vec<&str> = lines.next()?.split(' ').collect();
        let [method, target, "HTTP/1.1"] = line[..] else { panic!("request line {line:?}") };
        let fields: Vec<(String, String)> = lines.map(field).collect();
        let seen = Seen {
            method: method.to_owned(),
            target: target.to_owned(),
            fields,
            body: Vec::new(),
            trailers: Vec::new(),
            connection: self.number,
        };
        let hosts = seen.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        assert_eq!(hosts.count(), 1, "hosts: {seen:?}");
        Some(seen)
    }

    pub fn read_exact(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            self.more()?;
        }
        Some(self.unread.drain(..count).collect())
    }

    fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self.unread[from..].windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let bytes = self.unread[..from + at].to_vec();
                self.unread.drain(..from + at + end.len());
                return Some(bytes);
            }
            from = self.unread.len().saturating_sub(end.len());
            self.more()?;
        }
    }

    /// Reads on; `None` at the end.
    pub fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                self.record.raw.lock().unwrap()[self.number].extend_from_slice(&buffer[..count]);
                Some(())
            }
        }
    }

    /// What came and was not taken yet.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("field {line:?}"));
    (name.to_owned(), value.to_owned())
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.record.open.fetch_sub(1, Ordering::SeqCst);
        if thread::panicking() {
            self.record.appalled.store(true, Ordering::SeqCst);
        }
    }
}
