//! proxyd: who a request is from, what is told of that, and the settings that decide it.

use jobinit_tests::proxyd::{Answer, Backend, Client, Proxyd, Seen, wait_for};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n";

/// Sends a GET with more fields, and returns what the backend saw of it.
fn seen(client: &mut Client, backend: &Backend, fields: &str) -> Seen {
    client.send(format!("{GET}{fields}\r\n"));
    assert_eq!(client.answer().status, 200);
    backend.seen().pop().unwrap()
}

/// Waits for a line in the log. Those of different workers come in any order.
fn logged(proxyd: &Proxyd, is: impl Fn(&str) -> bool) {
    wait_for("the line in the log", || proxyd.access_log().lines().any(&is).then_some(()));
}

#[test]
fn o18_only_trusted_proxies_are_believed() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"trusted":["127.0.0.2/31"],"real_ip":true,"forwarded":true}"#);
    let fields = "X-Forwarded-For: 6.6.6.6, 7.7.7.7\r\nX-Forwarded-For: 127.0.0.3\r\n\
                  X-Forwarded-Proto: https\r\nX-Forwarded-Host: outside.test\r\n\
                  X-Forwarded-Port: 443\r\nX_Forwarded_Port: 1\r\nX-Real-IP: 6.6.6.6\r\n\
                  Forwarded: for=6.6.6.6\r\n";
    let told = |seen: &Seen| {
        let names = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x_forwarded_port",
            "x-real-ip",
            "forwarded",
        ];
        names.map(|name| seen.field(name).unwrap_or_default())
    };
    let from_trusted = seen(&mut proxyd.client_from("127.0.0.2"), &backend, fields);
    assert_eq!(
        told(&from_trusted),
        [
            "6.6.6.6, 7.7.7.7, 127.0.0.3, 127.0.0.2",
            "https",
            "outside.test",
            "443",
            "",
            "7.7.7.7",
            "for=6.6.6.6, for=127.0.0.2;host=\"app.test\";proto=http",
        ]
    );
    logged(&proxyd, |line| line.starts_with("7.7.7.7 - - "));
    let from_others = seen(&mut proxyd.client_from("127.0.0.9"), &backend, fields);
    assert_eq!(
        told(&from_others),
        [
            "127.0.0.9",
            "http",
            "app.test",
            "",
            "",
            "127.0.0.9",
            "for=127.0.0.9;host=\"app.test\";proto=http",
        ]
    );
    logged(&proxyd, |line| line.starts_with("127.0.0.9 - - "));
}

/// A header of version 2 for a client, with an additional field.
fn v2(client: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".to_vec();
    bytes.extend(client);
    bytes.extend([127, 0, 0, 1, 0x12, 0x34, 0, 80, 0x04, 0, 1, 7]);
    bytes
}

#[test]
fn o18_proxy_protocol() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"proxy_protocol":["127.0.0.2"],"head_ms":1500}"#);
    let request = format!("{GET}\r\n");
    let line = b"PROXY TCP4 9.8.7.6 127.0.0.1 4711 80\r\n".to_vec();
    let six = b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for (header, told) in [
        (line.clone(), "9.8.7.6"),
        (six, "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.2"),
        (v2([9, 8, 7, 5]), "9.8.7.5"),
        (local, "127.0.0.2"),
    ] {
        let mut client = proxyd.client_from("127.0.0.2");
        client.send([&header, request.as_bytes()].concat());
        assert_eq!(client.answer().text(), "ok");
        let told_then = backend.seen().pop().unwrap().field("x-forwarded-for").unwrap();
        assert_eq!(told_then, told);
        // The header is the connection's, not the request's.
        assert_eq!(seen(&mut client, &backend, "").field("x-forwarded-for").unwrap(), told);
        // In pieces that split everything.
        let mut client = proxyd.client_from("127.0.0.2");
        for piece in [&header, request.as_bytes()].concat().chunks(7) {
            client.send(piece);
            std::thread::yield_now();
        }
        assert_eq!(client.answer().text(), "ok");
    }
    logged(&proxyd, |line| line.starts_with("9.8.7.6 - - "));
    let served = backend.seen().len();
    let bad = [
        request.as_bytes(),
        b"PROXY TCP4 9.8.7.6 127.0.0.1 4711\r\n",
        b"PROXY TCP4 9.8.7.6",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x21",
        b"",
    ];
    let sent = bad.map(|bytes| {
        let mut client = proxyd.client_from("127.0.0.2");
        client.send(bytes);
        (client, bytes)
    });
    for (mut client, bytes) in sent {
        // At once, or when the time for a head is over.
        assert!(client.is_closed(), "{bytes:?}");
    }
    // From others it is a bad request, which says who they are.
    for bad in [line, v2([9, 9, 9, 9])] {
        let mut client = proxyd.client_from("127.0.0.3");
        client.send([&bad, request.as_bytes()].concat());
        assert_eq!(client.answer().status, 400);
        assert!(client.is_closed());
    }
    assert_eq!(backend.seen().len(), served, "nothing of it reached anybody");
    assert!(proxyd.access_log().lines().all(|line| !line.starts_with("9.9.9.9")));
}

#[test]
fn o18_a_told_client_may_be_a_trusted_proxy() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"proxy_protocol":["127.0.0.2"],"trusted":["10.0.0.0/8"]}"#);
    let mut client = proxyd.client_from("127.0.0.2");
    client.send("PROXY TCP4 10.1.1.1 127.0.0.1 1 2\r\n");
    let told = seen(&mut client, &backend, "X-Forwarded-For: 5.5.5.5\r\n");
    assert_eq!(told.field("x-forwarded-for").unwrap(), "5.5.5.5, 10.1.1.1");
    let mut client = proxyd.client_from("127.0.0.2");
    client.send("PROXY TCP4 11.1.1.1 127.0.0.1 1 2\r\n");
    let told = seen(&mut client, &backend, "X-Forwarded-For: 5.5.5.5\r\n");
    assert_eq!(told.field("x-forwarded-for").unwrap(), "11.1.1.1");
}

#[test]
fn o18_requests_are_numbered() {
    let backend = Backend::start(|seen, out| {
        use std::io::Write;
        let switch = seen.field("upgrade").is_some();
        let status = if switch {
            "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x"
        } else {
            "200 OK"
        };
        write!(out, "HTTP/1.1 {status}\r\nX-Request-ID: target's\r\nContent-Length: 0\r\n\r\n")?;
        Ok(!switch)
    });
    let proxyd = Proxyd::start_with(&["--access-log-format", "json"]);
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    proxyd.put_front(r#"{"request_id":"X-Request-Id","trusted":["127.0.0.2"],"via":"edge"}"#);
    let id = |answer: &Answer| answer.field("x-request-id").unwrap();
    let mut stranger = proxyd.client_from("127.0.0.9");
    stranger.send(format!("{GET}X-Request-Id: spoofed\r\nX_Request_Id: too\r\n\r\n"));
    let first = id(&stranger.answer());
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_eq!(backend.seen()[0].field("x-request-id").unwrap(), first);
    assert_eq!(backend.seen()[0].field("x_request_id"), None);
    stranger.send(format!("{GET}\r\n"));
    let answer = stranger.answer();
    assert_ne!(id(&answer), first);
    assert_eq!(answer.field("via").unwrap(), "1.1 edge");
    let mut trusted = proxyd.client_from("127.0.0.2");
    trusted.send(format!("{GET}x-request-id: abc-1\r\nVia: 1.0 fred\r\n\r\n"));
    assert_eq!(id(&trusted.answer()), "abc-1");
    let seen = backend.seen().pop().unwrap();
    assert_eq!(seen.field("x-request-id").unwrap(), "abc-1");
    assert_eq!(seen.field("via").unwrap(), "1.0 fred, 1.1 edge");
    // Answers of our own have one, too, and those that switch to another protocol.
    trusted.send("GET / HTTP/1.1\r\nHost: no.test\r\nX-Request-Id: abc-2\r\n\r\n");
    let answer = trusted.answer();
    assert_eq!((answer.status, id(&answer).as_str()), (404, "abc-2"));
    trusted.send(format!("{GET}Connection: Upgrade\r\nUpgrade: x\r\nX-Request-Id: abc-3\r\n\r\n"));
    let answer = trusted.answer();
    assert_eq!((answer.status, id(&answer).as_str()), (101, "abc-3"));
    let mut bad = proxyd.client_from("127.0.0.9");
    bad.send("BAD\r\n\r\n");
    assert_eq!(id(&bad.answer()).len(), 32);
    logged(&proxyd, |line| line.contains(r#""id":"abc-1""#));
    logged(&proxyd, |line| line.contains(&format!(r#""id":"{first}""#)));
}

#[test]
fn o18_the_number_is_the_last_column() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    proxyd.put_front(r#"{"request_id":"X-Trace","trusted":["127.0.0.0/8"]}"#);
    seen(&mut proxyd.client(), &backend, "X-Trace: abc-1\r\n");
    logged(&proxyd, |line| line.ends_with(" app/1 abc-1"));
}

#[test]
fn o18_traces_pass_untouched() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = format!("traceparent: {parent}\r\ntracestate: a=1,b=2\r\nTraceState: c=3\r\n");
    for front in ["{}", r#"{"request_id":"X-Request-Id","trusted":["::/0"],"forwarded":true}"#] {
        proxyd.put_front(front);
        let seen = seen(&mut proxyd.client(), &backend, &fields);
        assert_eq!(seen.field("traceparent").unwrap(), parent);
        assert_eq!(seen.field("tracestate").unwrap(), "a=1,b=2, c=3");
    }
}

#[test]
fn the_front_is_one_object() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    assert_eq!(proxyd.control("GET", "/front", "", "").text(), "{}");
    let mut before: Vec<Client> = (0..4).map(|_| proxyd.client()).collect();
    for client in &mut before {
        assert_eq!(seen(client, &backend, "").field("x-real-ip"), None);
    }
    let connections = backend.connections();
    let generation = proxyd.state().generation;
    let front = r#"{"trusted":["10.0.0.0/8"],"real_ip":true,"limits":{"body_bytes":7}}"#;
    proxyd.put_front(front);
    proxyd.put_front(front);
    assert_eq!(proxyd.state().generation, generation + 1);
    assert_eq!(serde_json::to_string(&proxyd.state().front).unwrap(), front);
    assert_eq!(proxyd.control("GET", "/front", "", "").text(), front);
    // The next request of a connection that was open before, on whichever worker.
    for client in &mut before {
        assert_eq!(seen(client, &backend, "").field("x-real-ip").unwrap(), "127.0.0.1");
    }
    assert_eq!(backend.connections(), connections, "and idle connections are kept");
    for (bad, part) in [
        (r#"{"trusted":["ten"]}"#, "`trusted`: `ten`"),
        (r#"{"head_ms":0}"#, "`head_ms` is 0"),
        (r#"{"request_id":"Host"}"#, "`request_id`"),
    ] {
        let answer = proxyd.put("/front", bad);
        assert_eq!((answer.status, answer.error().error.as_str()), (400, "bad_front"));
        assert!(answer.error().message.contains(part), "{}", answer.text());
    }
    let answer = proxyd.put("/front", r#"{"trust":[]}"#);
    assert_eq!((answer.status, answer.error().error.as_str()), (400, "bad_body"));
    let fields = "Content-Type: application/json\r\nIf-Match: \"0\"\r\n";
    assert_eq!(proxyd.control("PUT", "/front", fields, "{}").status, 412);
    let answer = proxyd.put("/routes/a.test", r#"{"service":"a","limits":{"answer_ms":0}}"#);
    assert_eq!(answer.status, 400);
    assert!(answer.error().message.contains("`limits.answer_ms` is 0"), "{}", answer.text());
    assert_eq!(proxyd.state().generation, generation + 1);
}
