//! proxyd: the fields behind a body, both ways, and who gets to see them.

use std::io::Write;

use jobinit_tests::proxyd::{Backend, Proxyd};

/// Those that pass and those that do not, as a chunked body ends with them.
const SECTION: &str = "Grpc-Status: 0\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\nX-Forwarded-For: 6.6.6.6\r\n\
                       X-Sum:  abc \r\nAuthorization: none\r\nHop: 1\r\n";

fn passed() -> Vec<(String, String)> {
    [("Grpc-Status", "0"), ("X-Sum", "abc")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

#[test]
fn p09_request_trailers_pass() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nConnection: hop\r\nTrailer: X-Sum\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    // With its head, in pieces behind it, and as the end alone.
    for pieces in [
        vec![format!("{head}3\r\nabc\r\n0\r\n{SECTION}\r\n")],
        vec![
            format!("{head}3\r\n"),
            format!("abc\r\n0\r\n{}", &SECTION[..30]),
            format!("{}\r\n", &SECTION[30..]),
        ],
        vec![format!("{head}3\r\nabc\r\n0\r\n{SECTION}"), "\r\n".to_owned()],
    ] {
        let before = backend.seen().len();
        for (number, piece) in pieces.iter().enumerate() {
            if number > 0 {
                let raw =
                    || backend.raw_bytes().concat().windows(4).filter(|w| w == b"\r\n\r\n").count();
                jobinit_tests::proxyd::wait_for("the head at the backend", || {
                    (raw() > before).then_some(())
                });
            }
            client.send(piece);
        }
        assert_eq!(client.answer().text(), "ok");
        let seen = backend.seen().pop().unwrap();
        assert_eq!((seen.body.as_slice(), seen.trailers.clone()), (&b"abc"[..], passed()));
        assert_eq!(seen.field("trailer").unwrap(), "X-Sum");
    }
    // Nothing announces what cannot come.
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTrailer: X\r\nContent-Length: 1\r\n\r\nx");
    client.answer();
    assert_eq!(backend.seen().pop().unwrap().field("trailer"), None);
}

/// Answers with trailers: `/1` in one piece, `/2` in two, `/3` in a body that is long.
fn with_trailers() -> Backend {
    Backend::start(|seen, out| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: Hop\r\n\
                    Trailer: Grpc-Status\r\n\r\n";
        match seen.target.as_str() {
            "/1" => write!(out, "{head}2\r\nok\r\n0\r\n{SECTION}\r\n")?,
            "/2" => {
                write!(out, "{head}2\r\nok\r\n0\r\n{}", &SECTION[..20])?;
                write!(out, "{}\r\n", &SECTION[20..])?;
            }
            _ => {
                write!(out, "{head}{:x}\r\n{}\r\n", 300_000, "x".repeat(300_000))?;
                write!(out, "0\r\n{SECTION}\r\n")?;
            }
        }
        Ok(true)
    })
}

#[test]
fn p09_answer_trailers_pass_to_who_takes_them() {
    let backend = with_trailers();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for target in ["/1", "/2", "/3", "/1"] {
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: app.test\r\nConnection: TE\r\nTE: gzip;q=0.5, Trailers\r\n\r\n"
        ));
        let answer = client.answer();
        assert!(answer.complete, "{target}");
        assert_eq!(answer.trailers, passed(), "{target}");
        assert_eq!(answer.field("trailer").unwrap(), "Grpc-Status");
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.field("te").unwrap(), "trailers", "our own word, nothing of gzip");
        assert_eq!(seen.field("connection").unwrap(), "TE");
        // Who did not say that he takes them may be older than they are.
        for te in ["", "TE: gzip\r\n", "TE: trailers;q=1\r\n"] {
            client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{te}\r\n"));
            let answer = client.answer();
            assert_eq!((answer.complete, answer.trailers.len()), (true, 0), "{target}");
            assert_eq!(answer.field("trailer"), None);
            assert_eq!(backend.seen().pop().unwrap().field("te"), None);
        }
    }
    let mut client = proxyd.client();
    client.send("GET /1 HTTP/1.0\r\nHost: app.test\r\nTE: trailers\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.trailers.len()), ("ok", 0));
    assert_eq!(backend.seen().pop().unwrap().field("te"), None);
    assert!(backend.connections() <= 2, "one a worker");
}

#[test]
fn o18_a_request_s_number_is_not_told_behind_a_body() {
    let section = "X-Request-Id: theirs\r\nX_Request_ID: theirs\r\nX-Sum: 7\r\n";
    let backend = Backend::start(move |_, out| {
        write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        write!(out, "2\r\nok\r\n0\r\n{section}\r\n")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"request_id":"X-Request-Id"}"#);
    let mut client = proxyd.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n{section}\r\n"
    ));
    let answer = client.answer();
    let kept = vec![("X-Sum".to_owned(), "7".to_owned())];
    assert_eq!(answer.trailers, kept);
    let seen = backend.seen().pop().unwrap();
    assert_eq!(seen.trailers, kept);
    assert_eq!(answer.field("x-request-id"), seen.field("x-request-id"));
}

#[test]
fn p09_trailers_are_bounded() {
    let backend = Backend::start(|seen, out| {
        write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")?;
        let section = if seen.target == "/long" {
            format!("X: {}\r\n", "x".repeat(9000))
        } else {
            "X: y\r\n".repeat(200)
        };
        write!(out, "{section}\r\n")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    for target in ["/long", "/many"] {
        let mut client = proxyd.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\n\r\n"));
        let answer = client.try_answer(false);
        let refused = answer.is_ok_and(|answer| answer.status == 502 || !answer.complete);
        assert!(refused, "{target}");
    }
    let backend = Backend::saying("ok");
    proxyd.put_target("app", "1", &backend.target());
    for section in [format!("X: {}\r\n", "x".repeat(9000)), "X: y\r\n".repeat(200)] {
        let mut client = proxyd.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{section}\r\n"
        ));
        assert_eq!(client.answer().status, 400);
    }
    assert!(backend.seen().is_empty());
}
