//! proxyd: clients that are slow on purpose, go away, or say only half a goodbye. Others are served
//! all the while.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jobinit_tests::cost::anonymous;
use jobinit_tests::proxyd::{Backend, Client, Proxyd, wait_for};

/// Answers with as many bytes as the path says.
fn sized() -> Backend {
    Backend::start(|seen, out| {
        let mut left = seen.target.trim_start_matches('/').parse().unwrap_or(2);
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n")?;
        if seen.method == "HEAD" {
            return Ok(true);
        }
        while left > 0 {
            let size = left.min(10_000);
            out.write_all(&[b'x'; 10_000][..size])?;
            left -= size;
        }
        Ok(true)
    })
}

/// The connections that a process has.
fn sockets(pid: u32) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn p10_a_client_that_takes_nothing_is_cut() {
    let backend = sized();
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"write_ms":400}"#);
    let mut stuck = proxyd.client();
    stuck.send("GET /50000000 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request at the backend", || (backend.seen().len() == 1).then_some(()));
    wait_for("the cut", || {
        (proxyd.state().services["app"].targets["1"].in_flight == 0).then_some(())
    });
    let mut rest = Vec::new();
    assert!(stuck.stream.read_to_end(&mut rest).is_err(), "it is a reset, not an end");
}

#[test]
fn p10_a_client_that_takes_little_is_cut() {
    let backend = sized();
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"rate_window_ms":500,"limits":{"body_rate":100000000}}"#);
    let mut slow = proxyd.client();
    slow.send("GET /100000000 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request at the backend", || (backend.seen().len() == 1).then_some(()));
    // Some 10 MB a second, which is enough for anything but this.
    let mut buffer = vec![0; 100_000];
    let begin = Instant::now();
    let ended = loop {
        match slow.stream.read(&mut buffer) {
            Ok(0) | Err(_) => break true,
            Ok(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        if begin.elapsed() > Duration::from_secs(15) {
            break false;
        }
    };
    assert!(ended, "it was never cut");
}

/// What becomes of a body that comes at some 20 bytes a second, of which a window is judged.
fn trickled(proxyd: &Proxyd, framing: &str, piece: &str, end: &str) -> u16 {
    let mut client = proxyd.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n"));
    for _ in 0..20 {
        if client.try_send(piece).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = client.try_send(end);
    client.answer().status
}

#[test]
fn p10_a_stream_may_say_little() {
    let backend = Backend::saying("heard");
    let proxyd = Proxyd::with_target(&backend.target());
    for (front, of_length, of_stream) in [
        (r#"{"rate_window_ms":300}"#, 408, 200),
        (r#"{"rate_window_ms":300,"limits":{"body_rate":200}}"#, 408, 408),
        (r#"{"rate_window_ms":300,"limits":{"body_rate":0}}"#, 200, 200),
    ] {
        proxyd.put_front(front);
        assert_eq!(trickled(&proxyd, "Content-Length: 20", "x", ""), of_length, "{front}");
        let chunked = trickled(&proxyd, "Transfer-Encoding: chunked", "1\r\nx\r\n", "0\r\n\r\n");
        assert_eq!(chunked, of_stream, "{front}");
    }
}

#[test]
fn p10_a_slow_target_is_not_a_slow_client() {
    let backend = Backend::start(|_, out| {
        write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..15 {
            out.write_all(b"1\r\nx\r\n")?;
            std::thread::sleep(Duration::from_millis(100));
        }
        out.write_all(b"0\r\n\r\n")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"rate_window_ms":200,"limits":{"body_rate":1000000}}"#);
    let answer = proxyd.client().get("/");
    assert_eq!((answer.text().len(), answer.complete), (15, true));
}

#[test]
fn a_client_that_has_ended_its_side_counts_as_gone() {
    let backend = Backend::raw(|mut connection| {
        connection.request();
        // Until the proxy gives it up.
        connection.more();
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.finish_sending();
    assert!(client.try_answer(false).is_err());
    wait_for("the end at the backend", || (backend.open_connections() == 0).then_some(()));
    wait_for("its line", || proxyd.access_log().contains(" 499 ").then_some(()));
    // By option it does not, but a reset is an end all the same.
    proxyd.put_front(r#"{"half_closed":true}"#);
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request", || (backend.seen().len() == 2).then_some(()));
    reset(client);
    wait_for("the end at the backend", || (backend.open_connections() == 0).then_some(()));
}

/// By option, a client that has said that it sends nothing more gets its answer all the same.
#[test]
fn a_half_closed_client_gets_its_answer() {
    let (go, going) = std::sync::mpsc::channel::<()>();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::start(move |seen, out| {
        if seen.target == "/wait" {
            going.lock().unwrap().recv().unwrap();
        }
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"half_closed":true}"#);
    for request in [
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET /wait HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
    ] {
        let before = backend.seen().len();
        let mut client = proxyd.client();
        client.send(request);
        client.finish_sending();
        if request.contains("/wait") {
            wait_for("the request", || (backend.seen().len() > before).then_some(()));
            go.send(()).unwrap();
        }
        for _ in 0..request.matches("HTTP/1").count() {
            assert_eq!(client.answer().text(), "ok", "{request}");
        }
        assert!(client.is_closed());
    }
}

#[test]
fn clients_that_reset_leave_nothing_behind() {
    let backend = sized();
    let mut proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"write_ms":2000}"#);
    let before = sockets(proxyd.pid());
    for request in [
        "",
        "GET / HT",
        "GET /30000000 HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ] {
        for _ in 0..10 {
            let mut client = proxyd.client();
            client.send(request);
            reset(client);
        }
    }
    wait_for("nothing in flight", || {
        (proxyd.state().services["app"].targets["1"].in_flight == 0).then_some(())
    });
    wait_for("no connection left", || (sockets(proxyd.pid()) <= before).then_some(()));
    assert!(proxyd.is_running() && !proxyd.stderr().contains("panicked"));
}

/// Closes so that the other side sees a reset.
fn reset(client: Client) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&client.stream, nix::sys::socket::sockopt::Linger, &linger)
        .unwrap();
    drop(client);
}

#[test]
fn expectations() {
    let backend = Backend::raw(|mut connection| {
        while let Some(head) = connection.head() {
            let answer: &[u8] = match head.target.as_str() {
                // Refuses without having seen the body, and stays.
                "/no" => b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
                "/final" => {
                    connection.read_exact(5);
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                _ => {
                    if head.field("expect").is_some() {
                        let _ = connection.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    connection.read_exact(5);
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
            };
            if connection.stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let head = |path: &str, version: &str| {
        format!(
            "PUT {path} HTTP/{version}\r\nHost: app.test\r\nConnection: keep-alive\r\n\
             Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    // By the book.
    let mut client = proxyd.client();
    client.send(head("/", "1.1"));
    assert_eq!(client.answer().status, 100);
    client.send("hello");
    assert_eq!(client.answer().text(), "ok");
    // Sent without waiting, with the head and behind it: the 100 comes all the same, or not at all.
    client.send(head("/", "1.1") + "hello");
    assert_eq!(client.answer().status, 100);
    assert_eq!(client.answer().text(), "ok");
    client.send(head("/final", "1.1"));
    client.send("hello");
    assert_eq!(client.answer().text(), "ok");
    // HTTP/1.0 knows no 100, and the target is not asked for one.
    client.send(head("/", "1.0") + "hello");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    // Refused early: the answer arrives, sent or not, and what was not sent is not waited for.
    for body in ["", "hello"] {
        let mut client = proxyd.client();
        client.send(head("/no", "1.1"));
        client.send(body);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
        assert!(body.is_empty() || client.try_send(head("/", "1.1")).is_ok());
    }
    // Nobody there to expect anything of.
    let mut client = proxyd.client();
    client.send(head("/", "1.1").replace("app.test", "other.test"));
    assert_eq!(client.answer().status, 404);
    assert!(client.is_closed());
}

/// slowhttptest in one of its modes, with more connections than anybody should have. `mark` is in the
/// log's line of each that has been cut, or served.
fn attack(proxyd: &Proxyd, mode: &[&str], mark: &str) {
    let url = format!("http://{}/20000000", proxyd.address);
    let Ok(mut child) = Command::new("slowhttptest")
        .args(mode)
        .args(["-c", "300", "-r", "150", "-i", "1", "-l", "8", "-p", "20", "-u", &url])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        panic!("there is no slowhttptest: `make deps` installs it");
    };
    let begin = Instant::now();
    let mut worst = Duration::ZERO;
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(40), "the attack does not end");
        let asked = Instant::now();
        assert_eq!(proxyd.client().get("/2").text(), "xx", "others are served");
        worst = worst.max(asked.elapsed());
        most = most.max(anonymous(proxyd.pid()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = wait_for("their lines in the log", || {
        let count = proxyd.access_log().lines().filter(|line| line.contains(mark)).count();
        (count >= 200).then_some(count)
    });
    println!("{mode:?}: {ended} ended; others waited {worst:?} at most; {most} KiB at most");
    assert!(worst < Duration::from_secs(5), "{mode:?}: others waited {worst:?}");
    assert!(most < 160 * 1024, "{mode:?}: {most} KiB");
    wait_for("all attackers gone", || (sockets(proxyd.pid()) < 30).then_some(()));
}

/// Times that are short enough for a test, and what an attacker cannot keep up with.
const SHORT: &str = r#"{"head_ms":3000,"idle_ms":3000,"body_ms":3000,"write_ms":3000,
                        "rate_window_ms":2000,"limits":{"body_rate":200}}"#;

fn attacked(mode: &[&str], mark: &str) {
    let backend = sized();
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_route("127.0.0.1", "app");
    proxyd.put_front(SHORT);
    attack(&proxyd, mode, mark);
    assert_eq!(proxyd.client().get("/2").text(), "xx");
    // A client has its answer a moment before its request is counted out.
    wait_for("nothing in flight", || {
        (proxyd.state().services["app"].targets["1"].in_flight == 0).then_some(())
    });
}

#[test]
fn p10_slow_heads() {
    attacked(&["-H"], " 408 ");
}

#[test]
fn p10_slow_bodies() {
    attacked(&["-B", "-s", "4096"], " 408 ");
}

#[test]
fn p10_many_ranges() {
    attacked(&["-R", "-a", "1", "-b", "2000"], "HEAD /20000000");
}

#[test]
fn p10_slow_readers() {
    attacked(&["-X", "-w", "8", "-y", "16", "-n", "1", "-z", "4", "-k", "1"], "GET /20000000");
}
