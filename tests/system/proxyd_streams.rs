//! proxyd: tunnels and streams of events, and what becomes of them when their target or the proxy goes.

use std::io::{ErrorKind, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::cost::anonymous;
use jobinit_tests::proxyd::websocket::{self, GOING_AWAY, SWITCHED, echo, frame, read_frame};
use jobinit_tests::proxyd::{Backend, Client, Proxyd, checksum, noise, wait_for};
use nix::sys::signal::Signal;
use nix::sys::socket::sockopt::Linger;
use proxyd_wire::Drained;

/// A backend that echoes what comes over a `WebSocket`, and what it was closed with.
fn echoes() -> (Backend, Receiver<Vec<u8>>) {
    let (tell, closed) = channel();
    let tell = Mutex::new(tell);
    (websocket::echoes(move |code| drop(tell.lock().unwrap().send(code))), closed)
}

fn delete(proxyd: &Proxyd, query: &str) -> Drained {
    let answer = proxyd.control("DELETE", &format!("/services/app/targets/1?{query}"), "", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn nothing_comes(client: &mut Client, for_ms: u64) {
    client.stream.set_read_timeout(Some(Duration::from_millis(for_ms))).unwrap();
    let mut byte = [0];
    let read = client.stream.peek(&mut byte);
    assert!(matches!(&read, Err(e) if e.kind() == ErrorKind::WouldBlock), "{read:?}");
    client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
}

const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn o19_websockets_pass_both_ways_and_closes_are_seen() {
    let (backend, closed) = echoes();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    websocket::open(&mut client);
    echo(&mut client, "hello");
    echo(&mut client, &"x".repeat(70_000));
    // A change that has nothing to do with it.
    proxyd.put_route("other.test", "app");
    proxyd.put_target("app", "2", &backend.target());
    proxyd.delete_target("app", "2", 0);
    client.send(frame(9, b"ping", true));
    assert_eq!(read_frame(|n| Some(client.read_exact(n))), Some((10, b"ping".to_vec())));
    client.send(frame(8, &1000_u16.to_be_bytes(), true));
    assert_eq!(closed.recv_timeout(DEADLINE).unwrap(), 1000_u16.to_be_bytes());
    assert_eq!(client.read_exact(4), [0x88, 2, 3, 0xe8], "the other end agrees");
    assert!(client.is_closed());
    wait_for("its line in the log", || {
        proxyd.access_log().contains("\"GET /ws HTTP/1.1\" 101 ").then_some(())
    });
}

#[test]
fn o19_half_a_tunnel_goes_on() {
    let backend = Backend::raw(|mut connection| {
        connection.head().unwrap();
        connection.stream.write_all(SWITCHED.replace("websocket", "x").as_bytes()).unwrap();
        // Answers only when it has been told that nothing more comes.
        while connection.more().is_some() {}
        let bytes = connection.take_unread();
        connection.stream.write_all(&bytes).unwrap();
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send(format!("GET / {}", websocket::UPGRADE.replace("websocket", "x")));
    assert_eq!(client.answer().status, 101);
    client.send("all of it");
    client.finish_sending();
    assert_eq!(client.read_exact(9), b"all of it");
    assert!(client.is_closed());
}

#[test]
fn p07_a_websocket_goes_on_for_its_grace_and_is_then_told_1001() {
    let (backend, closed) = echoes();
    let proxyd = Proxyd::with_target(&backend.target());
    assert_eq!(proxyd.put("/services/app", r#"{"stream_grace_ms":3000}"#).status, 200);
    let mut client = proxyd.client();
    websocket::open(&mut client);
    echo(&mut client, "before");
    assert_eq!(proxyd.state().services["app"].targets["1"].streams, 1);
    let begun = Instant::now();
    assert_eq!(delete(&proxyd, "grace_ms=10000"), Drained { left: 0, streams: 1 });
    assert!(begun.elapsed() < SECOND * 3, "streams are not waited for");
    echo(&mut client, "after");
    assert_eq!(client.read_exact(4), GOING_AWAY);
    assert!(begun.elapsed() > SECOND * 3);
    assert_eq!(closed.recv_timeout(DEADLINE).unwrap(), [3, 0xe9], "the target, too");
    client.send(frame(8, &[3, 0xe9], true));
    assert!(client.is_closed());
    wait_for("the target to be gone", || {
        (!proxyd.state().services["app"].targets.contains_key("1")).then_some(())
    });
}

#[test]
fn p07_who_says_so_waits_for_streams_too() {
    let (backend, closed) = echoes();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    websocket::open(&mut client);
    echo(&mut client, "hello");
    let agrees = thread::spawn(move || {
        assert_eq!(client.read_exact(4), GOING_AWAY);
        client.send(frame(8, &[3, 0xe9], true));
        assert!(client.is_closed());
    });
    let begun = Instant::now();
    let drained = delete(&proxyd, "grace_ms=100&stream_grace_ms=300");
    assert_eq!(drained, Drained { left: 0, streams: 0 });
    assert!(begun.elapsed() > Duration::from_millis(300));
    assert!(begun.elapsed() < SECOND * 2, "as soon as both have agreed");
    assert_eq!(closed.recv_timeout(DEADLINE).unwrap(), [3, 0xe9]);
    agrees.join().unwrap();
    let answer = proxyd.control("DELETE", "/services/app/targets/1?streams=1", "", "");
    assert!(answer.error().message.contains("stream_grace_ms"), "{answer:?}");
}

#[test]
fn p07_an_end_waits_for_the_end_of_a_frame_and_no_longer_than_its_time() {
    let (go, going) = channel::<()>();
    let going = Mutex::new(going);
    let whole = frame(2, &[5; 1000], false);
    let (first, rest) = (whole[..400].to_vec(), whole[400..].to_vec());
    let backend = Backend::raw(move |mut connection| {
        connection.head().unwrap();
        connection.stream.write_all(SWITCHED.as_bytes()).unwrap();
        connection.stream.write_all(&first).unwrap();
        going.lock().unwrap().recv().unwrap();
        connection.stream.write_all(&rest).unwrap();
        // Behind our last word: it must not get through.
        let _ = connection.stream.write_all(&frame(1, b"late", false));
        while connection.more().is_some() {}
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    websocket::open(&mut client);
    assert_eq!(client.read_exact(400), whole[..400]);
    thread::scope(|scope| {
        let drained = scope.spawn(|| delete(&proxyd, "stream_grace_ms=0"));
        wait_for("the target to be retired", || {
            proxyd.state().services["app"].targets["1"].retired.then_some(())
        });
        nothing_comes(&mut client, 100);
        go.send(()).unwrap();
        assert_eq!(client.read_exact(600 + 4), whole[400..]);
        assert_eq!(client.read_exact(4), GOING_AWAY);
        client.send(frame(8, &[3, 0xe9], true));
        assert!(client.is_closed(), "what comes behind our last word does not get through");
        assert_eq!(drained.join().unwrap(), Drained { left: 0, streams: 0 });
    });
    // One whose frame does not end.
    proxyd.put_target("app", "1", &backend.target());
    let mut client = proxyd.client();
    websocket::open(&mut client);
    assert_eq!(client.read_exact(400), whole[..400]);
    let begun = Instant::now();
    assert_eq!(delete(&proxyd, "stream_grace_ms=0"), Drained { left: 0, streams: 0 });
    assert!(begun.elapsed() > SECOND * 2);
    assert!(client.is_closed());
    go.send(()).unwrap();
}

#[test]
fn o19_large_transfers_through_a_tunnel_are_whole() {
    let backend = Backend::raw(|mut connection| {
        connection.head().unwrap();
        connection.stream.write_all(SWITCHED.replace("websocket", "x").as_bytes()).unwrap();
        let mut back = connection.stream.try_clone().unwrap();
        std::io::copy(&mut connection.stream, &mut back).unwrap();
        back.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let proxyd = Proxyd::with_target(&backend.target());
    for round in 0..3 {
        let mut client = proxyd.client();
        client.send(format!("GET / {}", websocket::UPGRADE.replace("websocket", "x")));
        assert_eq!(client.answer().status, 101);
        let bytes = noise(round, 6_000_000);
        let mut out = client.stream.try_clone().unwrap();
        let sum = checksum(&bytes);
        let sends = thread::spawn(move || {
            // Large, then small, then large again.
            let (first, rest) = bytes.split_at(3_000_000);
            out.write_all(first).unwrap();
            for piece in rest[..100_000].chunks(500) {
                out.write_all(piece).unwrap();
            }
            out.write_all(&rest[100_000..]).unwrap();
            out.shutdown(std::net::Shutdown::Write).unwrap();
        });
        assert_eq!(checksum(&client.read_exact(6_000_000)), sum);
        assert!(client.is_closed());
        sends.join().unwrap();
    }
    let pipes = || {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", proxyd.pid())).unwrap();
        let targets = folder.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        targets.filter(|to| to.to_string_lossy().starts_with("pipe:")).count()
    };
    assert!(pipes() < 40, "pipes are used again: {}", pipes());
}

#[test]
fn p07_another_protocol_is_cut() {
    let backend = Backend::raw(|mut connection| {
        connection.head().unwrap();
        connection.stream.write_all(SWITCHED.replace("websocket", "x").as_bytes()).unwrap();
        while connection.more().is_some() {}
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send(format!("GET / {}", websocket::UPGRADE.replace("websocket", "x")));
    assert_eq!(client.answer().status, 101);
    assert_eq!(delete(&proxyd, "stream_grace_ms=100"), Drained { left: 0, streams: 0 });
    assert!(client.is_closed());
}

/// Answers `/events` with an event each time it is told to, `/large` with a body that never ends, and others
/// at once.
fn events() -> (Backend, impl Fn()) {
    let (go, going) = channel::<()>();
    let going = Mutex::new(going);
    let backend = Backend::start(move |seen, out| {
        match seen.target.as_str() {
            "/events" => {
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                     Transfer-Encoding: chunked\r\n\r\n"
                )?;
                while going.lock().unwrap().recv().is_ok() {
                    write!(out, "9\r\ndata: x\n\n\r\n")?;
                }
            }
            "/large" => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
                while out.write_all(&[b'x'; 1000]).is_ok() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            _ => write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?,
        }
        Ok(true)
    });
    (backend, move || go.send(()).unwrap())
}

/// Reads until the end: what came of it.
fn rest(client: &mut Client) -> usize {
    let mut buffer = [0; 8192];
    let mut count = 0;
    while let Ok(more @ 1..) = std::io::Read::read(&mut client.stream, &mut buffer) {
        count += more;
    }
    count
}

/// A client to whom events have begun to flow.
fn listening(proxyd: &Proxyd, event: &impl Fn()) -> Client {
    let mut client = proxyd.client();
    client.send("GET /events HTTP/1.1\r\nHost: app.test\r\n\r\n");
    event();
    wait_for("the stream to be counted", || {
        (proxyd.state().services["app"].targets["1"].streams == 1).then_some(())
    });
    client
}

#[test]
fn p07_a_stream_of_events_is_not_cut_at_a_swap() {
    let (backend, event) = events();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = listening(&proxyd, &event);
    let begun = Instant::now();
    let drained = delete(&proxyd, "grace_ms=5000");
    assert_eq!(drained, Drained { left: 0, streams: 1 });
    assert!(begun.elapsed() < SECOND * 5, "its grace is for requests");
    event();
    let head = client.read_exact(20);
    assert!(head.starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn p07_a_stream_of_events_ends_with_its_grace() {
    let (backend, event) = events();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = listening(&proxyd, &event);
    assert_eq!(delete(&proxyd, "stream_grace_ms=200"), Drained { left: 0, streams: 0 });
    let answer = client.answer();
    assert_eq!((answer.status, answer.complete), (200, false), "its end is not made up");
}

#[test]
fn p07_an_answer_longer_than_the_grace_counts_as_a_stream() {
    let (backend, _event) = events();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("GET /large HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.read_exact(5000);
    assert_eq!(
        delete(&proxyd, "grace_ms=100&stream_grace_ms=500"),
        Drained { left: 0, streams: 0 }
    );
    assert!(rest(&mut client) < 1_000_000, "it was cut");
}

#[test]
fn p07_term_gives_streams_a_grace_of_their_own() {
    let (backend, closed) = echoes();
    let mut proxyd = Proxyd::start_with(&["--grace", "1", "--stream-grace", "5"]);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    let mut client = proxyd.client();
    websocket::open(&mut client);
    echo(&mut client, "hello");
    let begun = Instant::now();
    proxyd.signal(Signal::SIGTERM);
    thread::sleep((SECOND + SECOND / 2).saturating_sub(begun.elapsed()));
    echo(&mut client, "still there");
    assert_eq!(client.read_exact(4), GOING_AWAY);
    assert!(begun.elapsed() > SECOND * 5);
    client.send(frame(8, &[3, 0xe9], true));
    assert!(client.is_closed());
    assert_eq!(closed.recv_timeout(DEADLINE).unwrap(), [3, 0xe9]);
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn p07_streams_that_end_sooner_do_not_keep_it() {
    let (backend, _closed) = echoes();
    let mut proxyd = Proxyd::start_with(&["--grace", "0", "--stream-grace", "600"]);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    let mut client = proxyd.client();
    websocket::open(&mut client);
    proxyd.signal(Signal::SIGTERM);
    wait_for("the drain", || proxyd.stderr().contains("draining").then_some(()));
    echo(&mut client, "still there");
    client.send(frame(8, &1000_u16.to_be_bytes(), true));
    assert_eq!(client.read_exact(4), [0x88, 2, 3, 0xe8]);
    assert_eq!(proxyd.wait().code(), Some(0));
}

/// Waits until the target is asked nothing any more.
fn released(proxyd: &Proxyd, backend: &Backend) {
    wait_for("the end at the target", || {
        let state = proxyd.state();
        let target = &state.services["app"].targets["1"];
        let held = (target.in_flight, target.streams, backend.open_connections());
        (held == (0, 0, 0)).then_some(())
    });
}

#[test]
fn p10_who_leaves_a_silent_answer_is_seen_to_go() {
    let backend = Backend::raw(|mut connection| {
        let Some(seen) = connection.head() else { return };
        let framing = match seen.target.as_str() {
            "/events" => "Content-Type: text/event-stream",
            _ => "Content-Length: 1000000",
        };
        let _ = write!(connection.stream, "HTTP/1.1 200 OK\r\n{framing}\r\n\r\nsome");
        while connection.more().is_some() {}
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let begin = |target: &str| {
        let mut client = proxyd.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        let mut came = Vec::new();
        while !came.ends_with(b"some") {
            came.extend(client.read_exact(1));
        }
        client
    };
    for target in ["/events", "/large"] {
        let client = begin(target);
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&client.stream, Linger, &at_once).unwrap();
        drop(client);
        released(&proxyd, &backend);
    }
    // To end one's side is to go only where an answer may be silent for long.
    begin("/events").finish_sending();
    released(&proxyd, &backend);
    let mut ended = begin("/large");
    ended.finish_sending();
    nothing_comes(&mut ended, 300);
    drop(ended);
    proxyd.put_front(r#"{"half_closed":true}"#);
    let mut ended = begin("/events");
    ended.finish_sending();
    nothing_comes(&mut ended, 300);
}

#[test]
fn p10_a_silent_tunnel_is_closed_and_one_that_speaks_one_way_is_not() {
    let backend = Backend::raw(|mut connection| {
        connection.head().unwrap();
        connection.stream.write_all(SWITCHED.as_bytes()).unwrap();
        for _ in 0..12 {
            thread::sleep(Duration::from_millis(100));
            connection.stream.write_all(&frame(1, b"x", false)).unwrap();
        }
        while connection.more().is_some() {}
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let route = r#"{"service":"app","limits":{"stream_idle_ms":600}}"#;
    assert_eq!(proxyd.put("/routes/app.test", route).status, 200);
    let mut client = proxyd.client();
    websocket::open(&mut client);
    client.read_exact(12 * 3);
    let silent = Instant::now();
    assert!(client.is_closed());
    assert!(silent.elapsed() > Duration::from_millis(300), "only since it is silent");
}

#[test]
fn p10_an_idle_websocket_holds_little() {
    const COUNT: usize = 400;
    let (backend, _closed) = echoes();
    let proxyd = Proxyd::with_target(&backend.target());
    let open = |count: usize| {
        let mut all: Vec<Client> = (0..count).map(|_| proxyd.client()).collect();
        for client in &mut all {
            websocket::open(client);
            echo(client, &"x".repeat(20_000));
        }
        all
    };
    let _first = open(50);
    let before = anonymous(proxyd.pid());
    let mut all = open(COUNT);
    let each = anonymous(proxyd.pid()).saturating_sub(before) * 1024 / COUNT as u64;
    // A debug build, whose futures are larger. Buffers would be 40 kB: what was sent has touched them.
    assert!(each < 20_000, "{each} bytes each");
    for client in &mut all {
        echo(client, "still there");
    }
}
