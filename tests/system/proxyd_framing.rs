//! proxyd: nothing that two readers could understand differently gets through, in either
//! direction. The backends record every byte and panic at what must never come.

use std::io::Write;

use jobinit_tests::proxyd::{Backend, Proxyd};

/// Requests that are refused, and with what. None may reach a backend, not even in part.
#[expect(clippy::too_many_lines, reason = "a table")]
fn refused() -> Vec<(u16, Vec<u8>)> {
    let mut vectors: Vec<(u16, Vec<u8>)> = [
        // Two lengths, or two ideas of one.
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3, 3\r\n\r\nabc"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: +3\r\n\r\nabc"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: -1\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0x3\r\n\r\nabc"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3 3\r\n\r\nabc"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length:\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        // Codings other than chunked, once.
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: identity\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding:\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        // Names and lines.
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost : app.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\n Host: app.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\r\n b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: app.test\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\nX: y\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\rb\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\0b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nX\0: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nNo colon\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\n: empty\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nX(y): z\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\r\n\r\n"),
        // The host.
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test\r\nhost: other.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test, other.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test/x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: user@app.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: app.test:x\r\n\r\n"),
        (400, "GET http://user@app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET http://app.test/ HTTP/1.1\r\n\r\n"),
        (400, "GET http:///x HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        // The request line.
        (400, "GET  / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET / HTTP/1.1 \r\nHost: app.test\r\n\r\n"),
        (400, "GET\t/\tHTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, " GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET /\r\n\r\n"),
        (400, "GET / \r\n\r\n"),
        (400, "GET / http/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET / HTTP/1.10\r\nHost: app.test\r\n\r\n"),
        (400, "GET / HTTP/+1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET app.test HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET * HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET /a b HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET /#fragment HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET /\u{7f} HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "GET ftp://app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "G@T / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (400, "\r\n\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (505, "GET / HTTP/2.0\r\nHost: app.test\r\n\r\n"),
        (505, "GET / HTTP/1.2\r\nHost: app.test\r\n\r\n"),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (405, "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (405, "TRACE / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        (417, "POST / HTTP/1.1\r\nHost: app.test\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\nx"),
        // Chunks that came with their head.
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff3\r\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nbad trailer\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\n\r\n"),
    ]
    .into_iter()
    .map(|(status, text)| (status, text.as_bytes().to_vec()))
    .collect();
    let long = |size| "x".repeat(size);
    vectors.push((400, b"GET /\xff HTTP/1.1\r\nHost: app.test\r\n\r\n".to_vec()));
    vectors.push((400, b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n".to_vec()));
    vectors.push((400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()));
    vectors.push((414, format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", long(9000)).into()));
    vectors.push((414, format!("GET /{}", long(60_000)).into()));
    vectors.push((
        431,
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n\r\n", long(40_000)).into(),
    ));
    vectors.push((
        431,
        format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", "X: y\r\n".repeat(200)).into(),
    ));
    vectors
}

#[test]
fn p09_ambiguous_requests_are_refused() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let vectors = refused();
    for (status, bytes) in &vectors {
        let text = String::from_utf8_lossy(bytes).chars().take(300).collect::<String>();
        let mut client = proxyd.client();
        let _ = client.try_send(bytes);
        let answer = client.try_answer(false).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        assert_eq!(answer.status, *status, "{text:?} was answered {}", answer.text());
        assert_eq!(answer.field("connection").unwrap(), "close", "{text:?}");
        assert!(client.is_closed(), "{text:?}");
    }
    // The same, byte by byte: where a read ends must not matter.
    for (status, bytes) in vectors.iter().filter(|(_, bytes)| bytes.len() < 200) {
        let mut client = proxyd.client();
        for byte in bytes {
            if client.try_send([*byte]).is_err() {
                break;
            }
        }
        if let Ok(answer) = client.try_answer(false) {
            assert_eq!(answer.status, *status, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
    let mut client = proxyd.client();
    assert_eq!(client.get("/good").text(), "ok");
    // Chunks may go bad after their head has passed; then the request is never completed.
    for seen in backend.seen() {
        assert_eq!(seen.target, "/good", "{seen:?}");
    }
    for bytes in backend.raw_bytes() {
        assert!(!String::from_utf8_lossy(&bytes).contains("smuggled"));
    }
}

#[test]
fn p09_odd_but_clear_requests_pass() {
    let backend = Backend::start(|seen, out| {
        let body = String::from_utf8_lossy(&seen.body);
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    for (request, body) in [
        ("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n", ""),
        ("\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nhOsT:app.test\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost:\t app.test \t\r\nX:\r\n\r\n", ""),
        ("QUERY /?a=%00&b={}|\\^` HTTP/1.1\r\nHost: app.test\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 003\r\n\r\nabc", "abc"),
        ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n", ""),
        (
            "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: Chunked\r\n\r\n0003\r\nabc\r\nA;x=\"y\";z\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n",
            "abc0123456789",
        ),
    ] {
        let mut client = proxyd.client();
        client.send(request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, body), "{request:?}");
        assert_eq!(client.get("/").status, 200, "{request:?}");
    }
}

#[test]
fn p09_undrained_bodies_never_become_requests() {
    let backend = Backend::raw(|mut connection| {
        // Answers at once, without reading the body.
        while connection.head().is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
            if connection.stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(client.answer().text(), "early");
    let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert!(client.is_closed());
    // Nor does the body of a request that we refuse ourselves.
    let mut client = proxyd.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: unknown.test\r\nContent-Length: 1000\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n",
    );
    assert_eq!(client.answer().status, 404);
    assert!(client.is_closed());
    // One that is there as a whole is skipped as a whole.
    let mut client = proxyd.client();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: unknown.test\r\nContent-Length: {}\r\n\r\n{inner}\
         GET /next HTTP/1.1\r\nHost: unknown.test\r\n\r\n",
        inner.len()
    ));
    assert_eq!((client.answer().status, client.answer().status), (404, 404));
    for bytes in backend.raw_bytes() {
        assert!(!String::from_utf8_lossy(&bytes).contains("smuggled"));
    }
}

#[test]
fn p09_ambiguous_answers_are_refused() {
    let vectors: Vec<&'static [u8]> = vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 2000 High\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    ];
    let count = vectors.len();
    let backend = Backend::start(move |seen, out| {
        let number: usize = seen.target[1..].parse().unwrap();
        out.write_all(vectors[number])?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for number in 0..count {
        let answer = client.get(&format!("/{number}"));
        assert_eq!(answer.status, 502, "vector {number}: {}", answer.text());
    }
    assert_eq!(backend.connections(), count, "none is used again");
}

#[test]
fn p09_bytes_behind_an_answer_answer_nothing() {
    let backend = Backend::start(|_, out| {
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\
             Content-Length: 6\r\n\r\npoison"
        )?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for number in 0..5 {
        assert_eq!(client.get("/").text(), "ok", "request {number}");
    }
    assert_eq!(backend.connections(), 5);
}
