//! proxyd: targets that are dead, slow to notice or rude, and clients that are slow.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use jobinit_tests::proxyd::{Backend, Proxyd, wait_for};

/// An address where nobody listens.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp:{}", listener.local_addr().unwrap())
}

#[test]
fn a_dead_target_is_502() {
    let proxyd = Proxyd::with_target(&dead());
    let mut client = proxyd.client();
    let answer = client.get("/");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("no connection to the app"), "{}", answer.text());
    proxyd.put_target("app", "1", "unix:/nowhere/at/all.sock");
    assert_eq!(client.get("/").status, 502);
    proxyd.delete_target("app", "1", 0);
    assert_eq!(client.get("/").status, 503);
    let backend = Backend::saying("back");
    proxyd.put_target("app", "2", &backend.target());
    assert_eq!(client.get("/").text(), "back", "the same connection serves on");
}

#[test]
fn p05_a_dead_target_beside_a_live_one_costs_nothing() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_target("app", "2", &dead());
    let mut client = proxyd.client();
    for number in 0..50 {
        assert_eq!(client.get("/").text(), "ok", "request {number}");
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.answer().text(), "ok", "POST {number}");
    }
}

#[test]
fn p05_a_reused_connection_that_was_closed_is_retried() {
    // Each connection answers one request, promises to stay, and closes.
    let backend = Backend::start(|_, out| {
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        Ok(false)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for number in 0..50 {
        assert_eq!(client.get("/").text(), "ok", "request {number}");
    }
}

#[test]
fn p05_what_is_not_idempotent_is_sent_once() {
    // The second request on a connection is read, and answered with nothing.
    let backend = Backend::raw(|mut connection| {
        if connection.request().is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            connection.stream.write_all(answer).unwrap();
            connection.request();
        }
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    assert_eq!(client.get("/first").text(), "ok");
    assert_eq!(client.get("/again").text(), "ok", "GET may be repeated");
    client.send("POST /once HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.answer().status, 502);
    let seen = backend.seen();
    let count = |target: &str| seen.iter().filter(|seen| seen.target == target).count();
    assert_eq!((count("/again"), count("/once")), (2, 1));
}

#[test]
fn a_target_that_says_nothing_is_502() {
    let backend = Backend::raw(|mut connection| {
        connection.request();
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let answer = client.get("/");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("without an answer"), "{}", answer.text());
    assert_eq!(backend.connections(), 1, "it is not asked twice");
}

#[test]
fn an_early_answer_to_an_upload_arrives() {
    let backend = Backend::raw(|mut connection| {
        connection.head();
        let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\
                       Connection: close\r\n\r\nbig";
        connection.stream.write_all(answer).unwrap();
        let _ = connection.stream.shutdown(std::net::Shutdown::Write);
        while connection.more().is_some() {
            connection.take_unread();
        }
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 50000000\r\n\r\n");
    let block = vec![0; 100_000];
    for _ in 0..20 {
        if client.try_send(&block).is_err() {
            break;
        }
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}

#[test]
fn p10_slow_client_is_408() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let mut slow = proxyd.client();
    let begin = Instant::now();
    slow.send("GET / HTTP/1.1\r\nHost: app.test\r\n");
    slow.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let answer = wait_for("the answer to a request that drips in", || {
        // A field twice a second keeps it alive, but gains no time.
        let _ = slow.try_send("X: y\r\n");
        slow.try_answer(false).ok()
    });
    assert_eq!(answer.status, 408);
    assert_eq!(answer.field("connection").unwrap(), "close");
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(13), "{took:?}");
    assert_eq!(proxyd.client().get("/").text(), "ok");
    assert!(backend.raw_bytes().len() <= 1);
}
