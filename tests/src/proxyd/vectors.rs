//! Requests as attackers and careless clients write them, and what has to become of each.
//!
//! Every one asks for `/v` of `app.test`; what would be smuggled asks for `/smuggled`. A vector
//! that other proxies take and this one refuses carries the reason.

/// What has to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This status, and the connection ends. Nothing of it is whole behind the proxy.
    Refused(u16),
    /// One request with this body.
    Passes(&'static str),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Vector {
    pub about: &'static str,
    pub bytes: Vec<u8>,
    pub expected: Expected,
    /// Why it is refused where others let it pass.
    pub stricter: Option<&'static str>,
}

impl Vector {
    fn because(mut self, reason: &'static str) -> Vector {
        self.stricter = Some(reason);
        self
    }

    /// As it is shown when something is wrong with it.
    pub fn show(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.bytes).chars().take(300).collect();
        format!("{}: {text:?}", self.about)
    }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
const END: &str = "0\r\n\r\n";

const ONE_LENGTH: &str = "a length that is no plain number, or is there twice, is read in two ways";
const ONE_CODING: &str = "only `chunked` is taken off, so only it can be read the same behind us";
const PLAIN_SIZE: &str = "chunk sizes with anything around them are read in two ways";
const PLAIN_DATA: &str =
    "data ends where its size says, and then comes CR LF: who looks for one finds another";
const PLAIN_TRAILER: &str = "a trailer is a field like those of the head, and no laxer";
const CRLF: &str = "a bare LF ends a line for some readers and for others not";

fn raw(about: &'static str, bytes: impl AsRef<[u8]>, expected: Expected) -> Vector {
    Vector { about, bytes: bytes.as_ref().to_vec(), expected, stricter: None }
}

fn refused(about: &'static str, bytes: impl AsRef<[u8]>) -> Vector {
    raw(about, bytes, Expected::Refused(400))
}

/// A request line, and the host.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: app.test\r\n\r\n").into_bytes()
}

fn get(fields: &str) -> String {
    format!("GET /v HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /v HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n\r\n{body}")
}

fn chunks(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

/// All of them.
pub fn all() -> Vec<Vector> {
    [lengths(), codings(), both(), sizes(), names(), lines(), hosts(), methods(), others(), large()]
        .concat()
}

fn lengths() -> Vec<Vector> {
    let bad = [
        ("two lengths", "Content-Length: 3\r\nContent-Length: 5"),
        ("the same length twice", "Content-Length: 3\r\nContent-Length: 3"),
        ("a list of lengths", "Content-Length: 3, 3"),
        ("a list of one", "Content-Length: 3,"),
        ("a list that starts empty", "Content-Length: ,3"),
        ("a sign", "Content-Length: +3"),
        ("a negative length", "Content-Length: -3"),
        ("a negative nothing", "Content-Length: -0"),
        ("hexadecimal", "Content-Length: 0x3"),
        ("an exponent", "Content-Length: 3e0"),
        ("a fraction", "Content-Length: 3.0"),
        ("a blank inside", "Content-Length: 3 3"),
        ("an underscore inside", "Content-Length: 0_3"),
        ("quoted", "Content-Length: \"3\""),
        ("a parameter", "Content-Length: 3;x"),
        ("no number at all", "Content-Length:"),
        ("letters", "Content-Length: three"),
        ("a vertical tab before", "Content-Length: \u{b}3"),
        ("a form feed behind", "Content-Length: 3\u{c}"),
        ("a NUL behind", "Content-Length: 3\0"),
        ("a digit of another script", "Content-Length: \u{663}"),
        ("64 bits and more", "Content-Length: 18446744073709551619"),
        ("32 bits more, made longer", "Content-Length: 000000000000000000004294967299"),
        ("the sum of an overflow", "Content-Length: 99999999999999999999"),
        ("another spelling beside it", "content-length: 3\r\nCONTENT-LENGTH: 4"),
    ];
    let bad = bad
        .map(|(about, fields)| refused(about, post(fields, "abc") + SMUGGLED).because(ONE_LENGTH));
    let good = [
        ("leading zeros", "Content-Length: 003", "abc"),
        ("a tab before", "Content-Length:\t3\t ", "abc"),
        ("nothing before", "Content-Length:3", "abc"),
        ("no body", "Content-Length: 0", ""),
        (
            "a name with an underscore is another name",
            "Content_Length: 5\r\nContent-Length: 3",
            "abc",
        ),
        (
            "the length is named by Connection",
            "Connection: Content-Length\r\nContent-Length: 3",
            "abc",
        ),
        ("a length of its own", "X-Content-Length: 9\r\nContent-Length: 3", "abc"),
    ];
    let good =
        good.map(|(about, fields, body)| raw(about, post(fields, body), Expected::Passes(body)));
    [bad.to_vec(), good.to_vec()].concat()
}

fn codings() -> Vec<Vector> {
    let bad = [
        ("a coding before", "Transfer-Encoding: gzip, chunked"),
        ("a coding behind", "Transfer-Encoding: chunked, gzip"),
        ("identity before", "Transfer-Encoding: identity, chunked"),
        ("identity behind", "Transfer-Encoding: chunked, identity"),
        ("identity alone", "Transfer-Encoding: identity"),
        ("twice in one", "Transfer-Encoding: chunked, chunked"),
        ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("twice, the second unknown", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
        ("twice, the first unknown", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
        ("twice, in another case", "Transfer-Encoding: chunked\r\ntransfer-encoding: identity"),
        ("a letter before", "Transfer-Encoding: xchunked"),
        ("a letter behind", "Transfer-Encoding: chunkedx"),
        ("a letter less", "Transfer-Encoding: chunke"),
        ("quoted", "Transfer-Encoding: \"chunked\""),
        ("single quotes", "Transfer-Encoding: 'chunked'"),
        ("a comma before", "Transfer-Encoding: ,chunked"),
        ("a comma behind", "Transfer-Encoding: chunked,"),
        ("a parameter", "Transfer-Encoding: chunked;q=1"),
        ("a colon", "Transfer-Encoding:: chunked"),
        ("a word before", "Transfer-Encoding: x chunked"),
        ("a word behind", "Transfer-Encoding: chunked x"),
        ("a vertical tab before", "Transfer-Encoding: \u{b}chunked"),
        ("a vertical tab behind", "Transfer-Encoding: chunked\u{b}"),
        ("a form feed", "Transfer-Encoding: \u{c}chunked"),
        ("a NUL", "Transfer-Encoding: chunked\0"),
        ("a no-break space", "Transfer-Encoding: \u{a0}chunked"),
        ("a CR before", "Transfer-Encoding: \rchunked"),
        ("a CR behind", "Transfer-Encoding: chunked\r"),
        ("a CR inside", "Transfer-Encoding: chun\rked"),
        ("a LF before", "Transfer-Encoding:\nchunked"),
        ("folded", "Transfer-Encoding:\r\n chunked"),
        ("folded with a tab", "Transfer-Encoding:\r\n\tchunked"),
        ("folded behind", "Transfer-Encoding: chunked\r\n , identity"),
        ("another line's fold", "X: y\r\n Transfer-Encoding: chunked"),
        ("empty", "Transfer-Encoding:"),
        ("a blank before the colon", "Transfer-Encoding : chunked"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked"),
        ("a blank in the name", "Transfer Encoding: chunked"),
        ("a CR in the name", "Transfer-Encoding\r: chunked"),
        ("a blank before the name", " Transfer-Encoding: chunked"),
        ("behind a bare CR", "X: y\rTransfer-Encoding: chunked"),
        ("behind a bare LF", "X: y\nTransfer-Encoding: chunked"),
        ("a Kelvin sign", "Transfer-Encoding: chun\u{212a}ed"),
    ];
    let bad =
        bad.map(|(about, fields)| refused(about, post(fields, END) + SMUGGLED).because(ONE_CODING));
    let chunked =
        |about, fields| raw(about, post(fields, "3\r\nabc\r\n0\r\n\r\n"), Expected::Passes("abc"));
    let good = vec![
        chunked("chunked", "Transfer-Encoding: chunked"),
        chunked("another case", "tRANSFER-eNCODING: cHUNKED"),
        chunked("no blank", "Transfer-Encoding:chunked"),
        chunked("blanks and tabs around", "Transfer-Encoding: \t chunked \t"),
        chunked(
            "an underscore beside it",
            "Transfer_Encoding: identity\r\nTransfer-Encoding: chunked",
        ),
        chunked(
            "named by Connection",
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        ),
        raw(
            "only an underscore",
            post("Transfer_Encoding: chunked\r\nContent-Length: 3", "abc"),
            Expected::Passes("abc"),
        ),
        refused(
            "in HTTP/1.0",
            format!(
                "POST /v HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{END}"
            ),
        )
        .because("HTTP/1.0 has no chunks, so a reader of 1.0 sees a request without a body"),
    ];
    [bad.to_vec(), good].concat()
}

fn both() -> Vec<Vector> {
    let why = "RFC 9112, 6.3 would let the coding win; who sends both is attacking or broken";
    let with = |about, fields: &str, body: &str| refused(about, post(fields, body)).because(why);
    let smuggled = format!("{END}{SMUGGLED}");
    vec![
        with("a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked", &smuggled),
        with("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 4", &smuggled),
        with("no length and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked", &smuggled),
        with("chunks and a bad length", "Transfer-Encoding: chunked\r\nContent-Length: x", END),
        with("a length and a bad coding", "Content-Length: 5\r\nTransfer-Encoding: xchunked", END),
        raw(
            "a request for a body",
            post(&format!("Content-Length: {}", SMUGGLED.len()), SMUGGLED),
            Expected::Passes(SMUGGLED),
        ),
        raw(
            "chunks where no body is usual",
            format!(
                "OPTIONS /v HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n{END}"
            ),
            Expected::Passes("abc"),
        ),
        raw(
            "a body where none is usual",
            format!(
                "GET /v HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            Expected::Passes(SMUGGLED),
        ),
    ]
}

fn sizes() -> Vec<Vector> {
    let sizes = [
        ("a plus", "+3\r\nabc\r\n0\r\n\r\n"),
        ("a minus", "-3\r\nabc\r\n0\r\n\r\n"),
        ("0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("0X", "0X3\r\nabc\r\n0\r\n\r\n"),
        ("an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
        ("an h", "3h\r\nabc\r\n0\r\n\r\n"),
        ("a blank before", " 3\r\nabc\r\n0\r\n\r\n"),
        ("a tab before", "\t3\r\nabc\r\n0\r\n\r\n"),
        ("a blank behind", "3 \r\nabc\r\n0\r\n\r\n"),
        ("a blank before an extension", "3 ;x\r\nabc\r\n0\r\n\r\n"),
        ("a vertical tab behind", "3\u{b}\r\nabc\r\n0\r\n\r\n"),
        ("a NUL behind", "3\0\r\nabc\r\n0\r\n\r\n"),
        ("a comma", "3,3\r\nabc\r\n0\r\n\r\n"),
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("no size but an extension", ";x\r\nabc\r\n0\r\n\r\n"),
        ("letters", "zz\r\nabc\r\n0\r\n\r\n"),
        ("a size of 64 bits and more", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("a size that overflows", "ffffffffffffffff3\r\nabc\r\n0\r\n\r\n"),
        ("a size just below", "fffffffffffffffe\r\nabc\r\n0\r\n\r\n"),
        ("zeros beyond every number", "00000000000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("a bare LF behind", "3\nabc\r\n0\r\n\r\n"),
        ("a bare CR behind", "3\rabc\r\n0\r\n\r\n"),
        ("two CR", "3\r\r\nabc\r\n0\r\n\r\n"),
        ("a LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("a CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("a NUL in an extension", "3;a\0\r\nabc\r\n0\r\n\r\n"),
        ("a quoted LF in an extension", "3;a=\"\nx\"\r\nabc\r\n0\r\n\r\n"),
    ];
    let data = [
        ("data without an end", "3\r\nabc0\r\n\r\n"),
        ("data with a LF", "3\r\nabc\n0\r\n\r\n"),
        ("data with a CR", "3\r\nabc\r0\r\n\r\n"),
        ("more data than was said", "3\r\nabcd\r\n0\r\n\r\n"),
        ("less data than was said", "5\r\nabc\r\n0\r\n\r\n"),
        ("two ends of the data", "3\r\nabc\r\n\r\n0\r\n\r\n"),
        ("the last chunk with data", "0\r\nabc\r\n\r\n"),
        ("the last chunk and a LF", "3\r\nabc\r\n0\n\r\n"),
        ("an end of LF", "3\r\nabc\r\n0\r\n\n"),
        ("an end of CR", "3\r\nabc\r\n0\r\n\rx"),
    ];
    let trailers = [
        ("a trailer without a colon", "3\r\nabc\r\n0\r\nbad trailer\r\n\r\n"),
        ("a trailer with a blank before the colon", "3\r\nabc\r\n0\r\nX : y\r\n\r\n"),
        ("a trailer that is folded", "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"),
        ("a trailer without a name", "3\r\nabc\r\n0\r\n: y\r\n\r\n"),
        ("a trailer with a LF", "3\r\nabc\r\n0\r\nX: y\n\r\n"),
        ("a trailer with a CR", "3\r\nabc\r\n0\r\nX: y\rz\r\n\r\n"),
        ("a trailer with a NUL", "3\r\nabc\r\n0\r\nX: \0\r\n\r\n"),
        (
            "a request for a trailer",
            "3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n",
        ),
    ];
    let bad = [(&sizes[..], PLAIN_SIZE), (&data, PLAIN_DATA), (&trailers, PLAIN_TRAILER)];
    let bad = bad.into_iter().flat_map(|(family, reason)| {
        let refuse = move |(about, body)| refused(about, chunks(body)).because(reason);
        family.iter().copied().map(refuse)
    });
    let abc = |about, body: &str| raw(about, chunks(body), Expected::Passes("abc"));
    let good = vec![
        abc("zeros before", "0003\r\nabc\r\n000\r\n\r\n"),
        abc("two chunks", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
        abc("an extension", "3;x=y\r\nabc\r\n0;z\r\n\r\n"),
        abc("a quoted extension", "3;x=\"y;0\"\r\nabc\r\n0\r\n\r\n"),
        abc("an empty extension", "3;\r\nabc\r\n0\r\n\r\n"),
        abc("a blank in an extension", "3; x = y\r\nabc\r\n0\r\n\r\n"),
        abc("a trailer", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
        abc("a trailer that frames", "3\r\nabc\r\n0\r\nContent-Length: 100\r\n\r\n"),
        abc("a trailer that is a host", "3\r\nabc\r\n0\r\nHost: other.test\r\n\r\n"),
        raw("capitals", chunks("A\r\n0123456789\r\n0\r\n\r\n"), Expected::Passes("0123456789")),
        raw("chunks in a chunk", chunks("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), Expected::Passes(END)),
        raw("nothing at all", chunks(END), Expected::Passes("")),
    ];
    bad.chain(good).collect()
}

fn names() -> Vec<Vector> {
    let bad = [
        ("a blank before the colon", "X : y\r\n"),
        ("a blank before the name", " X: y\r\n"),
        ("a fold", "X: a\r\n b\r\n"),
        ("a fold of nothing", "X: a\r\n \r\n"),
        ("a fold that frames", "X: a\r\n\tTransfer-Encoding: chunked\r\n"),
        ("a bare LF", "X: y\nZ: y\r\n"),
        ("a bare CR", "X: a\rb\r\n"),
        ("a bare CR at the end", "X: a\r\r\n"),
        ("a NUL in a value", "X: a\0b\r\n"),
        ("a NUL in a name", "X\0: b\r\n"),
        ("an escape in a value", "X: \u{1b}[0m\r\n"),
        ("a DEL in a value", "X: \u{7f}\r\n"),
        ("a letter that is none of ASCII in a name", "\u{e9}: x\r\n"),
        ("no colon", "No colon\r\n"),
        ("no name", ": empty\r\n"),
        ("only a colon", ":\r\n"),
        ("parentheses in a name", "X(y): z\r\n"),
        ("a slash in a name", "X/y: z\r\n"),
        ("quotes in a name", "\"X\": z\r\n"),
        ("a second request line", "GET /smuggled HTTP/1.1\r\n"),
    ];
    let why = "RFC 9110, 5: a field is a token, a colon and a value without controls";
    let bad = bad.map(|(about, fields)| refused(about, get(fields)).because(why));
    let good = [
        ("nothing for a value", "X:\r\n"),
        ("odd tokens for a name", "!#$%&'*+-.^_`|~: y\r\n"),
        ("bytes beyond ASCII in a value", "X: caf\u{e9}\r\n"),
        ("a tab in a value", "X: a\tb\r\n"),
        ("Connection names the host", "Connection: Host\r\n"),
        ("Connection names who is asking", "Connection: X-Forwarded-For, X-Forwarded-Host\r\n"),
        ("Connection names what authorizes", "Connection: Authorization, Cookie\r\nCookie: a\r\n"),
        ("Connection of nothing", "Connection: ,, ,\r\n"),
        ("an odd Connection", "Connection: a b, \"close\"\r\n"),
        ("fields that only CGI confuses", "X_Forwarded_For: 6.6.6.6\r\nProxy: http://evil\r\n"),
        ("TE", "TE: chunked, trailers\r\n"),
    ];
    let good = good.map(|(about, fields)| raw(about, get(fields), Expected::Passes("")));
    [bad.to_vec(), good.to_vec()].concat()
}

fn lines() -> Vec<Vector> {
    let bad = [
        ("two blanks", "GET  /v HTTP/1.1"),
        ("a blank behind", "GET /v HTTP/1.1 "),
        ("a blank before", " GET /v HTTP/1.1"),
        ("tabs", "GET\t/v\tHTTP/1.1"),
        ("a tab behind", "GET /v HTTP/1.1\t"),
        ("a vertical tab", "GET\u{b}/v HTTP/1.1"),
        ("a CR between", "GET\r/v\rHTTP/1.1"),
        ("a CR before", "\rGET /v HTTP/1.1"),
        ("a blank in the target", "GET /v b HTTP/1.1"),
        ("a version in the target", "GET /v HTTP/1.1 HTTP/1.1"),
        ("a fragment", "GET /v#fragment HTTP/1.1"),
        ("a NUL in the target", "GET /v\0 HTTP/1.1"),
        ("a DEL in the target", "GET /v\u{7f} HTTP/1.1"),
        ("a letter that is none of ASCII", "GET /v\u{e9} HTTP/1.1"),
        ("no target", "GET HTTP/1.1"),
        ("an empty target", "GET  HTTP/1.1"),
        ("a target without a slash", "GET v HTTP/1.1"),
        ("a host for a target", "GET app.test:80 HTTP/1.1"),
        ("a star for GET", "GET * HTTP/1.1"),
        ("a query alone", "GET ?v HTTP/1.1"),
        ("a backslash", "GET \\v HTTP/1.1"),
        ("another scheme", "GET ftp://app.test/v HTTP/1.1"),
        ("a file", "GET file:///etc/passwd HTTP/1.1"),
        ("an address without a host", "GET http:///v HTTP/1.1"),
        ("an address with a query and no path", "GET http://app.test?v HTTP/1.1"),
        ("an address with a user", "GET http://user@app.test/v HTTP/1.1"),
        ("an address with a bad port", "GET http://app.test:x/v HTTP/1.1"),
        ("small letters for the version", "GET /v http/1.1"),
        ("no slash in the version", "GET /v HTTP1.1"),
        ("a short version", "GET /v HTTP/1"),
        ("a long version", "GET /v HTTP/1.10"),
        ("a zero before", "GET /v HTTP/01.1"),
        ("a sign in the version", "GET /v HTTP/+1.1"),
        ("a comma in the version", "GET /v HTTP/1,1"),
        ("another protocol", "GET /v ICY/1.1"),
        ("no version", "GET /v"),
        ("no version but a blank", "GET /v "),
    ];
    let why = "RFC 9112, 3: the line has two blanks, a path, and a version that is one of two";
    let mut vectors: Vec<Vector> =
        bad.map(|(about, text)| refused(about, line(text)).because(why)).to_vec();
    vectors.extend([
        raw("HTTP/2.0", line("GET /v HTTP/2.0"), Expected::Refused(505)),
        raw("HTTP/1.2", line("GET /v HTTP/1.2"), Expected::Refused(505))
            .because("only versions that exist are spoken"),
        raw("HTTP/0.9", line("GET /v HTTP/0.9"), Expected::Refused(505)),
        raw("HTTP/2 from the start", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Expected::Refused(505)),
        refused("HTTP/0.9 as it was", "GET /v\r\n\r\n").because(why),
        refused("all lines end in LF", "GET /v HTTP/1.1\nHost: app.test\n\n").because(CRLF),
        refused("the line ends in LF", "GET /v HTTP/1.1\nHost: app.test\r\n\r\n").because(CRLF),
        refused("a field ends in LF", "GET /v HTTP/1.1\r\nHost: app.test\n\r\n").because(CRLF),
        refused("the head ends in LF", "GET /v HTTP/1.1\r\nHost: app.test\r\n\n").because(CRLF),
        refused("the head ends in CR", "GET /v HTTP/1.1\r\nHost: app.test\r\n\r\r\n\r\n")
            .because(CRLF),
        refused("two empty lines before", format!("\r\n\r\n{}", get("")))
            .because("one empty line before a request has a reason, two have none"),
        refused("a LF before", format!("\n{}", get(""))).because(CRLF),
        refused("a PROXY header", format!("PROXY TCP4 6.6.6.6 1.1.1.1 1 80\r\n{}", get(""))),
        refused(
            "a PROXY header of version 2",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x01\x01\x01\x01\0\x01\0\x50",
        ),
        refused("a TLS greeting", "\x16\x03\x01\x02\x00\x01\x00\x01\n\x03\x03"),
        refused("bytes", b"GET /\xff HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        raw("an empty line before", format!("\r\n{}", get("")), Expected::Passes("")),
        raw("an address", line("GET http://app.test/v HTTP/1.1"), Expected::Passes("")),
        raw(
            "an address and small letters",
            line("GET HTTP://APP.test:80/v HTTP/1.1"),
            Expected::Passes(""),
        ),
        raw("HTTP/1.0", line("GET /v HTTP/1.0"), Expected::Passes("")),
        refused(
            "an address and another host's garbage",
            "GET http://app.test/v HTTP/1.1\r\nHost: a b\r\n\r\n",
        )
        .because("RFC 9112, 3.2: a Host that is no host is refused, even where it does not count"),
        raw(
            "an address and another host",
            "GET http://app.test/v HTTP/1.1\r\nHost: other.test\r\n\r\n",
            Expected::Passes(""),
        ),
    ]);
    vectors
}

fn hosts() -> Vec<Vector> {
    let bad = [
        ("no host", ""),
        ("two hosts", "Host: app.test\r\nHost: app.test\r\n"),
        ("two hosts in two cases", "Host: app.test\r\nhost: other.test\r\n"),
        ("an empty host", "Host:\r\n"),
        ("a list of hosts", "Host: app.test, other.test\r\n"),
        ("two words", "Host: app.test other.test\r\n"),
        ("a path", "Host: app.test/x\r\n"),
        ("a query", "Host: app.test?x\r\n"),
        ("a fragment", "Host: app.test#x\r\n"),
        ("a scheme", "Host: http://app.test\r\n"),
        ("a user", "Host: user@app.test\r\n"),
        ("a user and a password", "Host: a:b@app.test\r\n"),
        ("a port of letters", "Host: app.test:x\r\n"),
        ("a port and letters", "Host: app.test:80x\r\n"),
        ("a port of 17 bits", "Host: app.test:65536\r\n"),
        ("a port with a sign", "Host: app.test:+80\r\n"),
        ("two ports", "Host: app.test:80:80\r\n"),
        ("a backslash", "Host: app.test\\x\r\n"),
        ("quotes", "Host: \"app.test\"\r\n"),
        ("a per cent", "Host: app%2etest\r\n"),
        ("a NUL", "Host: app.test\0\r\n"),
        ("a tab inside", "Host: app\ttest\r\n"),
        ("a vertical tab", "Host: \u{b}app.test\r\n"),
        ("a fold", "Host:\r\n app.test\r\n"),
        ("a blank before the colon", "Host : app.test\r\n"),
        ("a bracket that stays open", "Host: [::1\r\n"),
        ("no address in brackets", "Host: [app.test]\r\n"),
        ("a star", "Host: *\r\n"),
        ("a dot before", "Host: .app.test\r\n"),
        ("two dots within", "Host: app..test\r\n"),
        ("two dots behind", "Host: app.test..\r\n"),
    ];
    let why = "RFC 9112, 3.2: one host, which is a name or an address, and a port";
    let mut vectors: Vec<Vector> = bad
        .map(|(about, host)| refused(about, format!("GET /v HTTP/1.1\r\n{host}\r\n")).because(why))
        .to_vec();
    vectors.push(
        refused("a letter that is none of ASCII", b"GET /v HTTP/1.1\r\nHost: app\xe9.test\r\n\r\n")
            .because(why),
    );
    let good = [
        "Host: app.test\r\n",
        "hOST:app.test\r\n",
        "Host: \t APP.test:80 \t\r\n",
        "Host: app.test.:\r\n",
    ];
    vectors.extend(
        good.map(|host| {
            raw("a host", format!("GET /v HTTP/1.1\r\n{host}\r\n"), Expected::Passes(""))
        }),
    );
    vectors
}

fn methods() -> Vec<Vector> {
    let why = "a method in small letters is another method for some readers, and for others not";
    let refused_by = |about, text: &str, status| raw(about, line(text), Expected::Refused(status));
    vec![
        refused_by("small letters", "get /v HTTP/1.1", 400).because(why),
        refused_by("one small letter", "GeT /v HTTP/1.1", 400).because(why),
        refused_by("a small head", "head /v HTTP/1.1", 400).because(why),
        refused_by("a method that is no token", "G@T /v HTTP/1.1", 400),
        refused_by("a colon in the method", "GET: /v HTTP/1.1", 400),
        refused_by("a NUL in the method", "GET\0 /v HTTP/1.1", 400),
        refused_by("no method", " /v HTTP/1.1", 400),
        refused_by("a tunnel", "CONNECT app.test:80 HTTP/1.1", 405)
            .because("this proxy is a server's: it connects nobody to somewhere else"),
        refused_by("a tunnel to a path", "CONNECT /v HTTP/1.1", 405)
            .because("this proxy is a server's: it connects nobody to somewhere else"),
        refused_by("an echo", "TRACE /v HTTP/1.1", 405)
            .because("an app that echoes shows what the proxy has added"),
        raw("a method of an extension", line("VERSION-CONTROL /v HTTP/1.1"), Expected::Passes("")),
        raw("a method that nobody knows", line("QUERY /v HTTP/1.1"), Expected::Passes("")),
        raw(
            "a long method",
            line(&format!("{} /v HTTP/1.1", "A".repeat(200))),
            Expected::Passes(""),
        ),
    ]
}

fn others() -> Vec<Vector> {
    let why = "there is one expectation, and whoever has another one waits for what never comes";
    let expects = |about, value: &str| {
        raw(
            about,
            post(&format!("Expect: {value}\r\nContent-Length: 3"), "abc"),
            Expected::Refused(417),
        )
        .because(why)
    };
    let passes = |about, fields: &str, body| raw(about, post(fields, body), Expected::Passes(body));
    vec![
        expects("an unknown expectation", "miracles"),
        expects("an expectation and a letter", "100-continuex"),
        expects("an expectation and a word before", "y 100-continue"),
        expects("an expectation and a word behind", "100-continue, x"),
        expects("an empty expectation", ""),
        raw(
            "two expectations",
            post("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 3", "abc"),
            Expected::Refused(417),
        )
        .because(why),
        passes("an expectation with its body", "Expect: 100-continue\r\nContent-Length: 3", "abc"),
        passes("an expectation without a body", "Expect: 100-continue\r\nContent-Length: 0", ""),
        passes(
            "the same twice",
            "Expect: 100-continue\r\nExpect: 100-Continue\r\nContent-Length: 3",
            "abc",
        ),
        raw(
            "an expectation of HTTP/1.0",
            "POST /v HTTP/1.0\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
            Expected::Passes("abc"),
        ),
        passes(
            "an upgrade with a body",
            "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3",
            "abc",
        ),
        raw(
            "an upgrade to another HTTP",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            Expected::Passes(""),
        ),
        raw(
            "an upgrade to one of two",
            get("Connection: Upgrade\r\nUpgrade: x, h2c\r\n"),
            Expected::Passes(""),
        ),
        raw(
            "an upgrade to TLS",
            get("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"),
            Expected::Passes(""),
        ),
        raw(
            "an upgrade to nothing",
            get("Connection: Upgrade\r\nUpgrade:\r\n"),
            Expected::Passes(""),
        ),
        raw(
            "an upgrade that Connection does not know",
            get("Upgrade: websocket\r\n"),
            Expected::Passes(""),
        ),
        raw(
            "where the path goes is the app's to say",
            line("GET /v?a=%00&b={}|\\^` HTTP/1.1"),
            Expected::Passes(""),
        ),
    ]
}

fn large() -> Vec<Vector> {
    let long = |size| "x".repeat(size);
    let with = |about, status, bytes: String| raw(about, bytes, Expected::Refused(status));
    let why = "a bound of this proxy, which others have elsewhere";
    vec![
        with(
            "a long target",
            414,
            format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", long(9000)),
        )
        .because(why),
        with("a target without an end", 414, format!("GET /{}", long(60_000))),
        with("a method without an end", 414, "A".repeat(60_000)),
        with(
            "a long method",
            414,
            format!("{} /v HTTP/1.1\r\nHost: app.test\r\n\r\n", "A".repeat(9000)),
        )
        .because(why),
        with("a long value", 431, get(&format!("X: {}\r\n", long(40_000)))),
        with("a long name", 431, get(&format!("{}: x\r\n", long(40_000)))),
        with("many fields", 431, get(&"X: y\r\n".repeat(200))).because(why),
        with(
            "many names in Connection",
            431,
            get(&format!("Connection: {}\r\n", "a,".repeat(200))),
        )
        .because(why),
        with("long extensions", 400, chunks(&format!("3;{}\r\nabc\r\n0\r\n\r\n", long(5000))))
            .because(why),
        with("long trailers", 400, chunks(&format!("0\r\nX: {}\r\n\r\n", long(9000)))).because(why),
        with("many trailers", 400, chunks(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(200))))
            .because(why),
    ]
}
