//! A client that sends what it is told and shows what comes back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// From the bytes of one whole answer.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// Whether all of the body is among these bytes of it that it promises. A connection that is reset ends as one that
    /// is closed does, wherever it is.
    fn is_whole(&self, bytes: &[u8]) -> bool {
        let promised = self.header("content-length").and_then(|text| text.parse::<usize>().ok());
        let there = bytes.len().saturating_sub(self.head.len() + "\r\n\r\n".len());
        promised.is_none_or(|length| length == there)
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends `bytes` on a connection of their own and reads to its end.
pub fn raw(to: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// One request with `Connection: close`, and its answer.
#[track_caller]
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let host = if headers.to_ascii_lowercase().contains("host:") {
        String::new()
    } else {
        format!("Host: {to}\r\n")
    };
    let text = format!(
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}{length}\r\n{body}"
    );
    let bytes = raw(to, text.as_bytes()).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
    whole(&bytes, method, path)
}

/// One GET with `Connection: close`, and its answer without the framing of its chunks.
#[track_caller]
pub fn get(to: SocketAddr, path: &str) -> Answer {
    let text = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let bytes = raw(to, text.as_bytes()).unwrap_or_else(|e| panic!("GET {path}: {e}"));
    whole(&unchunked(bytes), "GET", path)
}

#[track_caller]
fn whole(bytes: &[u8], method: &str, path: &str) -> Answer {
    let answer = Answer::parse(bytes).filter(|answer| method == "HEAD" || answer.is_whole(bytes));
    answer.unwrap_or_else(|| {
        panic!("{method} {path}: no whole answer in {:?}", String::from_utf8_lossy(bytes))
    })
}

/// The same bytes of an answer without the framing of its chunks, if its body comes in such.
fn unchunked(answer: Vec<u8>) -> Vec<u8> {
    fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
        let start = bytes.windows(at.len()).position(|window| window == at)?;
        Some((&bytes[..start], &bytes[start + at.len()..]))
    }
    let Some((head, mut rest)) = split(&answer, b"\r\n\r\n") else { return answer };
    if split(&head.to_ascii_lowercase(), b"\r\ntransfer-encoding: chunked").is_none() {
        return answer;
    }
    let mut whole = [head, b"\r\n\r\n"].concat();
    while let Some((size, more)) = split(rest, b"\r\n") {
        let size =
            std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let (chunk, more) = more.split_at(size.expect("a chunk has a size"));
        whole.extend(chunk);
        rest = more.strip_prefix(b"\r\n").expect("a chunk has an end");
    }
    whole
}

/// The same of a `GET` over a way on which answers get lost; `None` for one that has not come, or not whole.
pub fn try_get(to: SocketAddr, path: &str) -> Option<Answer> {
    let text = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let bytes = raw(to, text.as_bytes()).ok()?;
    Answer::parse(&bytes).filter(|answer| answer.is_whole(&bytes))
}

/// A connection that is kept.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("somebody listens");
        stream.set_read_timeout(Some(wait::PATIENCE)).expect("a socket option");
        Self(BufReader::new(stream))
    }

    /// One request and its answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, body);
        self.receive()
    }

    #[track_caller]
    pub fn send(&mut self, method: &str, path: &str, body: &str) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(head.as_bytes()).expect("the connection is open");
    }

    #[track_caller]
    pub fn receive(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).expect("an answer"), 0, "cut off: {head:?}");
        }
        let mut answer = Answer::parse(head.as_bytes()).expect("a whole head");
        let length = answer.header("content-length").map_or(0, |n| n.parse().expect("a number"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a whole body");
        answer.body = String::from_utf8(body).expect("text");
        answer
    }
}

/// An answer's body as it comes.
pub struct Follower(BufReader<TcpStream>);

impl Follower {
    /// Asks for `path`, which is there.
    #[track_caller]
    pub fn start(to: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(to).expect("somebody listens");
        stream.set_read_timeout(Some(wait::PATIENCE)).expect("a socket option");
        // HTTP/1.0: the body has no frames and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("it is open");
        let mut follower = Self(BufReader::new(stream));
        let status = follower.line();
        assert!(status.contains(" 200 "), "{status}");
        while follower.line() != "\r\n" {}
        follower
    }

    /// The next line with its end; an empty one when the answer has ended.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("more of the answer");
        line
    }

    /// The next line's JSON; `None` when the answer has ended.
    #[track_caller]
    pub fn json(&mut self) -> Option<Value> {
        let line = self.line();
        let json = || serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
        (!line.is_empty()).then(json)
    }

    /// All that comes until the answer has ended.
    #[track_caller]
    pub fn rest(mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("more of the answer");
        String::from_utf8_lossy(&rest).into_owned()
    }
}
