//! What is read, and how; what is refused, and why. Each vector is read whole and byte by byte:
//! where a read happens to end must never matter.

use proptest::prelude::*;

use super::body::{Body, Framing};
use super::malformed::Malformed;
use super::request::{Progress, RequestHead};
use super::response::ResponseHead;

fn request(bytes: &[u8]) -> Result<Option<RequestHead>, Malformed> {
    let mut whole = RequestHead::default();
    let result = whole.advance(bytes);
    let mut pieces = RequestHead::default();
    let mut stepwise = Ok(Progress::Partial);
    for end in 1..=bytes.len() {
        stepwise = pieces.advance(&bytes[..end]);
        if stepwise != Ok(Progress::Partial) {
            break;
        }
    }
    // Of several mistakes the one that is seen first is named, which depends on the pieces.
    let both_refused = result.is_err() && stepwise.is_err();
    assert!(both_refused || result == stepwise, "{:?}", String::from_utf8_lossy(bytes));
    result.map(|progress| (progress == Progress::Complete).then_some(whole))
}

fn response(bytes: &[u8], to_head: bool) -> Result<ResponseHead, Malformed> {
    let mut head = ResponseHead::default();
    match head.advance(bytes, to_head)? {
        Progress::Complete => Ok(head),
        Progress::Partial => panic!("partial: {:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn requests_that_are_refused() {
    use Malformed as M;
    let vectors: &[(&str, M)] = &[
        ("GET / HTTP/1.1\nHost: a\n\n", M::LineEnding),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", M::LineEnding),
        ("\n", M::LineEnding),
        ("\x16\x03\x01", M::RequestLine),
        ("GET  / HTTP/1.1\r\n", M::RequestLine),
        ("GET / HTTP/1.1 \r\n", M::RequestLine),
        ("GET /\r\n", M::RequestLine),
        ("\r\n\r\n", M::RequestLine),
        ("G(T / HTTP/1.1\r\n", M::RequestLine),
        (" / HTTP/1.1\r\n", M::RequestLine),
        ("GET / HTTX/1.1\r\n", M::RequestLine),
        ("GET / HTTP/11\r\n", M::RequestLine),
        ("GET / HTTP/2.0\r\n", M::Version),
        ("GET / HTTP/0.9\r\n", M::Version),
        ("get / HTTP/1.1\r\n", M::MethodCase),
        ("GeT / HTTP/1.1\r\n", M::MethodCase),
        ("CONNECT a:1 HTTP/1.1\r\n", M::Method),
        ("TRACE / HTTP/1.1\r\n", M::Method),
        ("GET a HTTP/1.1\r\n", M::Target),
        ("GET * HTTP/1.1\r\n", M::Target),
        ("GET /a#b HTTP/1.1\r\n", M::Target),
        ("GET /\x01 HTTP/1.1\r\n", M::RequestLine),
        ("GET http:// HTTP/1.1\r\n", M::Target),
        ("GET http://a?b HTTP/1.1\r\n", M::Target),
        ("GET / HTTP/1.1\r\n\r\n", M::HostMissing),
        ("GET http://a/ HTTP/1.1\r\n\r\n", M::HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", M::HostRepeated),
        ("GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", M::Host),
        ("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", M::Host),
        ("GET / HTTP/1.1\r\nHost : a\r\n", M::FieldName),
        ("GET / HTTP/1.1\r\n: a\r\n", M::FieldName),
        ("GET / HTTP/1.1\r\nHost\r\n", M::FieldName),
        ("GET / HTTP/1.1\r\nX: a\r\n b\r\n", M::Folded),
        ("GET / HTTP/1.1\r\n Host: a\r\n", M::Folded),
        ("GET / HTTP/1.1\r\nX: a\rb\r\n", M::LineEnding),
        ("GET / HTTP/1.1\r\nX: \x00\r\n", M::FieldValue),
        ("GET / HTTP/1.1\r\nX: \x7f\r\n", M::FieldValue),
        (
            "P / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            M::LengthRepeated,
        ),
        ("P / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\n", M::Length),
        ("P / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", M::Length),
        ("P / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1\r\n\r\n", M::Length),
        ("P / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", M::Length),
        ("P / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", M::Length),
        (
            "P / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            M::LengthAndEncoding,
        ),
        ("P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", M::Encoding),
        (
            "P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            M::Encoding,
        ),
        ("P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \r\n\r\n", M::Encoding),
        ("P / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", M::EncodingIn10),
        ("P / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", M::Expectation),
    ];
    for (bytes, why) in vectors {
        let result = request(bytes.as_bytes());
        assert_eq!(result.err(), Some(*why), "{bytes:?}");
    }
}

#[test]
fn too_much_is_refused_before_it_is_all_there() {
    let long = "a".repeat(40_000);
    let refused = |text: String| RequestHead::default().advance(text.as_bytes()).err();
    assert_eq!(refused(format!("GET /{long}")), Some(Malformed::TargetTooLong));
    assert_eq!(
        refused(format!("GET /{} HTTP/1.1\r\n", &long[..9000])),
        Some(Malformed::TargetTooLong)
    );
    assert_eq!(refused(format!("GET / HTTP/1.1\r\nX: {long}")), Some(Malformed::HeadTooLarge));
    // The same, and it is all there.
    assert_eq!(
        refused(format!("{} / HTTP/1.1\r\n", "A".repeat(9000))),
        Some(Malformed::TargetTooLong)
    );
    let names = "a,".repeat(129);
    assert_eq!(
        refused(format!("GET / HTTP/1.1\r\nConnection: {names}\r\n")),
        Some(Malformed::TooManyFields)
    );
    let fields = "X: y\r\n".repeat(129);
    assert_eq!(refused(format!("GET / HTTP/1.1\r\n{fields}")), Some(Malformed::TooManyFields));
}

#[test]
fn requests_that_are_understood() {
    struct Read {
        bytes: &'static str,
        target: &'static str,
        host: &'static str,
        framing: Framing,
        keeps_alive: bool,
        upgrades: bool,
    }
    let plain = |bytes, target| Read {
        bytes,
        target,
        host: "a",
        framing: Framing::None,
        keeps_alive: true,
        upgrades: false,
    };
    let vectors = [
        plain("GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n", "/x?y"),
        plain("\r\nGET / HTTP/1.1\r\nhost:a\r\n\r\n", "/"),
        plain("GET / HTTP/1.1\r\nHost:\t a \t\r\nEmpty:\r\n\r\n", "/"),
        plain("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*"),
        plain("GET http://a/b HTTP/1.1\r\nHost: other\r\n\r\n", "/b"),
        plain("GET HTTPS://a HTTP/1.1\r\nHost: other\r\n\r\n", "/"),
        Read {
            framing: Framing::Length(12),
            ..plain("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", "/")
        },
        Read {
            framing: Framing::Chunked,
            ..plain("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", "/")
        },
        Read {
            keeps_alive: false,
            ..plain("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", "/")
        },
        Read { keeps_alive: false, ..plain("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "/") },
        plain("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", "/"),
        Read {
            upgrades: true,
            ..plain("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n", "/")
        },
        plain("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: w\r\n\r\n", "/"),
    ];
    for read in vectors {
        let head = request(read.bytes.as_bytes()).unwrap().expect("complete");
        let bytes = read.bytes.as_bytes();
        assert_eq!(head.len, bytes.len(), "{:?}", read.bytes);
        assert_eq!(head.target.of(bytes), read.target.as_bytes(), "{:?}", read.bytes);
        assert_eq!(head.host.of(bytes), read.host.as_bytes(), "{:?}", read.bytes);
        assert_eq!(head.framing, read.framing, "{:?}", read.bytes);
        assert_eq!(head.keeps_alive(), read.keeps_alive, "{:?}", read.bytes);
        assert_eq!(head.upgrade.is_some(), read.upgrades, "{:?}", read.bytes);
    }
}

#[test]
fn what_a_request_says_of_its_hop() {
    let read = |fields: &str| {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        request(bytes.as_bytes()).unwrap().expect("complete")
    };
    for (value, takes) in [
        ("trailers", true),
        ("gzip;q=0.5 , TRAILERS", true),
        ("trailers;q=1", false),
        ("trailer", false),
        ("", false),
    ] {
        assert_eq!(read(&format!("TE: {value}\r\n")).takes_trailers, takes, "{value:?}");
    }
    let old =
        b"POST / HTTP/1.0\r\nTE: trailers\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    let old = request(old).unwrap().expect("complete");
    assert!(!old.takes_trailers && !old.expects_continue);
    assert!(!read("Expect: 100-continue\r\n").expects_continue, "there is no body");
    assert!(read("Expect: 100-continue\r\nContent-Length: 1\r\n").expects_continue);
    for (offer, passes) in [
        ("websocket", true),
        ("a/1, b", true),
        ("h2c", false),
        ("websocket, H2C", false),
        ("HTTP/3.0", false),
        ("tls/1.3", false),
        ("", false),
        (",", false),
        ("a/", false),
        ("a b", false),
    ] {
        let head = read(&format!("Connection: upgrade\r\nUpgrade: {offer}\r\n"));
        assert_eq!(head.upgrade.is_some(), passes, "{offer:?}");
    }
}

#[test]
fn a_length_where_there_is_no_body_ends_the_connection() {
    let keeps = |bytes: &str, to_head| response(bytes.as_bytes(), to_head).unwrap().keeps_alive();
    for (bytes, kept, kept_by_head) in [
        ("HTTP/1.1 204 X\r\nContent-Length: 3\r\n\r\n", false, false),
        ("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", false, false),
        ("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", true, true),
        ("HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\n", false, false),
        ("HTTP/1.1 304 X\r\n\r\n", true, true),
        ("HTTP/1.1 200 X\r\nContent-Length: 3\r\n\r\n", true, false),
        ("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", true, false),
        ("HTTP/1.1 200 X\r\n\r\n", false, false),
        ("HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n", true, true),
    ] {
        assert_eq!((keeps(bytes, false), keeps(bytes, true)), (kept, kept_by_head), "{bytes:?}");
    }
}

#[test]
fn responses() {
    use Framing as F;
    let framing = |bytes: &str| response(bytes.as_bytes(), false).map(|head| head.framing);
    for (bytes, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Ok(F::Length(3))),
        ("HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", Ok(F::Length(3))),
        ("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", Ok(F::Chunked)),
        ("HTTP/1.0 200 OK\r\n\r\n", Ok(F::UntilClose)),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", Ok(F::None)),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Ok(F::None)),
        ("HTTP/1.1 100 Continue\r\n\r\n", Ok(F::None)),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            Err(Malformed::LengthRepeated),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Malformed::LengthAndEncoding),
        ),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Malformed::EncodingIn10)),
        ("HTTP/1.1 20 OK\r\n\r\n", Err(Malformed::StatusLine)),
        ("HTTP/1.1 200OK\r\n\r\n", Err(Malformed::StatusLine)),
        ("HTTP/1.2 200 OK\r\n\r\n", Err(Malformed::StatusLine)),
        ("HTTP/1.1 099 X\r\n\r\n", Err(Malformed::StatusLine)),
        ("HTTP/1.1 200 O\x00K\r\n\r\n", Err(Malformed::StatusLine)),
        ("HTTP/1.1 200 OK\nX: y\n\n", Err(Malformed::LineEnding)),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Err(Malformed::StatusLine)),
    ] {
        assert_eq!(framing(bytes), expected, "{bytes:?}");
    }
    let head = response(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true).unwrap();
    assert_eq!((head.framing, head.length), (F::None, Some(3)));
}

const TRAILERS: &[u8] = b"Checksum: 1\r\nEmpty:\r\n";

/// Takes a body that comes in pieces; the payload, and the bytes that were not its own.
fn take(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
    let mut body = Body::new(framing);
    let (mut payload, mut behind) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut data = piece.to_vec();
        let step = body.step(&mut data)?;
        payload.extend_from_slice(&data[step.start..step.end]);
        behind.extend_from_slice(&piece[step.consumed..]);
    }
    Ok((payload, behind, body.is_done()))
}

#[test]
fn chunks_that_are_refused() {
    use Malformed as M;
    let extension = format!("1;{}\r\n", "x".repeat(5000));
    let trailer = format!("0\r\nX: {}\r\n", "x".repeat(9000));
    let trailers = format!("0\r\n{}", "X: y\r\n".repeat(129));
    let vectors: &[(&str, M)] = &[
        ("\r\n", M::ChunkSize),
        (" 1\r\n", M::ChunkSize),
        ("+1\r\n", M::ChunkSize),
        ("-1\r\n", M::ChunkSize),
        ("0x1\r\n", M::ChunkSize),
        ("1 \r\n", M::ChunkSize),
        ("1\n", M::ChunkSize),
        ("1\rx", M::ChunkSize),
        (";x\r\n", M::ChunkSize),
        ("1000000000000000\r\n", M::ChunkSize),
        ("1;a\nb\r\n", M::ChunkExtension),
        ("1;\x00\r\n", M::ChunkExtension),
        (&extension, M::ChunkExtension),
        ("1\r\nab\r\n", M::ChunkEnd),
        ("1\r\na\n", M::ChunkEnd),
        ("1\r\na\r1", M::ChunkEnd),
        ("0\r\n\n", M::Trailer),
        ("0\r\n x: y\r\n\r\n", M::Trailer),
        ("0\r\nx\r\n\r\n", M::Trailer),
        ("0\r\nx: \x00\r\n\r\n", M::Trailer),
        ("0\r\nx: y\n\r\n", M::Trailer),
        (&trailer, M::Trailer),
        (&trailers, M::Trailer),
    ];
    for (bytes, why) in vectors {
        assert_eq!(take(Framing::Chunked, &[bytes.as_bytes()]), Err(*why), "{bytes:?}");
        let single: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
        assert_eq!(take(Framing::Chunked, &single), Err(*why), "{bytes:?}");
    }
}

proptest! {
    /// However a body is cut into chunks, and the chunks into reads: the payload comes out, and
    /// what is behind it is left alone.
    #[test]
    fn chunks_in_any_pieces(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
        extensions in any::<bool>(),
        trailers in any::<bool>(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..10),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            let extension = if extensions { ";a=\"b\"" } else { "" };
            wire.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n");
        if trailers {
            wire.extend_from_slice(TRAILERS);
        }
        wire.extend_from_slice(b"\r\nGET / behind");
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> =
            cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
        let (payload, behind, done) = take(Framing::Chunked, &pieces).unwrap();
        let mut body = Body::new(Framing::Chunked);
        body.step(&mut wire.clone()).unwrap();
        prop_assert_eq!(body.trailers(), if trailers { TRAILERS } else { b"" });
        prop_assert_eq!(payload, chunks.concat());
        prop_assert_eq!(behind, b"GET / behind");
        prop_assert!(done);
    }

    /// No bytes at all make the parser panic, and the same bytes in pieces mean the same.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<proptest::sample::Index>()) {
        let _ = request(&bytes);
        let mut seeded = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        seeded.extend_from_slice(&bytes);
        let _ = request(&seeded);
        let _ = ResponseHead::default().advance(&bytes, false);
        let at = if bytes.is_empty() { 0 } else { cut.index(bytes.len()) };
        let whole = take(Framing::Chunked, &[&bytes]);
        let parts = take(Framing::Chunked, &[&bytes[..at], &bytes[at..]]);
        prop_assert_eq!(whole, parts);
    }
}
