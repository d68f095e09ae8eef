//! A reader of requests that takes what the standard says and proxyd offers, and nothing else.
//!
//! It shares no line with proxyd and is written the other way round: what came is cut into owned
//! parts, and each part is looked at once it is there. Whatever the two do not agree on is a
//! mistake of one of them.

use std::net::Ipv6Addr;

/// A request, as far as two readers must agree on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// A path, or `*`.
    pub target: String,
    /// Without port and trailing dot, in lower case; empty for an old client that names none.
    pub host: String,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// The connection ends with it.
    pub last: bool,
}

/// What some bytes are, from their beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet: more has to come.
    Partial,
    /// Nothing, whatever comes; why.
    Refused(&'static str),
    Whole {
        request: Box<Request>,
        /// How many of the bytes it is.
        used: usize,
    },
}

/// Whose writing is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Anybody's.
    Client,
    /// proxyd's own, which has no variants.
    Proxy,
}

/// How a reader fails.
enum No {
    Partial,
    Refused(&'static str),
}

/// The first request in `bytes`.
pub fn read(bytes: &[u8], hand: Hand) -> Outcome {
    let mut cursor = Cursor { bytes, at: 0 };
    match request(&mut cursor, hand) {
        Ok(request) => Outcome::Whole { request: Box::new(request), used: cursor.at },
        Err(No::Partial) => Outcome::Partial,
        Err(No::Refused(why)) => Outcome::Refused(why),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// The next line without its CR LF, which must be one.
    fn line(&mut self) -> Result<Vec<u8>, No> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or(No::Partial)?;
        self.at += end + 1;
        let mut line = rest[..end].to_vec();
        match line.pop() {
            Some(b'\r') => Ok(line),
            _ => Err(No::Refused("a line without CR")),
        }
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, No> {
        let end = self.at.checked_add(count).ok_or(No::Partial)?;
        let taken = self.bytes.get(self.at..end).ok_or(No::Partial)?.to_vec();
        self.at = end;
        Ok(taken)
    }
}

struct Field {
    name: String,
    value: Vec<u8>,
}

fn request(cursor: &mut Cursor, hand: Hand) -> Result<Request, No> {
    let mut line = cursor.line()?;
    if line.is_empty() && hand == Hand::Client {
        line = cursor.line()?;
    }
    let start = start_line(&line)?;
    let mut fields = Vec::new();
    loop {
        let line = cursor.line()?;
        if line.is_empty() {
            break;
        }
        fields.push(field(&line, hand)?);
        // proxyd adds some of its own.
        if fields.len() > 128 && hand == Hand::Client {
            return Err(No::Refused("too many fields"));
        }
    }
    let head = Head { fields };
    let connection = head.list("connection");
    let known = ["close", "keep-alive", "upgrade"];
    let named = connection.iter().filter(|option| !known.contains(&option.as_str()));
    if named.count() > 128 {
        return Err(No::Refused("too many names"));
    }
    let host = head.host(&start, hand)?;
    let framing = head.framing(start.is_11)?;
    if head.all("expect").any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(No::Refused("an expectation"));
    }
    let has = |option: &str| connection.iter().any(|one| one == option);
    let (body, trailers) = match framing {
        None => (cursor.take(head.length()?)?, Vec::new()),
        Some(Chunked) => chunks(cursor, hand)?,
    };
    Ok(Request {
        method: start.method,
        target: start.path,
        host,
        body,
        trailers,
        last: has("close") || !(start.is_11 || has("keep-alive")),
    })
}

struct StartLine {
    method: String,
    path: String,
    authority: Option<String>,
    is_11: bool,
}

fn start_line(line: &[u8]) -> Result<StartLine, No> {
    let refused = No::Refused("a request line");
    let line = String::from_utf8(line.to_vec()).map_err(|_| No::Refused("bytes in the line"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else { return Err(refused) };
    let is_11 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(No::Refused("a version")),
    };
    if !is_token(method) || method.chars().any(|c| c.is_ascii_lowercase()) {
        return Err(No::Refused("a method"));
    }
    if method == "CONNECT" || method == "TRACE" {
        return Err(No::Refused("a method that is not offered"));
    }
    if target.is_empty() || !target.chars().all(|c| c.is_ascii_graphic() && c != '#') {
        return Err(No::Refused("a target"));
    }
    let lower = target.to_ascii_lowercase();
    let (path, authority) = if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        (target.to_owned(), None)
    } else {
        let scheme = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme));
        let rest = &target[scheme.ok_or(No::Refused("a target's form"))?.len()..];
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.is_empty() || path.starts_with('?') {
            return Err(No::Refused("an address"));
        }
        (path.to_owned(), Some(authority.to_owned()))
    };
    Ok(StartLine { method: method.to_owned(), path, authority, is_11 })
}

fn is_token(text: &str) -> bool {
    let mark = |c: char| "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || mark(c))
}

fn field(line: &[u8], hand: Hand) -> Result<Field, No> {
    let refused = No::Refused("a field");
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return Err(refused) };
    let name = std::str::from_utf8(&line[..colon]).map_err(|_| No::Refused("a field name"))?;
    if !is_token(name) {
        return Err(No::Refused("a field name"));
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = &line[colon + 1..];
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let trimmed = &value[start..end];
    if trimmed.iter().any(|&byte| byte == 0x7f || (byte < 0x20 && byte != b'\t')) {
        return Err(No::Refused("a field value"));
    }
    if hand == Hand::Proxy && (start != 1 || end != value.len() || value[0] != b' ') {
        return Err(No::Refused("a field that is not written as proxyd writes"));
    }
    Ok(Field { name: name.to_ascii_lowercase(), value: trimmed.to_vec() })
}

struct Chunked;

struct Head {
    fields: Vec<Field>,
}

impl Head {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.name == name).map(|field| &field.value[..])
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(|part| String::from_utf8_lossy(part).trim_matches([' ', '\t']).to_lowercase())
            .filter(|part| !part.is_empty())
            .collect()
    }

    fn host(&self, start: &StartLine, hand: Hand) -> Result<String, No> {
        let hosts: Vec<&[u8]> = self.all("host").collect();
        match (&hosts[..], &start.authority) {
            ([_, _, ..], _) => Err(No::Refused("two hosts")),
            ([], _) if start.is_11 => Err(No::Refused("no host")),
            (_, Some(_)) if hand == Hand::Proxy => Err(No::Refused("an absolute target")),
            (hosts, Some(authority)) => {
                for value in hosts {
                    host(value)?;
                }
                host(authority.as_bytes())
            }
            ([b""] | [], None) if !start.is_11 => Ok(String::new()),
            ([value], None) => host(value),
            ([], None) => Err(No::Refused("no host")),
        }
    }

    /// Whether there are chunks; what cannot be framed is refused.
    fn framing(&self, is_11: bool) -> Result<Option<Chunked>, No> {
        let codings: Vec<&[u8]> = self.all("transfer-encoding").collect();
        let lengths = self.all("content-length").count();
        self.length()?;
        match codings[..] {
            [] if lengths <= 1 => Ok(None),
            [coding] if lengths == 0 && is_11 && coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Chunked))
            }
            _ => Err(No::Refused("framing")),
        }
    }

    fn length(&self) -> Result<usize, No> {
        let Some(value) = self.all("content-length").next() else { return Ok(0) };
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = String::from_utf8_lossy(value);
        if !digits || value.len() > 18 {
            return Err(No::Refused("a length"));
        }
        text.parse().map_err(|_| No::Refused("a length"))
    }
}

fn host(value: &[u8]) -> Result<String, No> {
    let refused = No::Refused("a host");
    let text = String::from_utf8(value.to_vec()).map_err(|_| No::Refused("a host"))?;
    let (name, port) = match text.rfind(']') {
        Some(end) if text.starts_with('[') => text.split_at(end + 1),
        _ => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if let Some(port) = port.strip_prefix(':') {
        let digits = port.chars().all(|c| c.is_ascii_digit()) && port.len() <= 5;
        if !digits || (!port.is_empty() && port.parse::<u16>().is_err()) {
            return Err(refused);
        }
    } else if !port.is_empty() {
        return Err(refused);
    }
    if let Some(address) = name.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|a| a.parse::<Ipv6Addr>().ok());
        return address.map(|address| format!("[{address}]")).ok_or(refused);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let has_gap = name.split('.').any(str::is_empty);
    if has_gap || name.len() > 255 || !name.chars().all(fits) {
        return Err(refused);
    }
    Ok(name.to_ascii_lowercase())
}

type Trailers = Vec<(String, Vec<u8>)>;

fn chunks(cursor: &mut Cursor, hand: Hand) -> Result<(Vec<u8>, Trailers), No> {
    let mut body = Vec::new();
    loop {
        // A size that is wrong is wrong before its line is over.
        let line = match cursor.line() {
            Ok(line) => line,
            Err(No::Partial) => {
                size(&cursor.bytes[cursor.at..], hand, false)?;
                return Err(No::Partial);
            }
            Err(refused) => return Err(refused),
        };
        let size = size(&line, hand, true)?;
        if size == 0 {
            break;
        }
        let rest = &cursor.bytes[cursor.at..];
        if !b"\r\n"
            .starts_with(rest.get(size..rest.len().min(size.saturating_add(2))).unwrap_or(b""))
        {
            return Err(No::Refused("the end of a chunk"));
        }
        body.extend(cursor.take(size)?);
        cursor.take(2)?;
    }
    let mut trailers = Vec::new();
    loop {
        let line = cursor.line()?;
        if line.is_empty() {
            return Ok((body, trailers));
        }
        let Field { name, value } = field(&line, hand)?;
        trailers.push((name, value));
    }
}

/// The size at the front of a chunk's first line.
fn size(line: &[u8], hand: Hand, whole: bool) -> Result<usize, No> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let behind = &line[digits..];
    let good = match behind {
        [] => true,
        // A CR whose LF has not come.
        [b'\r'] if !whole => digits > 0,
        [b';', extension @ ..] => {
            let extension =
                if whole { extension } else { extension.strip_suffix(b"\r").unwrap_or(extension) };
            let control = |&byte: &u8| byte == 0x7f || (byte < 0x20 && byte != b'\t');
            digits > 0 && hand == Hand::Client && !extension.iter().any(control)
        }
        _ => false,
    };
    let plain = hand == Hand::Client || !line.starts_with(b"0") || line == b"0";
    if !good || digits > 15 || !plain || (whole && digits == 0) {
        return Err(No::Refused("a chunk size"));
    }
    let text = std::str::from_utf8(&line[..digits]).unwrap_or_default();
    usize::from_str_radix(if text.is_empty() { "0" } else { text }, 16)
        .map_err(|_| No::Refused("a chunk size"))
}
