//! proxyd: HTTP/2 in front, said frame by frame and by real clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::proxyd::{Authority, Backend, Proxyd, wait_for};
use jobinit_tests::tools::present;
use nix::sys::signal::Signal;

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/http2/bin/python")
}

/// Scenarios of `tests/http2/frames.py`.
fn frames(address: &impl ToString, scenarios: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("http2/frames.py"));
    command.arg(address.to_string()).args(scenarios);
    command
}

fn ready() -> bool {
    present(&[&python().to_string_lossy()])
}

/// Whether all of them go as they should.
fn play(proxyd: &Proxyd, scenarios: &[&str]) {
    if ready() {
        good(&frames(&proxyd.address, scenarios).output().unwrap());
    }
}

/// The same within TLS.
fn play_secure(proxyd: &Proxyd, scenarios: &[&str]) {
    if ready() {
        let address = format!("tls:{}", proxyd.secure_address());
        good(&frames(&address, scenarios).output().unwrap());
    }
}

fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What requests that wait for it are held by, until it opens.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// An app with a path for each thing that an answer can be.
fn app(gate: Arc<Gate>) -> Backend {
    Backend::start(move |seen, out| {
        let body = match seen.target.as_str() {
            "/echo" => {
                let trailers: Vec<_> =
                    seen.trailers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                let length = seen.body.len();
                let trailers = trailers.join(", ");
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\nX-Trailers: {trailers}\r\nContent-Length: {length}\r\n\r\n"
                )?;
                out.write_all(&seen.body)?;
                return Ok(true);
            }
            "/cookie" => seen.field("cookie").unwrap_or_default(),
            "/none" => {
                write!(out, "HTTP/1.1 204 No Content\r\n\r\n")?;
                return Ok(true);
            }
            "/chunked" => {
                write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")?;
                write!(out, "0\r\n\r\n")?;
                return Ok(true);
            }
            "/trailers" => {
                write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")?;
                write!(out, "0\r\nGrpc-Status: 0\r\nSet-Cookie: a=b\r\n\r\n")?;
                return Ok(true);
            }
            "/hints" => {
                write!(out, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
                "hints".to_owned()
            }
            "/hop" => {
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\nKeep-Alive: timeout=1\r\n\
                     Upgrade: h2c\r\nContent-Length: 0\r\n\r\n"
                )?;
                return Ok(false);
            }
            "/cut" => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")?;
                return Ok(false);
            }
            "/slow" => {
                // Until whoever asked has gone.
                let _ = out.read(&mut [0]);
                return Ok(false);
            }
            "/later" => {
                gate.pass();
                "later".to_owned()
            }
            "/large" => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")?;
                out.write_all(&vec![b'x'; 20_000_000])?;
                return Ok(true);
            }
            "/socket" => return socket(seen.field("sec-websocket-key").unwrap().len(), out),
            _ => "hello".to_owned(),
        };
        let to_head = seen.method == "HEAD";
        let length = body.len();
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
        out.write_all(if to_head { b"" } else { body.as_bytes() })?;
        Ok(true)
    })
}

/// Says back, as a server, what comes in small frames.
fn socket(key: usize, out: &mut TcpStream) -> std::io::Result<bool> {
    assert_eq!(key, 24);
    write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: any\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )?;
    loop {
        let mut head = [0; 6];
        out.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        out.read_exact(&mut payload)?;
        out.write_all(&[&[head[0], head[1] & 0x7f], &payload[..]].concat())?;
        if head[0] == 0x88 {
            return Ok(false);
        }
    }
}

fn site() -> (Proxyd, Backend, Arc<Gate>) {
    site_with(r#"{"http2":{"cleartext":true}}"#)
}

fn site_with(front: &str) -> (Proxyd, Backend, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let backend = app(Arc::clone(&gate));
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(front);
    (proxyd, backend, gate)
}

#[test]
fn p09_streams_are_requests() {
    let (proxyd, backend, _) = site();
    play(&proxyd, &["plain", "one_byte_at_a_time", "bodies", "answers", "cookies", "lengths"]);
    if ready() {
        let seen = backend.seen();
        let first = seen.first().unwrap();
        assert_eq!(first.field("x-forwarded-for").unwrap(), "127.0.0.1");
        assert!(seen.iter().all(|seen| seen.field("host").unwrap() == "app.test"));
        wait_for("a line a request", || {
            let log = proxyd.access_log();
            (log.contains("\"GET / HTTP/2.0\" 200 5")
                && log.contains("\"POST /echo HTTP/2.0\" 200 3"))
            .then_some(())
        });
    }
    // Whoever speaks HTTP/1 does so as before.
    assert_eq!(proxyd.client().get("/").text(), "hello");
    let mut client = proxyd.client();
    client.send("P");
    client.send("OST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn p09_what_is_no_request_in_http2_is_refused() {
    let (proxyd, backend, _) = site();
    play(&proxyd, &["malformed"]);
    assert!(backend.seen().iter().all(|seen| seen.target == "/" && seen.fields.len() < 6));
    play(&proxyd, &["wrong_frames"]);
}

#[test]
fn p09_without_the_setting_nobody_speaks_it() {
    let (proxyd, backend, _) = site_with("{}");
    let mut client = proxyd.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.answer().status, 505);
    assert_eq!(backend.seen().len(), 0);
}

#[test]
fn p10_streams_at_a_time_are_bounded() {
    let (proxyd, backend, _) = site();
    play(&proxyd, &["too_many_streams"]);
    if ready() {
        wait_for("the app to be let go", || (backend.connections() <= 101).then_some(()));
    }
}

#[test]
fn p10_floods_end_their_connection() {
    let (proxyd, _backend, _) = site();
    play(
        &proxyd,
        &[
            "ping_flood",
            "settings_flood",
            "priority_flood",
            "unknown_flood",
            "window_flood",
            "empty_data_flood",
            "continuation_flood",
            "table_bomb",
        ],
    );
}

#[test]
fn p10_frames_that_hold_nothing_are_no_flood_while_they_are_few() {
    let (proxyd, _backend, _) = site();
    play(&proxyd, &["empty_data"]);
}

#[test]
fn p10_requests_taken_back_are_bounded() {
    let (proxyd, backend, _) = site();
    play(&proxyd, &["rapid_reset", "made_to_reset"]);
    // A patience of 1,000 at four a piece, and what grows while it lasts.
    let asked = backend.connections();
    assert!(asked < 2_000, "{asked} connections were made");
}

#[test]
fn p10_who_takes_back_a_silent_answer_holds_nothing() {
    if !ready() {
        return;
    }
    let backend = Backend::raw(|mut connection| {
        if connection.head().is_some() {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            let _ = connection.stream.write_all(head.as_bytes());
            while connection.more().is_some() {}
        }
    });
    let proxyd = Proxyd::start();
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    let released = || {
        wait_for("the end at the target", || {
            let state = proxyd.state();
            let target = &state.services["app"].targets["1"];
            let held = (target.in_flight, target.streams, backend.open_connections());
            (held == (0, 0, 0)).then_some(())
        });
    };
    let mut client = Talk::start(&mut frames(&proxyd.address, &["silent"]));
    assert_eq!(client.line(), "left");
    released();
    client.say("");
    client.end();
    released();
    assert_eq!(backend.connections(), 2);
}

#[test]
fn p10_who_takes_nothing_is_let_go() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxyd, _backend, _) =
        site_with(r#"{"http2":{"cleartext":true},"head_ms":300,"idle_ms":300,"write_ms":300}"#);
    proxyd.put_route("deaf.test", "deaf");
    proxyd.put_target("deaf", "1", &format!("tcp:{}", deaf.local_addr().unwrap()));
    play(&proxyd, &["slow_head", "idle", "no_window", "exact_window", "deaf", "tiny_data_flood"]);
    wait_for("no client left", || {
        let status = proxyd.control("GET", "/status", "", "").text();
        status.contains("\"connections\":0").then_some(())
    });
}

#[test]
fn p03_a_proxy_that_drains_says_so_twice() {
    if !ready() {
        return;
    }
    let (mut proxyd, _backend, gate) = site();
    let mut client = Talk::start(&mut frames(&proxyd.address, &["drained"]));
    assert_eq!(client.line(), "ready");
    wait_for("the request at the app", || {
        let state = proxyd.state();
        (state.services["app"].targets["1"].in_flight == 1).then_some(())
    });
    proxyd.signal(Signal::SIGTERM);
    client.say("");
    gate.open();
    client.end();
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn o19_a_websocket_over_http2() {
    let (proxyd, backend, _) = site();
    play(&proxyd, &["websocket"]);
    if ready() {
        let seen = backend.seen();
        let ask = seen.iter().find(|seen| seen.target == "/socket").unwrap();
        assert_eq!(
            (ask.method.as_str(), ask.field("upgrade").unwrap()),
            ("GET", "websocket".into())
        );
    }
}

#[test]
fn o19_what_is_no_websocket_does_not_pass_for_one() {
    let (proxyd, _backend, _) = site();
    play(&proxyd, &["no_websocket"]);
    let (proxyd, _behind, _backend) = chain(r#"{"http2":{"cleartext":true}}"#);
    play(&proxyd, &["no_websocket"]);
}

#[test]
fn p09_real_clients() {
    if !present(&["curl", "nghttp", "h2load"]) {
        return;
    }
    let (proxyd, _backend, _) = site();
    let at = format!("http://app.test:{}", proxyd.address.port());
    let resolve = format!("app.test:{}:127.0.0.1", proxyd.address.port());
    for (path, more, answer) in [("/echo", &["-d", "abc"][..], "abc 2"), ("/", &[], "hello 2")] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http2-prior-knowledge", "--resolve", &resolve]);
        curl.args(["-w", " %{http_version}", &format!("{at}{path}")]).args(more);
        assert_eq!(good(&curl.output().unwrap()), answer);
    }
    let local = format!("http://{}", proxyd.address);
    let mut nghttp = Command::new("nghttp");
    nghttp.args(["-H", ":authority: app.test", &local]);
    assert_eq!(good(&nghttp.output().unwrap()), "hello");
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "500", "-c", "4", "-m", "50", "-H", ":authority: app.test", &local]);
    let said = good(&h2load.output().unwrap());
    assert!(said.contains("500 succeeded, 0 failed, 0 errored"), "{said}");
    assert!(said.contains("500 2xx"), "{said}");
}

#[test]
fn p04_targets_are_swapped_under_streams() {
    if !present(&["h2load"]) {
        return;
    }
    let (proxyd, first, gate) = site();
    let second = app(gate);
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "800", "-c", "4", "-m", "25", "-H", ":authority: app.test"]);
    h2load.arg(format!("http://{}", proxyd.address)).stdout(Stdio::piped());
    let load = h2load.spawn().unwrap();
    let done = thread::spawn(move || load.wait_with_output().unwrap());
    let mut swaps = 0;
    while !done.is_finished() {
        let (new, old) = if swaps % 2 == 0 { (&second, "1") } else { (&first, "2") };
        let name = if swaps % 2 == 0 { "2" } else { "1" };
        proxyd.put_target("app", name, &new.target());
        assert_eq!(proxyd.delete_target("app", old, 10_000).left, 0);
        swaps += 1;
    }
    let said = good(&done.join().unwrap());
    assert!(said.contains("800 succeeded, 0 failed, 0 errored"), "{said}");
    assert!(said.contains("800 2xx"), "{said}");
    assert!(swaps > 1, "{swaps}");
}

#[test]
fn p09_grpc_in_front_and_behind() {
    if !ready() {
        return;
    }
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("http2/rpc.py"));
    let mut rpc = Talk::start(&mut command);
    let port = rpc.line();
    let proxyd = Proxyd::start();
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    proxyd.put_route("app.test", "app");
    assert_eq!(proxyd.put("/services/app", r#"{"protocol":"h2c"}"#).status, 201);
    proxyd.put_target("app", "1", &format!("tcp:127.0.0.1:{port}"));
    rpc.say(&proxyd.address.to_string());
    // The one whose client has given up is told to; both lines come, in any order.
    let mut said = [rpc.line(), rpc.line()];
    said.sort();
    assert_eq!(said, ["done", "gone"]);
    wait_for("nothing in flight", || {
        let state = proxyd.state();
        (state.services["app"].targets["1"].in_flight == 0).then_some(())
    });
    assert_eq!(proxyd.delete_target("app", "1", 5_000).left, 0);
    rpc.say("");
    rpc.end();
}

#[test]
fn o21_within_tls_whoever_offers_it_speaks_it() {
    let gate = Arc::new(Gate::default());
    let backend = app(gate);
    let (proxyd, authority) = (Proxyd::start_secure(&[]), Authority::default());
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    proxyd.put_certificate("app", &authority.pair(&["app.test"]));
    proxyd.put_tls(r#"{"hsts":{"max_age":600}}"#);
    play_secure(&proxyd, &["plain", "bodies", "answers", "lengths", "cookies", "websocket"]);
    play_secure(&proxyd, &["ping_flood", "continuation_flood", "rapid_reset", "too_many_streams"]);
    assert!(backend.seen().iter().all(|seen| seen.field("x-forwarded-proto").unwrap() == "https"));
    // Whoever offers nothing speaks HTTP/1, and so does everybody where it is not offered.
    let trust = authority.trust();
    let mut client = trust.connect(proxyd.secure_address(), "app.test").unwrap();
    assert_eq!(client.get("app.test", "/").text(), "hello");
    if !present(&["curl", "h2load"]) {
        return;
    }
    let root = proxyd.folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let port = proxyd.secure_address().port();
    let resolve = format!("app.test:{port}:127.0.0.1");
    let curl = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--resolve", &resolve, "-D-", "-w", " %{http_version}", "--cacert"]);
        curl.arg(&root).arg(format!("https://app.test:{port}/"));
        good(&curl.output().unwrap())
    };
    let said = curl();
    assert!(said.contains("strict-transport-security: max-age=600"), "{said}");
    assert!(said.ends_with("hello 2"), "{said}");
    proxyd.put_tls(r#"{"http2":false}"#);
    assert!(curl().ends_with("hello 1.1"));
    proxyd.put_tls(r#"{"default_certificate":"app"}"#);
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "400", "-c", "4", "-m", "50", "-H", ":authority: app.test"]);
    h2load.arg(format!("https://{}", proxyd.secure_address()));
    let said = good(&h2load.output().unwrap());
    assert!(said.contains("400 2xx"), "{said}");
}

/// A proxy with a target that is a proxy, too, and is asked over HTTP/2.
fn chain(front: &str) -> (Proxyd, Proxyd, Backend) {
    let (behind, backend, _) = site_with(front);
    let proxyd = Proxyd::start();
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    proxyd.put_route("app.test", "app");
    assert_eq!(proxyd.put("/services/app", r#"{"protocol":"h2c"}"#).status, 201);
    proxyd.put_target("app", "1", &format!("tcp:{}", behind.address));
    (proxyd, behind, backend)
}

#[test]
fn p09_behind_it_is_the_same() {
    let (proxyd, behind, backend) = chain(r#"{"http2":{"cleartext":true}}"#);
    play(&proxyd, &["plain", "bodies", "answers", "cookies", "lengths", "exact_window"]);
    let mut client = proxyd.client();
    assert_eq!(client.get("/").text(), "hello");
    client.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.text(), answer.field("x-trailers").unwrap()),
        ("abc".into(), "x-sum: 1".into())
    );
    client
        .send("GET /trailers HTTP/1.1\r\nHost: app.test\r\nConnection: TE\r\nTE: trailers\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer_to_head().field("content-length").unwrap(), "5");
    client.send("GET /cut HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let answer = client.answer();
    assert!(answer.status == 502 || !answer.complete);
    let mut client = proxyd.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200, "what cannot be switched is answered");
    assert!(backend.seen().iter().all(|seen| seen.field("upgrade").is_none()));
    // All of it on a few connections: one a worker, and those that were made anew.
    let status = behind.control("GET", "/status", "", "").text();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["connections"].as_u64().unwrap() < 10, "{status}");
}

#[test]
fn p10_who_takes_an_answer_slowly_holds_up_nobody_else_on_the_way_to_a_target() {
    let (proxyd, _behind, _backend) = chain(r#"{"http2":{"cleartext":true}}"#);
    let mut slow: Vec<_> = (0..8).map(|_| proxyd.client()).collect();
    for client in &mut slow {
        client.send("GET /large HTTP/1.1\r\nHost: app.test\r\n\r\n");
    }
    // Longer than it takes until nobody has room for more of his.
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        assert_eq!(proxyd.client().get("/").text(), "hello");
        thread::sleep(Duration::from_millis(10));
    }
    for client in &mut slow {
        assert_eq!(client.answer().body.len(), 20_000_000);
    }
}

fn numbered_fields(count: usize) -> String {
    (0..count).flat_map(|n| ["x-".to_owned(), n.to_string(), ": y\r\n".to_owned()]).collect()
}

#[test]
fn p05_a_target_is_not_to_blame_for_what_a_client_asks() {
    let (proxyd, _behind, backend) = chain(r#"{"http2":{"cleartext":true}}"#);
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    // As many fields as a head may have, to which ours come.
    let fields = numbered_fields(126);
    let long = format!("x-long: {}\r\n", "y".repeat(32_700));
    for _ in 0..6 {
        for (target, more, status) in [
            ("/<a>?q=<b>", "", 200),
            ("/`?\"", "", 200),
            // The target, which is a proxy, has the same limits, and says so itself.
            ("/", fields.as_str(), 431),
            ("/", long.as_str(), 431),
        ] {
            let mut client = proxyd.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{more}\r\n"));
            assert_eq!(client.answer().status, status, "{target} {}", more.len());
        }
    }
    let targets: Vec<_> = backend.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets[..2], ["/%3Ca%3E?q=%3Cb%3E", "/%60?%22"]);
}

/// What has been read within the limits has to go out with what is added to it.
#[test]
fn p09_a_head_as_large_as_it_may_be_is_told_with_what_is_added_to_it() {
    if !present(&["curl"]) {
        return;
    }
    let backend = Backend::start(|_, out| {
        let fields = numbered_fields(127);
        write!(out, "HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    let route = r#"{"service":"app","response_headers":{"add":{"x-a":"1","x-b":"2"}}}"#;
    assert_eq!(proxyd.put("/routes/app.test", route).status, 200);
    assert_eq!(proxyd.client().get("/").text(), "ok");
    let resolve = format!("app.test:{}:127.0.0.1", proxyd.address.port());
    let mut curl = Command::new("curl");
    curl.args(["-sSD-", "--http2-prior-knowledge", "--resolve", &resolve]);
    let said =
        good(&curl.arg(format!("http://app.test:{}/", proxyd.address.port())).output().unwrap());
    assert!(said.contains("x-b: 2") && said.contains("x-126: y") && said.ends_with("ok"), "{said}");
}

#[test]
fn p05_what_a_target_has_not_looked_at_is_asked_again() {
    if !present(&["h2load"]) {
        return;
    }
    let (proxyd, _behind, backend) = chain(r#"{"http2":{"cleartext":true,"streams":1}}"#);
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, "abc").unwrap();
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "60", "-c", "1", "-m", "20", "-H", ":authority: app.test", "-d"]);
    h2load.arg(&body).arg(format!("http://{}/echo", proxyd.address));
    let said = good(&h2load.output().unwrap());
    assert!(said.contains("60 2xx"), "{said}");
    assert_eq!(backend.seen().len(), 60, "none twice");
}

#[test]
fn p05_a_target_that_goes_away_loses_nothing() {
    if !present(&["h2load"]) {
        return;
    }
    let (proxyd, mut behind, _backend) = chain(r#"{"http2":{"cleartext":true}}"#);
    let (other, _other_backend, _) = site();
    proxyd.put_target("app", "2", &format!("tcp:{}", other.address));
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "500", "-c", "4", "-m", "25", "-H", ":authority: app.test"]);
    h2load.arg(format!("http://{}", proxyd.address)).stdout(Stdio::piped());
    let load = h2load.spawn().unwrap();
    let answered = |proxy: &Proxyd| {
        let status = proxy.control("GET", "/status", "", "").text();
        let count = status.split("\"requests\":").nth(1)?.split(',').next()?.parse::<u32>().ok()?;
        (count > 20).then_some(())
    };
    wait_for("some requests", || answered(&behind));
    behind.signal(Signal::SIGTERM);
    assert_eq!(behind.wait().code(), Some(0));
    let said = good(&load.wait_with_output().unwrap());
    assert!(said.contains("500 succeeded, 0 failed, 0 errored"), "{said}");
    assert!(said.contains("500 2xx"), "{said}");
}

/// A client that is talked to while it is at work.
struct Talk {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Talk {
    fn start(command: &mut Command) -> Talk {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Talk { child, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn end(self) {
        good(&self.child.wait_with_output().unwrap());
    }
}
