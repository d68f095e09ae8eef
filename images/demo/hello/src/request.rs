//! The little of HTTP/1.1 that an app behind a proxy must read.

use std::io::{self, BufRead, Read};

/// The longest head, in bytes.
const HEAD: u64 = 32 * 1024;
/// The longest body that is read to get at the next request.
const BODY: u64 = 1024 * 1024;

/// A request without its body, which the demo has no use for.
pub(crate) struct Request {
    /// `GET` and the like.
    pub(crate) method: String,
    /// Path and query as they were sent.
    pub(crate) target: String,
    /// Names in lower case, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether the connection is to end with the answer.
    pub(crate) wants_close: bool,
}

impl Request {
    /// Reads the next request; `None` when the client has closed between two of them.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = reader.by_ref().take(HEAD);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(target), Some(version)) =
            (words.next(), words.next(), words.next())
        else {
            return Err(malformed("the request line has not three words"));
        };
        let headers = headers(&mut head)?;
        let value = |name| find(&headers, name);
        let wants_close = version == "HTTP/1.0"
            || value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if value("transfer-encoding").is_some() {
            return Err(malformed("the demo reads no chunked body"));
        }
        if let Some(length) = value("content-length") {
            let length: u64 = length.parse().map_err(|_| malformed("bad Content-Length"))?;
            if length > BODY {
                return Err(malformed("the body is too long for a demo"));
            }
            io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        }
        Ok(Some(Self { method, target, headers, wants_close }))
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn headers(head: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(malformed("the head is too long, or cut off"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header has no :"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_after_another_is_read() {
        let mut wire = &b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
            GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"[..];
        let first = Request::read(&mut wire).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/a?b"));
        assert_eq!(first.header("host"), Some("x"));
        let second = Request::read(&mut wire).unwrap().unwrap();
        assert!(!first.wants_close && second.wants_close);
        assert!(Request::read(&mut wire).unwrap().is_none());
    }

    #[test]
    fn nonsense_is_an_error() {
        for wire in ["GET\r\n\r\n", "GET / HTTP/1.1\r\nHost", "GET / HTTP/1.1\r\nx\r\n\r\n"] {
            assert!(Request::read(&mut wire.as_bytes()).is_err(), "{wire:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(40_000));
        assert!(Request::read(&mut long.as_bytes()).is_err());
    }
}
