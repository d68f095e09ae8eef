//! One request, one connection, one answer: enough of HTTP for the demo to try itself.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Nothing in the demo takes longer than a stop, and a stop is bounded.
const PATIENCE: Duration = Duration::from_secs(20);
/// No answer of the demo is longer.
const MOST: u64 = 4 * 1024 * 1024;

/// A request as curl would send it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `GET` and the like.
    pub(crate) method: &'static str,
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// The host of the URL.
    pub(crate) host: String,
    /// The path of the URL.
    pub(crate) path: String,
    /// A JSON body.
    pub(crate) body: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

impl Request {
    /// Sends it and reads the answer.
    pub(crate) fn send(&self) -> Result<Answer, String> {
        self.exchange().map_err(|e| format!("{self}: {e}"))
    }

    fn exchange(&self) -> Result<Answer, String> {
        let say = |e: std::io::Error| e.to_string();
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).map_err(say)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(say)?;
        stream.write_all(self.wire().as_bytes()).map_err(say)?;
        let mut bytes = Vec::new();
        stream.take(MOST).read_to_end(&mut bytes).map_err(say)?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no end of head")?;
        let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or("the answer has no status")?;
        Ok(Answer { status, body: body.to_owned() })
    }

    fn wire(&self) -> String {
        let Self { method, address, host, path, body } = self;
        let mut wire = format!("{method} {path} HTTP/1.1\r\nHost: {host}:{}\r\n", address.port());
        wire.push_str("User-Agent: demo\r\nAccept: */*\r\nConnection: close\r\n");
        if let Some(body) = body {
            wire.push_str("Content-Type: application/json\r\nContent-Length: ");
            wire.push_str(&body.len().to_string());
            wire.push_str("\r\n");
        }
        wire + "\r\n" + body.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Request {
    /// The same request for curl.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, address, host, path, body } = self;
        write!(f, "curl ")?;
        if *method != "GET" {
            write!(f, "-X {method} ")?;
        }
        if let Some(body) = body {
            write!(f, "-H 'Content-Type: application/json' -d '{body}' ")?;
        }
        write!(f, "http://{host}:{}{path}", address.port())
    }
}
