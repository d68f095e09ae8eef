//! Answers as broken and taken-over apps give them, and which of them are none.

/// One answer.
#[derive(Clone, Debug)]
pub struct Vector {
    pub bytes: Vec<u8>,
    /// Why it is refused where others let it pass.
    pub stricter: Option<&'static str>,
}

impl Vector {
    /// As it is shown when something is wrong with it.
    pub fn show(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.bytes).chars().take(100).collect();
        format!("{text:?}")
    }
}

const ONE_LENGTH: &str = "a length that is no plain number, or is there twice, is read in two ways";
const ONE_CODING: &str = "only `chunked` is taken off, so only it can be read the same before us";
const BOTH: &str = "who sends a length and chunks lets two readers cut the answer in two places";
const CRLF: &str = "a bare LF or CR ends a line for some readers and for others not";
const PLAIN_FIELD: &str = "RFC 9110, 5: a field is a token, a colon and a value without controls";
const PLAIN_STATUS: &str = "RFC 9112, 4: a version that is one of two, a blank, three digits";
const IN_TIME: &str = "what is known to be wrong before the head goes is told, not cut";
const BOUND: &str = "a bound of this proxy, which others have elsewhere";
const NO_OLD: &str = "HTTP/0.9 has no head: anything at all would be an answer";

fn family(reason: &'static str, texts: &[&str]) -> Vec<Vector> {
    let vector = |text: &&str| Vector { bytes: text.as_bytes().to_vec(), stricter: Some(reason) };
    texts.iter().map(vector).collect()
}

fn long(text: String) -> Vector {
    Vector { bytes: text.into_bytes(), stricter: Some(BOUND) }
}

/// Those that are none.
pub fn refused() -> Vec<Vector> {
    let mut all = [lengths(), codings(), lines(), fields(), status_lines(), interim()].concat();
    all.push(Vector { bytes: b"\x15\x03\x01\x00\x02\x02\x16\n".to_vec(), stricter: Some(NO_OLD) });
    all.push(long(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000))));
    all.push(long(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(200))));
    all.push(long(format!("HTTP/1.1 200 OK\r\nConnection: {}\r\n\r\n", "a,".repeat(200))));
    all
}

fn lengths() -> Vec<Vector> {
    family(
        ONE_LENGTH,
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        ],
    )
}

fn codings() -> Vec<Vector> {
    let both = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    ];
    let codings = [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    let chunks = ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"];
    [family(BOTH, &both), family(ONE_CODING, &codings), family(IN_TIME, &chunks)].concat()
}

fn lines() -> Vec<Vector> {
    family(
        CRLF,
        &[
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
            "HTTP/1.1 200 OK\rContent-Length: 2\r\rok\r\n",
            "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
        ],
    )
}

fn fields() -> Vec<Vector> {
    family(
        PLAIN_FIELD,
        &[
            "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX\0: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n\r\n",
        ],
    )
}

fn status_lines() -> Vec<Vector> {
    let lines = [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 000 None\r\n\r\n",
        "HTTP/1.1 1000 High\r\n\r\n",
        "HTTP/1.1 2000 High\r\n\r\n",
        "HTTP/1.1 2OO Letters\r\n\r\n",
        "HTTP/1.1 abc Letters\r\n\r\n",
        "HTTP/1.1 +20 Sign\r\n\r\n",
        "HTTP/1.1 -20 Sign\r\n\r\n",
        "HTTP/1.1 20.0 Point\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
        "HTTP/1.1\t200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 \r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTPS/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
    ];
    let old = ["hello\r\n\r\n", "<html>old</html>\r\n", "SSH-2.0-OpenSSH\r\n"];
    [family(PLAIN_STATUS, &lines), family(NO_OLD, &old)].concat()
}

fn interim() -> Vec<Vector> {
    family(
        "an interim answer has no body, and a tunnel is for whoever asked for it",
        &[
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        ],
    )
}

/// Those that are unusual and clear, with their bodies. The connection is closed behind each.
pub fn passing() -> Vec<(Vector, &'static str)> {
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 G\u{fc}t\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: \t 002 \t\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nX: caf\u{e9}\tx\r\nContent-Length: 2\r\n\r\nok", "ok"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n02;a=\"b\"\r\nok\r\n00\r\n\r\n",
            "ok",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", "ok"),
        ("HTTP/1.1 200 OK\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", "ok"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ]
    .map(|(text, body)| (Vector { bytes: text.as_bytes().to_vec(), stricter: None }, body))
    .to_vec()
}
