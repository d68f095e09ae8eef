//! What clients of the proxies ask for, and what tells that an answer is whole.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

/// A request that is sent again and again.
#[derive(Clone)]
pub struct Ask {
    pub head: Vec<u8>,
    /// Bytes of body that follow the head.
    pub upload: usize,
    /// Bytes of body that the answer has.
    pub download: usize,
    /// The connection is for this one request.
    pub close: bool,
}

impl Ask {
    /// A GET as browsers send it, and 33 bytes of answer.
    pub fn small() -> Ask {
        Ask::small_of("bench.test")
    }

    /// The same of another host.
    pub fn small_of(host: &str) -> Ask {
        Ask { head: head("GET /path?query=1", host, ""), upload: 0, download: 33, close: false }
    }

    /// The same on a connection of its own.
    pub fn once() -> Ask {
        let head = head("GET /path?query=1", "bench.test", "Connection: close\r\n");
        Ask { head, close: true, ..Ask::small() }
    }

    pub fn download(size: usize) -> Ask {
        let head = head(&format!("GET /bytes/{size}"), "bench.test", "");
        Ask { head, download: size, ..Ask::small() }
    }

    /// A file of that name and size.
    pub fn file(name: &str, size: usize) -> Ask {
        let head = head(&format!("GET /{name}"), "bench.test", "");
        Ask { head, download: size, ..Ask::small() }
    }

    pub fn upload(size: usize) -> Ask {
        let length = format!("Content-Length: {size}\r\n");
        Ask { head: head("POST /upload", "bench.test", &length), upload: size, ..Ask::small() }
    }
}

fn head(start: &str, host: &str, fields: &str) -> Vec<u8> {
    format!(
        "{start} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\
         Accept-Encoding: gzip, deflate, br\r\n\
         Cookie: session=0123456789abcdef0123456789abcdef\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// How much of an answer has come.
pub enum Answer {
    Head(Vec<u8>),
    /// So much of the body is still to come.
    Body(usize),
}

/// What a look at a connection found.
#[derive(PartialEq)]
pub enum Came {
    Nothing,
    Whole,
    End,
}

impl Answer {
    pub fn new() -> Answer {
        Answer::Head(Vec::new())
    }

    /// Reads what there is, up to the end of the answer.
    pub fn read(
        &mut self,
        stream: &TcpStream,
        ask: &Ask,
        buffer: &mut [u8],
    ) -> Result<Came, String> {
        loop {
            let (flags, space) = match self {
                Answer::Head(_) => (MsgFlags::MSG_DONTWAIT, buffer.len().min(16384)),
                // TCP throws away what is of no interest without copying it.
                Answer::Body(left) => {
                    (MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC, buffer.len().min(*left))
                }
            };
            let count = match recv(stream.as_raw_fd(), &mut buffer[..space], flags) {
                Ok(0) => return Ok(Came::End),
                Ok(count) => count,
                Err(Errno::EAGAIN) => return Ok(Came::Nothing),
                Err(error) => return Err(format!("read: {error}")),
            };
            let left = match self {
                Answer::Head(begun) if begun.is_empty() => after_head(&buffer[..count], ask)?,
                Answer::Head(begun) => {
                    begun.extend_from_slice(&buffer[..count]);
                    after_head(begun, ask)?
                }
                Answer::Body(left) => Some(*left - count),
            };
            match (left, &mut *self) {
                (Some(0), Answer::Head(begun)) => begun.clear(),
                (Some(0), Answer::Body(_)) => *self = Answer::new(),
                (Some(left), _) => *self = Answer::Body(left),
                (None, Answer::Head(begun)) if begun.is_empty() => {
                    begun.extend_from_slice(&buffer[..count]);
                }
                (None, _) => {}
            }
            if left == Some(0) {
                return Ok(Came::Whole);
            }
        }
    }
}

/// How much of the body is still to come, if the head is there.
pub fn after_head(bytes: &[u8], ask: &Ask) -> Result<Option<usize>, String> {
    if bytes.len() > 12 && !bytes.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(bytes).into_owned());
    }
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let left = ask.download.checked_sub(bytes.len() - end - 4);
    left.map(Some).ok_or_else(|| "there is more than the answer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let ask = Ask::download(3);
        assert_eq!(after_head(b"HTTP/1.1 200 OK\r\nA: b\r\n", &ask), Ok(None));
        assert_eq!(after_head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nab", &ask), Ok(Some(1)));
        assert_eq!(after_head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nabc", &ask), Ok(Some(0)));
        assert!(after_head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nabcd", &ask).is_err());
        assert!(after_head(b"HTTP/1.1 502 Bad Gateway\r\n", &ask).is_err());
    }
}
