//! proxyd: nothing that two readers could understand differently gets through, in either
//! direction. The backends record every byte and panic at what must never come.

use std::io::Write;

use jobinit_tests::proxyd::{Backend, Proxyd};

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
    let answer = client.answer();
    assert_eq!(answer.text(), "early");
    assert_eq!(answer.field("connection").unwrap(), "close", "nothing is sent in vain");
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
    // Nor that of an old client who names no host.
    let mut client = proxyd.client();
    client.send(format!(
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    ));
    assert_eq!(client.answer().status, 404);
    client.send("GET /next HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    for bytes in backend.raw_bytes() {
        assert!(!String::from_utf8_lossy(&bytes).contains("smuggled"));
    }
}
