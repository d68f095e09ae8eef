//! proxyd: bounds on sizes and times, for all routes or for one.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use jobinit_tests::proxyd::{Backend, Client, Proxyd, wait_for};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

fn post(client: &mut Client, host: &str, size: usize) {
    client.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n"));
}

/// What a text of limits does to a second host with the same target.
fn put_limits(proxyd: &Proxyd, host: &str, limits: &str) {
    let answer = proxyd
        .put(&format!("/routes/{host}"), &format!(r#"{{"service":"app","limits":{limits}}}"#));
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

#[test]
fn p10_sizes_of_a_head() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"head_bytes":300,"fields":4,"uri_bytes":50}"#);
    let long = |size| "x".repeat(size);
    for (head, status) in [
        (format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", long(49)), 200),
        (format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", long(50)), 414),
        (format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", "X: y\r\n".repeat(3)), 200),
        (format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", "X: y\r\n".repeat(4)), 431),
        (format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n\r\n", long(262)), 431),
        // Before it is complete, too.
        (format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}", long(280)), 431),
    ] {
        let mut client = proxyd.client();
        client.send(&head);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{head}");
        if status != 200 {
            assert!(answer.text().contains("is allowed here"), "{}", answer.text());
            assert!(client.is_closed());
        }
    }
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn p10_a_body_that_is_too_large_reaches_nobody() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"limits":{"body_bytes":1000}}"#);
    put_limits(&proxyd, "large.test", r#"{"body_bytes":100000}"#);
    for (host, size, status) in [
        ("app.test", 1000, 200),
        ("app.test", 1001, 413),
        ("app.test", 1_000_000_000, 413),
        ("large.test", 100_000, 200),
        ("large.test", 100_001, 413),
    ] {
        let mut client = proxyd.client();
        post(&mut client, host, size);
        if status == 200 {
            client.send(vec![b'x'; size]);
        }
        assert_eq!(client.answer().status, status, "{host} {size}");
    }
    // Whole with its head and too large all the same: the connection goes on behind it.
    let mut client = proxyd.client();
    let body = "x".repeat(1001);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1001\r\n\r\n{body}\
         POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
         3e9\r\n{body}\r\n0\r\n\r\nGET /behind HTTP/1.1\r\nHost: app.test\r\n\r\n"
    ));
    assert_eq!(client.answer().status, 413);
    assert_eq!(client.answer().status, 413);
    assert_eq!(client.answer().text(), "ok");
    // Whoever asks before it sends is told before it sends.
    let mut client = proxyd.client();
    client.send(
        "PUT / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n",
    );
    assert_eq!(client.answer().status, 413);
    let seen = backend.seen();
    assert!(seen.iter().all(|seen| matches!(seen.body.len(), 0 | 1000 | 100_000)));
    assert_eq!(seen.len(), 3);
    let bytes: usize = backend.raw_bytes().iter().map(Vec::len).sum();
    assert!(bytes < 103_000, "{bytes}");
}

#[test]
fn p10_a_body_that_grows_too_large_is_cut() {
    let backend = Backend::raw(|mut connection| {
        let Some(head) = connection.head() else { return };
        if head.target == "/early" {
            let _ = connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbeg");
        }
        while connection.more().is_some() {
            connection.take_unread();
        }
    });
    let proxyd = Proxyd::with_target(&backend.target());
    put_limits(&proxyd, "app.test", r#"{"body_bytes":5000}"#);
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let head = "HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = proxyd.client();
    client.send(format!("POST / {head}"));
    wait_for("the head at the backend", || (!backend.raw_bytes().is_empty()).then_some(()));
    for _ in 0..5 {
        client.send(&chunk);
    }
    assert_eq!(backend.open_connections(), 1);
    client.send(&chunk);
    assert_eq!(client.answer().status, 413);
    wait_for("the end at the backend", || (backend.open_connections() == 0).then_some(()));
    // An answer that has begun is not followed by another.
    let mut client = proxyd.client();
    client.send(format!("POST /early {head}"));
    let begun = client.read_exact(41);
    assert!(begun.starts_with(b"HTTP/1.1 200"));
    let mut sent = true;
    while sent {
        sent = client.try_send(&chunk).is_ok();
    }
    wait_for("the end at the backend", || (backend.open_connections() == 0).then_some(()));
    wait_for("nothing in flight", || {
        (proxyd.state().services["app"].targets["1"].in_flight == 0).then_some(())
    });
}

/// Answers `/slow` after a moment, `/pause` with a pause in its body, else at once.
fn pausing(pause: Duration) -> Backend {
    Backend::start(move |seen, out| {
        if seen.target == "/slow" {
            std::thread::sleep(pause);
        }
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbeg")?;
        if seen.target == "/pause" {
            std::thread::sleep(pause);
        }
        out.write_all(b"end")?;
        Ok(true)
    })
}

#[test]
fn p10_times_by_route() {
    let backend = pausing(Duration::from_secs(2));
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"body_ms":700,"limits":{"answer_ms":700}}"#);
    put_limits(&proxyd, "patient.test", r#"{"answer_ms":20000,"stream_idle_ms":20000}"#);
    let ask = |host: &str, path: &str| {
        let mut client = proxyd.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.try_answer(false)
    };
    assert_eq!(ask("app.test", "/").unwrap().text(), "begend");
    assert_eq!(ask("app.test", "/slow").unwrap().status, 504);
    assert!(ask("app.test", "/pause").is_ok_and(|answer| !answer.complete));
    for path in ["/slow", "/pause"] {
        assert_eq!(ask("patient.test", path).unwrap().text(), "begend", "{path}");
    }
}

#[test]
fn p10_a_target_that_takes_no_connection_is_504() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let _nobody_accepts = UnixListener::bind(&path).unwrap();
    let mut line = Vec::new();
    loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let stranger = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        if connect(stranger.as_raw_fd(), &UnixAddr::new(&path).unwrap()).is_err() {
            break;
        }
        line.push(stranger);
    }
    let proxyd = Proxyd::with_target(&format!("unix:{}", path.display()));
    proxyd.put_front(r#"{"connect_ms":300}"#);
    let begin = Instant::now();
    let answer = proxyd.client().get("/");
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(begin.elapsed() < Duration::from_millis(2800), "{:?}", begin.elapsed());
}

#[test]
fn p10_a_target_that_takes_no_body_is_504() {
    let backend = Backend::raw(|mut connection| {
        connection.head();
        std::thread::sleep(Duration::from_secs(15));
    });
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"write_ms":300,"limits":{"answer_ms":300}}"#);
    let mut client = proxyd.client();
    post(&mut client, "app.test", 50_000_000);
    let begin = Instant::now();
    let block = vec![b'x'; 100_000];
    while client.try_send(&block).is_ok() && begin.elapsed() < Duration::from_secs(10) {}
    assert_eq!(client.answer().status, 504);
}

#[test]
fn p10_idle_clients_and_slow_heads() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"idle_ms":1000,"head_ms":1000}"#);
    let mut idle = proxyd.client();
    let mut used = proxyd.client();
    used.get("/");
    let mut slow = proxyd.client();
    slow.send("GET / HTTP/1.1\r\nHost:");
    let begin = Instant::now();
    assert!(idle.is_closed() && used.is_closed());
    assert_eq!(slow.answer().status, 408);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(700) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn p10_an_idle_stream_is_closed() {
    let backend = Backend::raw(|mut connection| {
        connection.head();
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\
                       Connection: Upgrade\r\n\r\n";
        let _ = connection.stream.write_all(answer);
        while connection.more().is_some() {}
    });
    let proxyd = Proxyd::with_target(&backend.target());
    put_limits(&proxyd, "app.test", r#"{"stream_idle_ms":300}"#);
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.answer().status, 101);
    assert!(client.is_closed());
    wait_for("the end at the backend", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn p10_a_body_that_drips_is_408() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"rate_window_ms":500,"limits":{"body_rate":1000}}"#);
    put_limits(&proxyd, "patient.test", r#"{"body_rate":0}"#);
    let drip = |host: &str, size: usize| {
        let mut client = proxyd.client();
        post(&mut client, host, size);
        client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        for _ in 0..size {
            // A byte at a time is always something, but not enough.
            if client.try_send("x").is_err() {
                break;
            }
            if let Ok(answer) = client.try_answer(false) {
                return answer.status;
            }
        }
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.answer().status
    };
    assert_eq!(drip("app.test", 1000), 408);
    assert_eq!(drip("patient.test", 30), 200);
    wait_for("nothing in flight", || {
        (proxyd.state().services["app"].targets["1"].in_flight == 0).then_some(())
    });
}

#[test]
fn p10_whoever_waits_for_the_target_is_not_slow() {
    // The target takes nothing for much longer than the window: that is not the client's fault.
    let backend = Backend::raw(|mut connection| {
        connection.head();
        std::thread::sleep(Duration::from_millis(1500));
        while connection.take_unread().len() < 8 << 20 {
            if connection.more().is_none() {
                return;
            }
            let unread = connection.take_unread();
            if unread.ends_with(b"end") {
                break;
            }
        }
        let _ = connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"rate_window_ms":300,"limits":{"body_rate":100000}}"#);
    let mut client = proxyd.client();
    let mut body = vec![b'x'; 16 << 20];
    body.extend(b"end");
    post(&mut client, "app.test", body.len());
    client.send(&body);
    assert_eq!(client.answer().text(), "ok");
}
