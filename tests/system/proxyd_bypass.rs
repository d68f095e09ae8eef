//! proxyd: ways around what a route says, and ways to what is another client's.

use std::io::{Read, Write};
use std::net::Shutdown;

use jobinit_tests::proxyd::{Backend, Client, Connection, Proxyd, wait_for};
use nix::sys::signal::Signal;

/// Sends a body where there must be none, and only when the next request is there.
fn sends_a_late_body(mut connection: Connection) {
    let mut late = false;
    while let Some(seen) = connection.request() {
        let answer: &[u8] = match (late, seen.target.as_str()) {
            (true, _) => b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            (false, "/304") => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n",
            (false, "/head") => b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n",
            (false, "/chunked") => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            (false, "/bare") => b"HTTP/1.1 200 OK\r\n\r\n",
            (false, _) => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        };
        late = seen.target != "/";
        if connection.stream.write_all(answer).is_err() {
            return;
        }
    }
}

#[test]
fn p09_a_body_that_comes_late_is_nobody_s_answer() {
    let backend = Backend::raw(sends_a_late_body);
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for (method, path) in
        [("HEAD", "/head"), ("HEAD", "/chunked"), ("HEAD", "/bare"), ("GET", "/304")]
    {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        client.answer_to_head();
        assert_eq!(client.get("/").text(), "good", "behind {method} {path}");
    }
}

#[test]
fn p03_a_client_whose_body_was_not_taken_is_told_that_it_is_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app");
    // A unix socket tells at once that nobody reads, and still brings an answer.
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (tell, took_head) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        std::io::Read::read(&mut stream, &mut head).unwrap();
        stream.shutdown(Shutdown::Read).unwrap();
        tell.send(()).unwrap();
        // Most probably its answer comes when the proxy has seen that. Earlier, it is told the same.
        std::thread::sleep(std::time::Duration::from_millis(300));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(2));
    });
    let proxyd = Proxyd::with_target(&format!("unix:{}", path.display()));
    let mut client = proxyd.client();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\n");
    took_head.recv().unwrap();
    client.send(vec![b'x'; 1000]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
}

fn paths_that_come_through(proxyd: &Proxyd, backend: &Backend, targets: &[&str]) -> Vec<String> {
    for target in targets {
        let mut client = proxyd.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        assert!(matches!(client.answer().status, 200 | 400));
    }
    backend.seen().into_iter().map(|seen| seen.target).collect()
}

#[test]
fn nothing_outside_of_what_a_route_rewrites_to_is_asked_for() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let route = r#"{"service":"app","rewrite":"/public"}"#;
    assert_eq!(proxyd.put("/routes/app.test", route).status, 200);
    let odd = [
        "/../secret",
        "/x//../../secret",
        "//../secret",
        "/a//%2e%2e/%2e%2e/secret",
        "/x//..",
        "http://app.test/x//../../secret",
    ];
    let seen = paths_that_come_through(&proxyd, &backend, &odd);
    assert_eq!(seen, ["/public/secret"], "the others are refused");
}

#[test]
fn ipv4_networks_in_ipv6_clothes_are_denied() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let route = r#"{"service":"app","deny":["::ffff:127.0.0.0/104"]}"#;
    assert_eq!(proxyd.put("/routes/app.test", route).status, 200);
    assert_eq!(proxyd.client().get("/").status, 403);
}

#[test]
fn o16_a_host_with_an_empty_label_is_none() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_route("*", "app");
    for host in ["a..b", "..", ".app.test", "app.test..", "a..b:80"] {
        let mut client: Client = proxyd.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer().status, 400, "{host}");
    }
    assert_eq!(proxyd.put("/routes/a..b", r#"{"service":"app"}"#).error().error, "bad_host");
}

/// A proxy that drains answers what it has begun, and says that it was the last. What the client has
/// sent behind that must not become a reset, which could overtake the answer.
#[test]
fn p03_the_last_answer_arrives_whatever_is_sent_behind_its_request() {
    let (go, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |_, out| {
        wait.lock().unwrap().recv().unwrap();
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request at the app", || (backend.seen().len() == 1).then_some(()));
    proxyd.signal(Signal::SIGTERM);
    wait_for("it to drain", || proxyd.stderr().contains("draining").then_some(()));
    client.send("GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n");
    go.send(()).unwrap();
    let mut bytes = Vec::new();
    // To its end, which is no reset.
    client.stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("Connection: close") && text.ends_with("\r\n\r\nend"), "{text}");
    assert_eq!(backend.seen().len(), 1);
}
