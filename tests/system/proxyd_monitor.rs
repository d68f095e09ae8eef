//! proxyd: what those who watch it see.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use jobinit_tests::proxyd::{Answer, Backend, Proxyd, wait_for};
use proxyd_wire::Status;

/// One request to the address for those who watch.
fn watch(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: watch\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Answer::parse(&bytes)
}

fn monitor(proxyd: &Proxyd) -> SocketAddr {
    wait_for("where it is watched", || {
        let text = proxyd.stderr();
        text.lines().find_map(|line| line.split_once("probes are on ")?.1.parse().ok())
    })
}

/// The value of a line of the metrics.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn o24_metrics_count_each_request_once() {
    let backend = Backend::start(|seen, out| {
        let status = if seen.target == "/bad" { "500 No" } else { "200 OK" };
        write!(out, "HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nabc")?;
        Ok(true)
    });
    let proxyd = Proxyd::start_with(&["--monitor", "127.0.0.1:0"]);
    let address = monitor(&proxyd);
    proxyd.put_target("app", "1", &backend.target());
    for host in ["app.test", "app.test/api", "silent.test"] {
        proxyd.put_route(host, "app");
    }
    let mut client = proxyd.client();
    for path in ["/", "/", "/bad", "/api", "/api/x"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        client.answer();
    }
    client.send("GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
    client.answer();
    // A route that is put anew goes on counting.
    let limited = r#"{"service":"app","limits":{"body_bytes":1000}}"#;
    assert_eq!(proxyd.put("/routes/app.test", limited).status, 200);
    // Counted when the last byte is out, which a client may have read before.
    let text = wait_for("six requests to be counted", || {
        let text = watch(address, "GET", "/metrics").text();
        text.contains("proxyd_requests_total{route=\"\",class=\"4xx\"} 1").then_some(text)
    });
    for (name, count) in [
        ("proxyd_requests_total{route=\"app.test\",class=\"2xx\"}", 2.0),
        ("proxyd_requests_total{route=\"app.test\",class=\"5xx\"}", 1.0),
        ("proxyd_requests_total{route=\"app.test/api\",class=\"2xx\"}", 2.0),
        ("proxyd_request_duration_seconds_bucket{route=\"app.test\",le=\"+Inf\"}", 3.0),
        ("proxyd_request_duration_seconds_bucket{route=\"app.test\",le=\"60\"}", 3.0),
        ("proxyd_request_duration_seconds_count{route=\"app.test/api\"}", 2.0),
        ("proxyd_response_body_bytes_total{route=\"app.test\"}", 9.0),
        ("proxyd_target_in_flight{service=\"app\",target=\"1\"}", 0.0),
        ("proxyd_target_up{service=\"app\",target=\"1\"}", 1.0),
        ("proxyd_service_waiting{service=\"app\"}", 0.0),
        ("proxyd_connections", 1.0),
        ("proxyd_serving", 1.0),
        ("proxyd_draining", 0.0),
        ("proxyd_access_log_lost_lines_total", 0.0),
    ] {
        assert_eq!(value(&text, name), Some(count), "{name} in\n{text}");
    }
    assert!(!text.contains("silent.test"), "{text}");
    assert!(value(&text, "process_resident_memory_bytes").unwrap() > 1e6, "{text}");
    assert!(value(&text, "process_open_fds").unwrap() > 5.0, "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let status: Status = serde_json::from_slice(&watch(address, "GET", "/status").body).unwrap();
    assert_eq!((status.requests, status.server_errors, status.routes), (6, 1, 3));
    assert_eq!(proxyd.control("GET", "/metrics", "", "").status, 200);
}

#[test]
fn o24_the_probe_fails_where_clients_should_not_be_sent() {
    let proxyd = Proxyd::start_with(&["--monitor", "127.0.0.1:0", "--wait"]);
    let address = monitor(&proxyd);
    let ready = |path: &str| {
        let answer = watch(address, "GET", path);
        (answer.status, answer.text())
    };
    assert_eq!(ready("/ready"), (503, "the proxy lets no client in yet\n".into()));
    assert_eq!(proxyd.put("/door", "").status, 204);
    assert_eq!(ready("/ready"), (200, "ready\n".into()));
    assert_eq!(ready("/ready/app").0, 404);
    assert_eq!(proxyd.put("/services/app", "{}").status, 201);
    assert_eq!(ready("/ready/app").0, 503, "nobody is there to answer");
    proxyd.put_target("app", "1", "tcp:127.0.0.1:1");
    assert_eq!(ready("/ready/app"), (200, "ready\n".into()));
    for (what, said) in [("maintenance", "under maintenance"), ("pause", "paused")] {
        let path = format!("/services/app/{what}");
        assert_eq!(proxyd.put(&path, "{}").status, 201);
        let (status, text) = ready("/ready/app");
        assert_eq!((status, text.contains(said)), (503, true), "{text}");
        assert_eq!(ready("/ready").0, 200, "others are served");
        assert_eq!(proxyd.control("DELETE", &path, "", "").status, 204);
        assert_eq!(ready("/ready/app").0, 200);
    }
    // A request keeps it from ending at once.
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: a");
    wait_for("the client to be seen", || {
        let text = watch(address, "GET", "/metrics").text();
        (value(&text, "proxyd_connections") == Some(1.0)).then_some(())
    });
    proxyd.signal(nix::sys::signal::Signal::SIGTERM);
    wait_for("the probe to fail", || {
        (ready("/ready") == (503, "the proxy drains\n".into())).then_some(())
    });
}

#[test]
fn o24_who_watches_changes_nothing() {
    let proxyd = Proxyd::start_with(&["--monitor", "127.0.0.1:0"]);
    let address = monitor(&proxyd);
    for (method, path) in [("PUT", "/routes/a.test"), ("GET", "/state"), ("DELETE", "/services/a")]
    {
        assert_eq!(watch(address, method, path).status, 404, "{method} {path}");
    }
    assert_eq!(watch(address, "PUT", "/metrics").status, 405);
}
