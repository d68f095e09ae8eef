//! proxyd: bodies of every size and framing, whole or visibly cut.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use jobinit_tests::proxyd::{Backend, Proxyd, binary, checksum, noise, wait_for};

const MIB: usize = 1 << 20;

/// Sends back the body of each request: in chunks for `/chunked`, until the end of the connection
/// for `/close`, else with its length.
fn echo() -> Backend {
    Backend::start(|seen, out| {
        let framing = match seen.target.as_str() {
            "/chunked" => "Transfer-Encoding: chunked".to_owned(),
            "/close" => "Connection: close".to_owned(),
            _ => format!("Content-Length: {}", seen.body.len()),
        };
        write!(out, "HTTP/1.1 200 OK\r\nX-Sum: {}\r\n{framing}\r\n\r\n", checksum(&seen.body))?;
        if seen.target == "/chunked" {
            send_chunks(out, &seen.body)?;
        } else {
            out.write_all(&seen.body)?;
        }
        Ok(seen.target != "/close")
    })
}

/// In chunks of ever other sizes, some with an extension.
fn send_chunks(out: &mut TcpStream, mut body: &[u8]) -> std::io::Result<()> {
    let mut size = 1;
    while !body.is_empty() {
        let (chunk, rest) = body.split_at(size.min(body.len()));
        let extension = if size % 2 == 0 { ";a=b" } else { "" };
        write!(out, "{:x}{extension}\r\n", chunk.len())?;
        out.write_all(chunk)?;
        out.write_all(b"\r\n")?;
        body = rest;
        size = size * 3 % 100_003 + 1;
    }
    out.write_all(b"0\r\nX-Trailer: 1\r\n\r\n")
}

#[test]
fn bodies_both_ways() {
    let backend = echo();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for (number, size) in [0, 1, 1000, 20_000, 40_000, 300_000, 8 * MIB].into_iter().enumerate() {
        let body = noise(number as u64, size);
        for target in ["/length", "/chunked", "/close"] {
            for chunked in [false, true] {
                let framing = if chunked {
                    "Transfer-Encoding: chunked".to_owned()
                } else {
                    format!("Content-Length: {size}")
                };
                client
                    .send(format!("POST {target} HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n"));
                // Sending and receiving at once: neither side may wait for the other.
                let mut out = client.stream.try_clone().unwrap();
                let answer = thread::scope(|scope| {
                    scope.spawn(|| {
                        if chunked {
                            send_chunks(&mut out, &body).unwrap();
                        } else {
                            out.write_all(&body).unwrap();
                        }
                    });
                    client.answer()
                });
                let case = format!("{target} {size} chunked: {chunked}");
                assert_eq!(answer.status, 200, "{case}");
                assert!(answer.complete, "{case}");
                assert_eq!(answer.body.len(), size, "{case}");
                assert_eq!(checksum(&answer.body), checksum(&body), "{case}");
                assert_eq!(answer.field("x-sum").unwrap(), checksum(&body).to_string(), "{case}");
            }
        }
    }
}

#[test]
fn bodies_stream() {
    // The backend sends a piece only after the client has the one before: nothing is held back.
    let (go, going) = channel::<()>();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::start(move |_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for piece in ["one", "two", "six"] {
            write!(out, "3\r\n{piece}\r\n")?;
            going.lock().unwrap().recv().unwrap();
        }
        out.write_all(b"0\r\n\r\n")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_exact(1));
    }
    for piece in ["one", "two", "six"] {
        assert_eq!(client.read_exact(8), format!("3\r\n{piece}\r\n").as_bytes());
        go.send(()).unwrap();
    }
    assert_eq!(client.read_exact(5), b"0\r\n\r\n");
    // And the other way.
    let (came, coming) = channel();
    let backend = Backend::raw(move |mut connection| {
        connection.head();
        for _ in 0..3 {
            came.send(connection.read_exact(3)).unwrap();
        }
        connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    proxyd.put_target("app", "1", &backend.target());
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9\r\n\r\n");
    for piece in ["one", "two", "six"] {
        client.send(piece);
        assert_eq!(coming.recv().unwrap().unwrap(), piece.as_bytes());
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn expect_100_continue() {
    let backend = Backend::raw(|mut connection| {
        let head = connection.head().unwrap();
        assert_eq!(head.field("expect").unwrap(), "100-continue");
        connection.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let body = connection.read_exact(5).unwrap();
        assert_eq!(body, b"hello");
        connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        let head = connection.head().unwrap();
        assert_eq!(head.target, "/no");
        connection.stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
        connection.more();
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let head = "HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("PUT /yes {head}"));
    assert_eq!(client.answer().status, 100);
    client.send("hello");
    assert_eq!(client.answer().text(), "ok");
    client.send(format!("PUT /no {head}"));
    assert_eq!(client.answer().text(), "no");
    assert!(client.is_closed(), "the body may still come: this cannot be reused");
}

#[test]
fn truncated_answers_are_cut() {
    let backend = Backend::start(|seen, out| {
        let answer = match seen.target.as_str() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
            "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort",
            "/chunks" | "/bad" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"
            }
            _ => "HTTP/1.1 200 OK\r\nContent-Le",
        };
        out.write_all(answer.as_bytes())?;
        if seen.target == "/bad" {
            thread::sleep(std::time::Duration::from_millis(50));
            out.write_all(b"x\r\n")?;
            return Ok(true);
        }
        Ok(false)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    for target in ["/length", "/chunk", "/chunks", "/bad"] {
        let mut client = proxyd.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        let answer = client.try_answer(false);
        assert!(answer.is_ok_and(|answer| !answer.complete), "{target}");
        // To an HTTP/1.0 client only a reset says that there should have been more.
        let mut client = proxyd.client();
        client.send(format!("GET {target} HTTP/1.0\r\nHost: app.test\r\n\r\n"));
        let mut all = Vec::new();
        let end = std::io::Read::read_to_end(&mut client.stream, &mut all);
        let length = String::from_utf8_lossy(&all).contains("Content-Length");
        assert!(end.is_err() || length, "{target} looks complete: {all:?}");
    }
    let mut client = proxyd.client();
    assert_eq!(client.get("/head").status, 502);
}

#[test]
fn a_client_that_ends_in_its_body_reaches_nobody() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    for head in ["Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
    {
        let mut client = proxyd.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{head}"));
        client.finish_sending();
        assert!(client.try_answer(false).is_err());
    }
    assert!(backend.seen().is_empty(), "no request was complete");
    assert_eq!(proxyd.state().services["app"].targets["1"].in_flight, 0);
}

/// Ends of pipes that a process has open.
fn pipes(pid: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    open.filter_map(|file| std::fs::read_link(file.path()).ok())
        .filter(|link| link.to_string_lossy().starts_with("pipe:"))
        .count()
}

#[test]
fn large_bodies_of_known_length_are_not_copied() {
    // Half of an answer, and the rest of it or the end once somebody says so.
    let (go, going) = channel::<()>();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::start(move |seen, out| {
        if seen.target == "/small" {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            return Ok(true);
        }
        let body = noise(7, MIB);
        write!(out, "HTTP/1.1 200 OK\r\nX-Sum: {}\r\n", checksum(&body))?;
        write!(out, "Content-Length: {MIB}\r\n\r\n")?;
        let (half, rest) = body.split_at(MIB / 2);
        out.write_all(half)?;
        going.lock().unwrap().recv().unwrap();
        if seen.target == "/cut" {
            return Ok(false);
        }
        out.write_all(rest)?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    assert_eq!(client.get("/small").text(), "ok");
    let before = pipes(proxyd.pid());
    client.send("GET /whole HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("a pipe", || (pipes(proxyd.pid()) == before + 2).then_some(()));
    go.send(()).unwrap();
    let answer = client.answer();
    assert!(answer.complete);
    assert_eq!(answer.field("x-sum").unwrap(), checksum(&answer.body).to_string());
    assert_eq!(client.get("/small").text(), "ok");
    client.send("GET /cut HTTP/1.1\r\nHost: app.test\r\n\r\n");
    go.send(()).unwrap();
    assert!(!client.answer().complete, "half of it is not all of it");
    assert_eq!(pipes(proxyd.pid()), before + 2, "it is kept for the next one");
    // Both connections to the target went on as far as they could.
    assert_eq!(backend.connections(), 1);
}

#[test]
fn so_are_those_of_requests() {
    let backend = echo();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    assert_eq!(client.get("/small").status, 200);
    let before = pipes(proxyd.pid());
    let body = noise(9, MIB);
    let (half, rest) = body.split_at(MIB / 2);
    let head = format!("POST /length HTTP/1.1\r\nHost: app.test\r\nContent-Length: {MIB}\r\n\r\n");
    client.send(&head);
    client.send(half);
    wait_for("a pipe", || (pipes(proxyd.pid()) == before + 2).then_some(()));
    client.send(rest);
    let answer = client.answer();
    assert!(answer.complete && checksum(&answer.body) == checksum(&body));
    let mut client = proxyd.client();
    client.send(&head);
    client.send(half);
    client.finish_sending();
    assert!(client.try_answer(false).is_err(), "half of it is not all of it");
    assert_eq!(backend.seen().len(), 2, "which nobody was told it is");
}

#[test]
fn where_descriptors_are_few_large_bodies_are_copied() {
    let backend = echo();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("prlimit");
    // Half of what is left besides proxyd's own is not free any more.
    command.arg("--nofile=48:48").arg(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--control"]);
    command.arg(folder.path().join("control"));
    command.arg("--access-log").arg(folder.path().join("access.log"));
    let proxyd = Proxyd::spawn(&mut command, folder);
    proxyd.put_target("app", "1", &backend.target());
    proxyd.put_route("app.test", "app");
    let before = pipes(proxyd.pid());
    let body = noise(3, MIB);
    let mut clients: Vec<_> = (0..10).map(|_| proxyd.client()).collect();
    for client in &mut clients {
        client.send(format!(
            "POST /length HTTP/1.1\r\nHost: app.test\r\nContent-Length: {MIB}\r\n\r\n"
        ));
    }
    for client in &mut clients {
        client.send(&body);
        let answer = client.answer();
        assert!(answer.complete && checksum(&answer.body) == checksum(&body));
    }
    assert_eq!(pipes(proxyd.pid()), before);
}
