//! proxyd: what of a request's body has not gone through is nobody's next request, in front or behind.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::proxyd::{Backend, Client, Proxyd, wait_for};

const ADMIN: &str = "GET /admin HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[test]
fn p09_a_body_that_was_too_large_is_no_request() {
    let backend = Backend::raw(|mut connection| while connection.more().is_some() {});
    let proxyd = Proxyd::with_target(&backend.target());
    let limited = r#"{"service":"app","limits":{"body_bytes":10}}"#;
    assert_eq!(proxyd.put("/routes/app.test", limited).status, 200);
    let body = format!("{ADMIN:x<64}");
    let chunk = format!("{:x}\r\n", body.len());
    let end = "\r\n0\r\n\r\n";
    // In one piece behind its size, and together with it: which of them is parsed is not to matter.
    for (first, then) in [(&*chunk, format!("{body}{end}")), ("", format!("{chunk}{body}{end}"))] {
        let mut client = proxyd.client();
        let head = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let asked = backend.connections();
        client.send(format!("{head}{first}"));
        wait_for("the head at the backend", || (backend.connections() > asked).then_some(()));
        client.send(then);
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (413, Some("close".to_owned())));
        assert!(client.is_closed(), "something else was answered, too");
    }
    let came = backend.raw_bytes().concat();
    assert!(!String::from_utf8_lossy(&came).contains("/admin"));
}

/// A target behind a unix socket, which answers a body early and reads hardly any of it.
struct Early {
    listener: UnixListener,
    answer: &'static [u8],
}

impl Early {
    /// Has a client send a body of so many bytes, and answers when the proxy has perhaps read the last of it, which waits
    /// for room. If some of it has not come here, the client is told that this was all, and it was. Returns the
    /// connection then.
    fn meet(&self, client: &mut Client, size: usize) -> Option<UnixStream> {
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut asked = self.accept().expect("a connection");
        let mut came = vec![0; 1024];
        let head = asked.read(&mut came).unwrap();
        came.truncate(head);
        let body = ADMIN.repeat(size / ADMIN.len() + 1);
        let body = format!("{size:x}\r\n{}\r\n0\r\n\r\n", &body[..size]);
        let mut stream = client.stream.try_clone().unwrap();
        let sending = thread::spawn(move || drop(stream.write_all(body.as_bytes())));
        thread::sleep(PAUSE);
        asked.read_exact(&mut vec![0; 60_000]).unwrap();
        thread::sleep(PAUSE);
        asked.write_all(self.answer).unwrap();
        let answer = client.answer();
        assert!(matches!(answer.status, 401 | 502), "{answer:?}");
        asked.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 65536];
        while let Ok(count @ 1..) = asked.read(&mut buffer) {
            came.extend_from_slice(&buffer[..count]);
        }
        if came.ends_with(b"\r\n0\r\n\r\n") {
            return None;
        }
        assert_eq!(answer.field("connection").as_deref(), Some("close"), "{size}");
        assert!(client.is_closed(), "{size}: something else was answered, too");
        sending.join().unwrap();
        Some(asked)
    }

    fn accept(&self) -> Option<UnixStream> {
        let until = Instant::now() + Duration::from_secs(5);
        self.listener.set_nonblocking(true).unwrap();
        while Instant::now() < until {
            if let Ok((stream, _)) = self.listener.accept() {
                stream.set_nonblocking(false).unwrap();
                return Some(stream);
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

/// Until all that can move without the target has moved.
const PAUSE: Duration = Duration::from_millis(20);

/// Does it with bodies of several sizes: how much sockets take is up to the kernel.
fn early(answer: &'static [u8], afterwards: impl Fn(&Early, &Proxyd)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let early = Early { listener: UnixListener::bind(&path).unwrap(), answer };
    let mut met = 0;
    for size in (180_000..420_000).step_by(15_000) {
        let proxyd = Proxyd::with_target(&format!("unix:{}", path.display()));
        // It stays open from this side.
        if let Some(_asked) = early.meet(&mut proxyd.client(), size) {
            met += 1;
            afterwards(&early, &proxyd);
        }
    }
    assert!(met > 0);
}

#[test]
fn p06_a_connection_with_half_a_body_on_it_is_asked_nothing_else() {
    early(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", |early, proxyd| {
        let mut next = proxyd.client();
        next.send("GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut clean = early.accept().expect("a connection of its own");
        let mut buffer = [0; 1024];
        let count = clean.read(&mut buffer).unwrap();
        assert!(buffer[..count].starts_with(b"GET /next "));
        clean.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(next.answer().status, 204);
    });
}

#[test]
fn p09_the_rest_of_a_body_that_was_refused_is_no_request() {
    early(b"HTTP/1.1 nonsense\r\n\r\n", |_, _| {});
}

#[test]
fn p09_what_is_pipelined_behind_a_body_is_told_and_answered_whatever_its_size() {
    let backend = Backend::start(|seen, out| {
        // More than is passed on at once.
        let size = if seen.target == "/b" { 40_000 } else { 2 };
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("POST /a HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    wait_for("the head at the backend", || (backend.connections() == 1).then_some(()));
    let body = "y".repeat(50_000);
    client.send(format!(
        "5\r\nhello\r\n0\r\n\r\n\
         POST /b HTTP/1.1\r\nHost: app.test\r\nContent-Length: 50000\r\n\r\n{body}"
    ));
    assert_eq!(client.answer().body, b"xx");
    assert_eq!(client.answer().body.len(), 40_000);
    assert_eq!(backend.seen()[1].body, body.as_bytes());
    assert_eq!(client.get("/c").body, b"xx", "it goes on");
    wait_for("its line in the log", || {
        proxyd.access_log().contains("\"POST /b HTTP/1.1\" 200 40000 ").then_some(())
    });
}

#[test]
fn p04_one_change_swaps_targets_and_loses_nothing() {
    let backends = [Backend::saying("one"), Backend::saying("two")];
    let proxyd = Proxyd::with_target(&backends[0].target());
    // The longer a change takes, the sooner somebody asks in the middle of it.
    let others: Vec<String> = (0..3000)
        .map(|n| format!(r#""z{n}":{{"targets":{{"1":{{"address":"tcp:127.0.0.1:9"}}}}}}"#))
        .collect();
    let address = proxyd.address;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut statuses = Vec::new();
                while !statuses.ends_with(&[0]) {
                    let answer = client.get("/");
                    statuses.push(if answer.text() == "last" { 0 } else { answer.status });
                }
                statuses
            })
        })
        .collect();
    for round in 0..60 {
        let (number, backend) = (round % 3, &backends[round % 2]);
        let app = format!(r#"{{"targets":{{"{number}":{{"address":"{}"}}}}}}"#, backend.target());
        let config = format!(
            r#"{{"services":{{"app":{app},{}}},"routes":{{"app.test":{{"service":"app"}}}}}}"#,
            others.join(",")
        );
        let answer = proxyd.put("/config", &config);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    let last = Backend::saying("last");
    proxyd.put_target("app", "last", &last.target());
    for number in 0..3 {
        let path = format!("/services/app/targets/{number}");
        proxyd.control("DELETE", &path, "", "");
    }
    for client in clients {
        let statuses = client.join().unwrap();
        let bad = statuses.iter().filter(|status| !matches!(status, 0 | 200)).count();
        assert_eq!(bad, 0, "of {}", statuses.len());
    }
}
