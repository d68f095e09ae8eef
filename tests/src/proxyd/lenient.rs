//! A reader of requests that makes the best of everything, in each of the ways in which servers
//! have been found to do it. What proxyd writes must mean the same to all of them.

use super::strict::Request;

/// The habits of one reader, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits(pub u8);

impl Habits {
    /// A bare LF ends a line.
    const LF: u8 = 1;
    /// So does a bare CR.
    const CR: u8 = 2;
    /// A line that starts blank belongs to the one before.
    const FOLDS: u8 = 4;
    /// `_` in a name is `-`, and what is blank or a control around it is nothing.
    const NAMES: u8 = 8;
    /// A length counts even where there are chunks.
    const LENGTH: u8 = 16;
    /// The last of several counts, not the first.
    const LAST: u8 = 32;
    /// Any mention of chunks means chunks.
    const MENTION: u8 = 64;
    /// A number is what looks like one at its beginning.
    const NUMBERS: u8 = 128;

    /// All there are.
    pub fn all() -> impl Iterator<Item = Habits> {
        (0..=u8::MAX).map(Habits)
    }

    fn has(self, habit: u8) -> bool {
        self.0 & habit != 0
    }
}

/// Every request that this reader sees in the bytes of a connection.
pub fn read(bytes: &[u8], habits: Habits) -> Vec<Request> {
    let mut reader = Reader { bytes, at: 0, habits };
    std::iter::from_fn(|| reader.request()).collect()
}

type Fields = Vec<(String, Vec<u8>)>;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    habits: Habits,
}

impl<'a> Reader<'a> {
    /// The next line, wherever this reader thinks that it ends.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        for (at, &byte) in rest.iter().enumerate() {
            let crlf = rest[at..].starts_with(b"\r\n");
            let ends = crlf
                || (byte == b'\n' && self.habits.has(Habits::LF))
                || (byte == b'\r' && self.habits.has(Habits::CR));
            if ends {
                self.at += at + if crlf { 2 } else { 1 };
                return Some(&rest[..at]);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken.to_vec())
    }

    fn request(&mut self) -> Option<Request> {
        let mut line = self.line()?;
        while line.is_empty() {
            line = self.line()?;
        }
        let text = String::from_utf8_lossy(line).into_owned();
        let mut words = text.split_ascii_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next().unwrap_or("").to_owned());
        let fields = self.fields()?;
        let of = |name: &str| {
            let mut values = fields.iter().filter(|(field, _)| field == name).map(|(_, v)| v);
            if self.habits.has(Habits::LAST) { values.next_back() } else { values.next() }
        };
        let host = of("host").map(|host| String::from_utf8_lossy(host).to_lowercase());
        let host = host.unwrap_or_default();
        let name = host.trim_end_matches(|c: char| c.is_ascii_digit());
        let host = name.strip_suffix(':').unwrap_or(&host);
        let host = host.strip_suffix('.').unwrap_or(host).to_owned();
        let chunked = of("transfer-encoding").is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value == b"chunked"
                || self.habits.has(Habits::MENTION) && value.windows(7).any(|w| w == b"chunked")
        });
        let length = of("content-length").and_then(|value| self.number(value, 10));
        let (body, trailers) = match length {
            Some(length) if !chunked || self.habits.has(Habits::LENGTH) => {
                (self.take(length)?, Vec::new())
            }
            _ if chunked => self.chunks()?,
            _ => Default::default(),
        };
        Some(Request { method, target, host, body, trailers, last: false })
    }

    fn fields(&mut self) -> Option<Fields> {
        let mut fields = Fields::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            if self.habits.has(Habits::FOLDS)
                && line[0].is_ascii_whitespace()
                && let Some((_, value)) = fields.last_mut()
            {
                value.extend_from_slice(line);
                continue;
            }
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
            let mut name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            if self.habits.has(Habits::NAMES) {
                name = name.trim_matches(|c: char| c <= ' ').replace('_', "-");
            }
            let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
            fields.push((name, value.to_vec()));
        }
    }

    fn number(&self, text: &[u8], radix: u32) -> Option<usize> {
        let text = String::from_utf8_lossy(text).into_owned();
        if !self.habits.has(Habits::NUMBERS) {
            return usize::from_str_radix(&text, radix).ok();
        }
        let text = text.trim_start().trim_start_matches(['+', '-']).trim_start_matches("0x");
        let end = text.find(|c: char| !c.is_digit(radix)).unwrap_or(text.len());
        Some(usize::from_str_radix(&text[..end], radix).unwrap_or(0))
    }

    fn chunks(&mut self) -> Option<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
            let size = self.number(size, 16)?;
            if size == 0 {
                return Some((body, self.fields()?));
            }
            body.extend(self.take(size)?);
            self.line()?;
        }
    }
}
