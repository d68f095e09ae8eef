//! proxyd: which request goes where, and what it and its answer look like on the other side.

use std::io::{Read, Write};

use jobinit_tests::proxyd::{Backend, Proxyd, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn o16_host_routing() {
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let proxyd = Proxyd::start();
    for (host, service) in [("one.test", "one"), ("two.test", "two"), ("[::1]", "two")] {
        proxyd.put_route(host, service);
    }
    proxyd.put_route("parked.test", "parked");
    proxyd.put_target("one", "1", &one.target());
    proxyd.put_target("two", "1", &two.target());
    let mut client = proxyd.client();
    for (host, status, body) in [
        ("one.test", 200, "one"),
        ("ONE.Test", 200, "one"),
        ("one.test:8080", 200, "one"),
        ("one.test.", 200, "one"),
        ("one.test.:80", 200, "one"),
        ("two.test", 200, "two"),
        ("[::1]", 200, "two"),
        ("[::1]:8080", 200, "two"),
        ("[0:0::1]", 200, "two"),
        ("sub.one.test", 404, ""),
        ("other.test", 404, ""),
        ("parked.test", 503, ""),
        ("one.test", 200, "one"),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{host}");
        if status == 200 {
            assert_eq!(answer.text(), body, "{host}");
        } else {
            assert_eq!(answer.field("content-type").unwrap(), "text/plain; charset=utf-8");
            assert!(answer.text().starts_with(&status.to_string()), "{}", answer.text());
        }
        if status == 503 {
            assert_eq!(answer.field("retry-after").unwrap(), "1");
        }
    }
}

#[test]
fn keep_alive_on_both_sides() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for number in 0..20 {
        assert_eq!(client.get(&format!("/{number}")).text(), "ok");
    }
    assert_eq!(backend.connections(), 1);
    assert_eq!(backend.seen().len(), 20);
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().field("connection").unwrap(), "close");
    assert!(client.is_closed());
    assert_eq!(backend.seen()[20].field("connection"), None);
}

#[test]
fn a_target_that_closes_is_not_reused() {
    let backend = Backend::start(|_, out| {
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
        Ok(false)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for _ in 0..5 {
        let answer = client.get("/");
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", None));
    }
    assert_eq!(backend.connections(), 5);
}

#[test]
fn pipelined_requests() {
    let backend = Backend::start(|seen, out| {
        let body = format!("{} {}", seen.target, seen.body.len());
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let mut all = Vec::new();
    for number in 0..50 {
        let (method, rest) = match number % 3 {
            0 => ("GET", ""),
            1 => ("POST", "Content-Length: 3\r\n\r\nabc"),
            _ => ("POST", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n"),
        };
        let end = if number % 3 == 1 { "" } else { "\r\n" };
        all.push(format!("{method} /{number} HTTP/1.1\r\nHost: app.test\r\n{rest}{end}"));
    }
    client.send(all.concat());
    for number in 0..50 {
        let length = if number % 3 == 0 { 0 } else { 3 };
        assert_eq!(client.answer().text(), format!("/{number} {length}"));
    }
}

#[test]
fn pipelined_behind_a_body_that_came_late() {
    let backend = Backend::start(|seen, out| {
        let body = format!("{} {}", seen.target, seen.body.len());
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("POST /a HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    wait_for("the head at the backend", || (!backend.raw_bytes().is_empty()).then_some(()));
    client.send("3\r\nabc\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer().text(), "/a 3");
    assert_eq!(client.answer().text(), "/b 0");
}

#[test]
fn o18_x_forwarded_and_hop_by_hop() {
    let backend = Backend::start(|_, out| {
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Kept:  a, b \r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
        )?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send(
        "GET /path?q=1 HTTP/1.1\r\nHost: App.test:8080\r\nX-Forwarded-For: 6.6.6.6\r\n\
         x-forwarded-host: evil\r\nX-FORWARDED-PROTO: https\r\nX-Forwarded-Port: 1\r\n\
         X_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
         Connection: keep-alive, X-Secret,TE\r\nX-Secret: 1\r\nTE: trailers\r\n\
         Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\nUpgrade: nothing\r\n\
         Trailer: X\r\nX-Kept:   spaced\t\r\nProxy: http://evil\r\nCookie: a=b\r\nX-Empty:\r\n\r\n",
    );
    let answer = client.answer();
    let seen = &backend.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/path?q=1"));
    let mut fields = seen.fields.clone();
    fields.sort();
    let expected = [
        ("Connection", "TE"),
        ("Cookie", "a=b"),
        ("Host", "App.test:8080"),
        ("TE", "trailers"),
        ("X-Empty", ""),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "App.test:8080"),
        ("X-Forwarded-Proto", "http"),
        ("X-Kept", "spaced"),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(answer.field("x-kept").unwrap(), "a, b");
    assert_eq!(answer.field("set-cookie").unwrap(), "a=1, b=2");
    for gone in ["x-mine", "keep-alive", "proxy-connection", "connection"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
}

#[test]
fn absolute_form_and_options() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for (line, target) in [
        ("GET http://app.test/a?b HTTP/1.1\r\nHost: ignored.test", "/a?b"),
        ("GET HTTP://APP.test:80 HTTP/1.1\r\nHost: app.test", "/"),
        ("OPTIONS * HTTP/1.1\r\nHost: app.test", "*"),
    ] {
        client.send(format!("{line}\r\n\r\n"));
        assert_eq!(client.answer().status, 200, "{line}");
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.target, target);
        assert!(seen.field("host").unwrap().to_lowercase().starts_with("app.test"));
    }
}

/// RFC 9110, section 7.6.2.
#[test]
fn options_go_no_further_than_they_say() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let mut ask = |method: &str, fields: &str| {
        client.send(format!("{method} /a HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
        client.answer()
    };
    for (value, passed) in
        [("1", "0"), ("10", "09"), ("100", "099"), ("007", "006"), ("x", "x"), ("-1", "-1")]
    {
        assert_eq!(ask("OPTIONS", &format!("Max-Forwards: {value}\r\n")).status, 200);
        assert_eq!(backend.seen().pop().unwrap().field("max-forwards").as_deref(), Some(passed));
    }
    let before = backend.seen().len();
    for fields in ["max-forwards: 0\r\n", "Max-Forwards: 00\r\nContent-Length: 0\r\n"] {
        let answer = ask("OPTIONS", fields);
        assert_eq!(answer.status, 200, "{fields}");
        assert_eq!(answer.field("content-length").as_deref(), Some("0"), "{fields}");
        let allow = answer.field("allow").unwrap();
        assert!(allow.contains("GET") && allow.contains("OPTIONS"), "{allow}");
    }
    assert_eq!(backend.seen().len(), before, "it was for nobody behind the proxy");
    // It is about these alone.
    assert_eq!(ask("GET", "Max-Forwards: 0\r\n").status, 200);
    assert_eq!(backend.seen().pop().unwrap().field("max-forwards").as_deref(), Some("0"));
}

#[test]
fn http_10_clients() {
    let backend = Backend::start(|seen, out| {
        if seen.target == "/chunked" {
            write!(
                out,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            )?;
        } else {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("connection").unwrap(), "keep-alive");
    assert_eq!(answer.text(), "ok");
    client.send("GET /chunked HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection").unwrap(), "close");
    assert_eq!((answer.text().as_str(), answer.complete), ("ok", true));
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer().field("connection").unwrap(), "close");
    assert!(client.is_closed());
}

#[test]
fn answers_without_a_body() {
    let backend = Backend::start(|seen, out| {
        let answer = match seen.target.as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: x\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
        };
        out.write_all(answer.as_bytes())?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.field("content-length").unwrap().as_str()), (200, "1234"));
    let answer = client.get("/204");
    assert_eq!((answer.status, answer.field("content-length")), (204, None));
    let answer = client.get("/304");
    assert_eq!((answer.status, answer.field("content-length").unwrap().as_str()), (304, "99"));
    client.send("HEAD / HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
    assert_eq!(client.answer_to_head().status, 404);
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(backend.connections(), 3, "a new one where the body might come after all");
}

#[test]
fn interim_answers_pass_through() {
    let backend = Backend::start(|_, out| {
        write!(out, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let early = client.get("/");
    assert_eq!((early.status, early.field("link").unwrap().as_str()), (103, "</a>"));
    assert_eq!(client.answer().text(), "ok");
    client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
}

/// Speaks another protocol after 101: sends back each byte plus one.
fn upgrading() -> Backend {
    Backend::raw(|mut connection| {
        while let Some(head) = connection.head() {
            if head.target == "/refuse" {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
                connection.stream.write_all(answer).unwrap();
                continue;
            }
            assert_eq!(head.field("upgrade").unwrap(), "echo");
            assert_eq!(head.field("connection").unwrap(), "Upgrade");
            let early = connection.take_unread();
            assert_eq!(early, b"", "nothing may come before 101");
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\
                           Connection: Upgrade\r\n\r\nhello";
            connection.stream.write_all(answer).unwrap();
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = connection.stream.read(&mut buffer) {
                let answer: Vec<u8> = buffer[..count].iter().map(|byte| byte + 1).collect();
                connection.stream.write_all(&answer).unwrap();
            }
            let _ = connection.stream.write_all(b"bye");
            return;
        }
    })
}

const UPGRADE: &str = "HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn o19_upgrade_is_a_tunnel_after_101() {
    let backend = upgrading();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    // The first bytes of the other protocol are sent too early: they must wait for the 101.
    client.send(format!("GET / {UPGRADE}abc"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("upgrade").unwrap().as_str()), (101, "echo"));
    assert_eq!(client.read_exact(8), b"hellobcd");
    for _ in 0..100 {
        client.send("HAL");
        assert_eq!(client.read_exact(3), b"IBM");
    }
    // Unrelated changes leave it alone, and so does the end of its own route.
    proxyd.put_route("other.test", "other");
    proxyd.control("DELETE", "/routes/app.test", "", "");
    client.send("HAL");
    assert_eq!(client.read_exact(3), b"IBM");
    assert_eq!(proxyd.state().services["app"].targets["1"].in_flight, 1);
    client.finish_sending();
    assert_eq!(client.read_exact(3), b"bye");
    assert!(client.is_closed());
    wait_for("the end at the backend", || (backend.open_connections() == 0).then_some(()));
    // Counted out a moment after its connection is closed.
    wait_for("nothing in flight", || {
        (proxyd.state().services["app"].targets["1"].in_flight == 0).then_some(())
    });
}

#[test]
fn o19_backend_closes_the_tunnel() {
    let backend = Backend::raw(|mut connection| {
        connection.head();
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\
                       Connection: Upgrade\r\n\r\nlast words";
        connection.stream.write_all(answer).unwrap();
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send(format!("GET / {UPGRADE}"));
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.read_exact(10), b"last words");
    assert!(client.is_closed());
}

#[test]
fn p09_a_refused_upgrade_stays_http() {
    let backend = upgrading();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send(format!("GET /refuse {UPGRADE}GET /refuse {UPGRADE}"));
    assert_eq!(client.answer().text(), "no");
    assert_eq!(client.answer().text(), "no");
    // With a body, or from HTTP/1.0, it is no upgrade at all.
    let backend = Backend::saying("plain");
    let proxyd = Proxyd::with_target(&backend.target());
    for request in [
        "POST / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\
         Content-Length: 1\r\n\r\nx",
        "GET / HTTP/1.0\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: echo\r\n\r\n",
    ] {
        let mut client = proxyd.client();
        client.send(request);
        assert_eq!(client.answer().text(), "plain");
        assert_eq!(backend.seen().pop().unwrap().field("upgrade"), None);
    }
}

#[test]
fn o20_access_log_formats() {
    let request = "GET /a HTTP/1.1\r\nHost: app.test\r\nUser-Agent: te\"sté\r\n\r\n";
    let one_line = |format: &str| {
        let proxyd = Proxyd::start_with(&["--access-log-format", format]);
        let mut client = proxyd.client();
        client.send(request);
        client.answer();
        wait_for("a line in the log", || {
            Some(proxyd.access_log()).filter(|log| log.ends_with('\n'))
        })
    };
    let common = one_line("common");
    let (_, rest) = common.trim_end().split_once("] \"GET /a HTTP/1.1\" 404 ").expect(&common);
    assert!(rest.parse::<u64>().is_ok(), "{common}");
    let json: serde_json::Value = serde_json::from_str(&one_line("json")).unwrap();
    assert_eq!((&json["request"], &json["status"]), (&"GET /a HTTP/1.1".into(), &404.into()));
    assert_eq!((&json["client"], &json["target"]), (&"127.0.0.1".into(), &"".into()));
    assert!(
        json["ms"].as_f64().is_some() && json["time"].as_str().unwrap().ends_with('Z'),
        "{json}"
    );
}

#[test]
fn o20_access_log_is_opened_anew() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let file = proxyd.folder.path().join("access.log");
    let mut client = proxyd.client();
    for (round, signal) in [Signal::SIGUSR1, Signal::SIGHUP].into_iter().enumerate() {
        client.send(format!("GET /{round} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        client.answer();
        wait_for("its line", || (proxyd.access_log().lines().count() == 1).then_some(()));
        std::fs::rename(&file, file.with_extension(round.to_string())).unwrap();
        kill(Pid::from_raw(proxyd.pid().cast_signed()), signal).unwrap();
        wait_for("a new file", || file.exists().then_some(()));
    }
    assert!(std::fs::read_to_string(file.with_extension("1")).unwrap().contains("GET /1 "));
}

#[test]
fn o20_access_log() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send(
        "GET /a?b HTTP/1.1\r\nHost: app.test\r\nReferer: http://r.test/\r\n\
         User-Agent: te\"st\r\n\r\n",
    );
    client.answer();
    client.send("GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
    client.answer();
    client.send("BAD\r\n\r\n");
    client.answer();
    let log = wait_for("three lines in the log", || {
        let log = proxyd.access_log();
        (log.lines().count() == 3).then_some(log)
    });
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{log}");
    assert!(
        lines[0].contains(r#"] "GET /a?b HTTP/1.1" 200 2 "http://r.test/" "te\x22st" "#),
        "{log}"
    );
    assert!(lines[0].ends_with(" app/1"), "{log}");
    assert!(lines[1].contains("\"GET / HTTP/1.1\" 404 "), "{log}");
    assert!(lines[2].contains("\"-\" 400 "), "{log}");
}
