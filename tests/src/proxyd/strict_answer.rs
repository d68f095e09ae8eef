//! A reader of answers that takes what the standard says and proxyd passes on, and nothing else.

/// An answer, as far as two readers must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub used: usize,
    pub until_close: bool,
    /// The names and values of the head, names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// What some bytes are, once the connection is closed behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is cut off.
    Partial,
    Refused(&'static str),
    Whole(Answer),
}

enum No {
    Partial,
    Refused(&'static str),
}

pub fn read(bytes: &[u8], to_head: bool) -> Outcome {
    match answer(bytes, to_head) {
        Ok(answer) => Outcome::Whole(answer),
        Err(No::Partial) => Outcome::Partial,
        Err(No::Refused(why)) => Outcome::Refused(why),
    }
}

/// The line at the front, and what is behind it.
fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), No> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(No::Partial)?;
    let line = bytes[..end].strip_suffix(b"\r").ok_or(No::Refused("a line without CR"))?;
    let control = |&byte: &u8| byte == 0x7f || (byte < 0x20 && byte != b'\t');
    if line.iter().any(control) {
        return Err(No::Refused("a control"));
    }
    Ok((line, &bytes[end + 1..]))
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), No> {
    let colon = line.iter().position(|&b| b == b':').ok_or(No::Refused("no colon"))?;
    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(No::Refused("a name"));
    }
    let mut value = line[colon + 1..].to_vec();
    while matches!(value.last(), Some(b' ' | b'\t')) {
        value.pop();
    }
    while matches!(value.first(), Some(b' ' | b'\t')) {
        value.remove(0);
    }
    Ok((name.to_ascii_lowercase(), value))
}

fn answer(bytes: &[u8], to_head: bool) -> Result<Answer, No> {
    let (first, mut rest) = line(bytes)?;
    let is_11 = first.starts_with(b"HTTP/1.1 ");
    if !is_11 && !first.starts_with(b"HTTP/1.0 ") {
        return Err(No::Refused("a version"));
    }
    let code = first.get(9..12).filter(|code| code.iter().all(u8::is_ascii_digit));
    let code = code.filter(|_| matches!(first.get(12), None | Some(b' ')));
    let status = code.and_then(|code| String::from_utf8_lossy(code).parse().ok());
    let status: u16 = status.filter(|status| *status >= 100).ok_or(No::Refused("a status"))?;
    let mut fields = Vec::new();
    loop {
        let (this, behind) = line(rest)?;
        rest = behind;
        if this.is_empty() {
            break;
        }
        fields.push(field(this)?);
    }
    let all = |name: &str| {
        let values = fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value);
        values.cloned().collect::<Vec<_>>()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let length: Option<usize> = match &lengths[..] {
        [] => None,
        [one] if (1..=18).contains(&one.len()) && one.iter().all(u8::is_ascii_digit) => {
            String::from_utf8_lossy(one).parse().ok()
        }
        _ => return Err(No::Refused("a length")),
    };
    let chunked = match &codings[..] {
        [] => false,
        [one] if is_11 && one.eq_ignore_ascii_case(b"chunked") && lengths.is_empty() => true,
        _ => return Err(No::Refused("a coding")),
    };
    let bodiless = to_head || status < 200 || status == 204 || status == 304;
    let before = rest.len();
    let (body, until_close) = if bodiless {
        (Vec::new(), false)
    } else if chunked {
        (chunks(&mut rest)?, false)
    } else if let Some(length) = length {
        let body = rest.get(..length).ok_or(No::Partial)?.to_vec();
        rest = &rest[length..];
        (body, false)
    } else {
        (std::mem::take(&mut rest).to_vec(), true)
    };
    let used = bytes.len() - before + (before - rest.len());
    Ok(Answer { status, body, used, until_close, fields })
}

fn chunks(rest: &mut &[u8]) -> Result<Vec<u8>, No> {
    let mut body = Vec::new();
    loop {
        let (first, behind) = line(rest)?;
        let size = first.split(|&byte| byte == b';').next().unwrap_or_default();
        let text = String::from_utf8_lossy(size).into_owned();
        let hex = (1..=15).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        let size = hex.then(|| usize::from_str_radix(&text, 16).ok()).flatten();
        let size = size.ok_or(No::Refused("a size"))?;
        *rest = behind;
        if size == 0 {
            break;
        }
        let data = rest.get(..size).ok_or(No::Partial)?;
        let end = rest[size..].get(..2).ok_or(No::Partial)?;
        if end != b"\r\n" {
            return Err(No::Refused("the end of a chunk"));
        }
        body.extend_from_slice(data);
        *rest = &rest[size + 2..];
    }
    loop {
        let (this, behind) = line(rest)?;
        *rest = behind;
        if this.is_empty() {
            return Ok(body);
        }
        field(this)?;
    }
}
