//! A client that sends exactly what it is given, and reads answers by the book.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use super::DEADLINE;

/// An answer, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The fields behind the body.
    pub trailers: Vec<(String, String)>,
    /// The body came to the end that its head announced.
    pub complete: bool,
}

impl Answer {
    /// Takes apart all that came until the end of the connection.
    pub fn parse(bytes: &[u8]) -> Answer {
        let mut rest = bytes.to_vec();
        take(&mut rest, false, true).unwrap_or_default()
    }

    /// The values of a field, joined.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The error of a JSON error body.
    pub fn error(&self) -> proxyd_wire::ErrorBody {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no error body: {self:?}"))
    }
}

/// A connection to the proxy.
pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    /// As somebody with another address of this machine.
    pub fn connect_from(from: IpAddr, address: SocketAddr) -> Client {
        let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0))).unwrap();
        connect(socket.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
        Client::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what may be refused before it is read.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a GET for `app.test`, and reads its answer.
    pub fn get(&mut self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        self.answer()
    }

    pub fn answer(&mut self) -> Answer {
        self.answer_to(false)
    }

    pub fn answer_to_head(&mut self) -> Answer {
        self.answer_to(true)
    }

    fn answer_to(&mut self, head: bool) -> Answer {
        self.try_answer(head).expect("an answer")
    }

    /// The next answer; an error if the connection ends before its head is complete.
    pub fn try_answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let mut ended = false;
        loop {
            if let Some(answer) = take(&mut self.unread, to_head, ended) {
                return Ok(answer);
            }
            if ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut buffer = vec![0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => ended = true,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => ended = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads exactly so many bytes, past what was read already.
    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let mut buffer = vec![0; 65536];
            let got = self.stream.read(&mut buffer).unwrap();
            assert!(got > 0, "the connection ended after {:?}", self.unread);
            self.unread.extend_from_slice(&buffer[..got]);
        }
        self.unread.drain(..count).collect()
    }

    /// Whether the proxy ends the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => self.unread.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            Ok(_) => false,
        }
    }

    pub fn finish_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Takes one answer off the front, if it is there as a whole, or all there will be.
pub(super) fn take(bytes: &mut Vec<u8>, to_head: bool, ended: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let fields = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, fields, ..Answer::default() };
    let rest = &bytes[end..];
    let mut trailers = Vec::new();
    let (body, used, complete) = if to_head || matches!(status, 100..=199 | 204 | 304) {
        (Vec::new(), 0, true)
    } else if answer.field("transfer-encoding").is_some() {
        chunks(rest, &mut trailers)
    } else if let Some(length) = answer.field("content-length") {
        let length: usize = length.parse().unwrap();
        let used = length.min(rest.len());
        (rest[..used].to_vec(), used, used == length)
    } else {
        (rest.to_vec(), rest.len(), ended)
    };
    if !complete && !ended {
        return None;
    }
    bytes.drain(..end + used);
    answer.body = body;
    answer.trailers = trailers;
    answer.complete = complete;
    Some(answer)
}

fn chunks(bytes: &[u8], trailers: &mut Vec<(String, String)>) -> (Vec<u8>, usize, bool) {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (body, bytes.len(), false);
        };
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            let (used, complete) = take_trailers(&rest[end + 2..], trailers);
            return (body, at + end + 2 + used, complete);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else {
            return (body, bytes.len(), false);
        };
        body.extend_from_slice(chunk);
        at += end + 2 + size;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(other) => panic!("a chunk ends in {other:?}"),
            None => return (body, bytes.len(), false),
        }
    }
}

/// The fields to the empty line; how long they are, and whether it is there.
fn take_trailers(bytes: &[u8], trailers: &mut Vec<(String, String)>) -> (usize, bool) {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (bytes.len(), false);
        };
        at += end + 2;
        if end == 0 {
            return (at, true);
        }
        let line = String::from_utf8_lossy(&rest[..end]);
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("trailer {line:?}"));
        trailers.push((name.to_owned(), value.to_owned()));
    }
}
