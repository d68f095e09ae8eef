//! proxyd: what a route may say beyond where it goes.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use jobinit_tests::proxyd::{Answer, Backend, Proxyd, binary, wait_for};
use jobinit_tests::pty::Pty;
use serde_json::json;

/// A proxyd with a backend, and one route to it for `app.test` that says more.
fn with_route(key: &str, more: &serde_json::Value) -> (Proxyd, Backend) {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::start();
    proxyd.put_target("app", "1", &backend.target());
    put(&proxyd, key, more);
    (proxyd, backend)
}

/// Puts a route, to the service `app` unless it says otherwise.
fn put(proxyd: &Proxyd, key: &str, more: &serde_json::Value) {
    let mut route = json!({ "service": "app" });
    if more.get("redirect").is_some() {
        route = json!({});
    }
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = proxyd.put(&format!("/routes/{key}"), &route.to_string());
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

fn get(proxyd: &Proxyd, target: &str, fields: &str) -> Answer {
    let mut client = proxyd.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
    client.answer()
}

#[test]
fn o17_redirects_keep_path_and_query() {
    let (proxyd, _backend) = with_route("app.test", &json!({}));
    for (key, redirect) in [
        ("www.app.test", json!({ "to": "http://app.test" })),
        ("plain.test", json!({ "to": "https://app.test:8443", "status": 301 })),
        ("app.test/old", json!({ "to": "/new", "status": 302 })),
        (
            "app.test/gone",
            json!({ "to": "https://b.test/", "keep_path": false, "keep_query": false }),
        ),
    ] {
        put(&proxyd, key, &json!({ "redirect": redirect }));
    }
    let mut client = proxyd.client();
    for (host, target, status, location) in [
        ("www.app.test", "/a%2Fb/../c?d=%20&e", 308, "http://app.test/a%2Fb/../c?d=%20&e"),
        ("www.app.test", "//evil.example/x", 308, "http://app.test//evil.example/x"),
        ("plain.test", "/", 301, "https://app.test:8443/"),
        ("app.test", "/old/x?y", 302, "/new/x?y"),
        ("app.test", "/old", 302, "/new"),
        ("app.test", "/gone/x?y", 308, "https://b.test/"),
    ] {
        // With a body, and on the same connection: it is taken before the redirect is told.
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc"
        ));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{host}{target}");
        assert_eq!(answer.field("location").as_deref(), Some(location));
        assert!(answer.text().contains("Location"), "{answer:?}");
    }
    assert_eq!(client.get("/oldest").text(), "ok");
    assert!(proxyd.access_log().is_empty() || !proxyd.access_log().contains(" 499 "));
}

#[test]
fn o17_who_came_by_https_is_served_and_not_sent_in_a_circle() {
    let to = json!({ "to": "https://app.test", "unless_https": true });
    let route = json!({ "service": "app", "redirect": to, "rewrite": "/in" });
    let (proxyd, backend) = with_route("app.test", &route);
    let ask = |proto: &str| get(&proxyd, "/x?y", &format!("X-Forwarded-Proto: {proto}\r\n"));
    assert_eq!(ask("https").status, 308, "nobody has to believe that");
    proxyd.put_front(r#"{"trusted":["127.0.0.1"]}"#);
    for (proto, status) in [
        ("https", 200),
        ("HTTPS, http", 200),
        ("http", 308),
        ("http, https", 308),
        ("", 308),
        ("httpsx", 308),
        ("http\r\nX-Forwarded-Proto: https", 308),
        ("https\r\nX_Forwarded_Proto: http", 200),
        ("https\r\nX-Forwarded-Proto: https", 200),
        ("https\r\nX-Forwarded-Proto: http", 200),
    ] {
        let answer = ask(proto);
        assert_eq!(answer.status, status, "{proto}");
        let location = (status == 308).then_some("https://app.test/x?y");
        assert_eq!(answer.field("location").as_deref(), location, "{proto}");
    }
    assert!(backend.seen().iter().all(|seen| seen.target == "/in/x?y"));
    for (route, part) in [
        (json!({ "redirect": { "to": "/", "unless_https": true } }), "needs a `service`"),
        (json!({ "service": "app", "redirect": { "to": "/" } }), "unless_https = true"),
    ] {
        let error = proxyd.put("/routes/b.test", &route.to_string()).error();
        assert!(error.error == "bad_route" && error.message.contains(part), "{error:?}");
    }
}

#[test]
fn o17_what_a_client_sends_leads_to_no_other_host() {
    let proxyd = Proxyd::start();
    put(&proxyd, "app.test/old", &json!({ "redirect": { "to": "/" } }));
    for target in ["/old//evil.example", "/old/\\evil.example", "//old///evil.example"] {
        let answer = get(&proxyd, target, "X-Forwarded-Host: evil.example\r\n");
        assert_eq!(answer.field("location").as_deref(), Some("/evil.example"), "{target}");
    }
    put(&proxyd, "app.test", &json!({ "redirect": { "to": "https://app.test" } }));
    let mut client = proxyd.client();
    client.send("GET http://app.test@evil.example/ HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    let answer = get(&proxyd, "/%0d%0aSet-Cookie:%20x", "");
    assert_eq!(answer.field("set-cookie"), None);
    assert_eq!(answer.field("location").as_deref(), Some("https://app.test/%0d%0aSet-Cookie:%20x"));
}

#[test]
fn o16_prefixes_are_stripped_and_replaced() {
    let (proxyd, backend) = with_route("app.test/api", &json!({ "strip_prefix": true }));
    put(&proxyd, "app.test/v1", &json!({ "rewrite": "/api/v2/" }));
    put(&proxyd, "app.test", &json!({}));
    let spoof = "X-Forwarded-Prefix: /evil\r\n";
    for (target, asked, prefix) in [
        ("/api", "/", Some("/api")),
        ("/api/", "/", Some("/api")),
        ("/api?q=/api", "/?q=/api", Some("/api")),
        ("/api/x/y?q", "/x/y?q", Some("/api")),
        ("/api//evil.example", "/evil.example", Some("/api")),
        ("/v1/%2e%2E/api/z", "/z", Some("/api")),
        ("/v1/x%2Fy?", "/api/v2/x%2Fy?", Some("/v1")),
        ("/v1", "/api/v2", Some("/v1")),
        ("/x/../y", "/x/../y", None),
    ] {
        assert_eq!(get(&proxyd, target, spoof).status, 200);
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.target, asked, "{target}");
        assert_eq!(seen.field("x-forwarded-prefix").as_deref(), prefix, "{target}");
    }
}

#[test]
fn o16_rules_of_a_prefix_cannot_be_walked_around() {
    let (proxyd, backend) = with_route("app.test/admin", &json!({ "deny": ["0.0.0.0/0"] }));
    put(&proxyd, "app.test", &json!({}));
    for target in [
        "/admin",
        "/admin/x",
        "/admin?x",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/%61dmin",
        "/%61%64min/",
        "///x/..//admin",
        "http://app.test/x/../admin",
    ] {
        let status = get(&proxyd, target, "").status;
        // Servers disagree about that one.
        let expected = if target == "///x/..//admin" { 400 } else { 403 };
        assert_eq!(status, expected, "{target}");
    }
    assert!(backend.seen().is_empty());
    // What is not below it is passed on as it came.
    for target in ["/administrator", "/x//y/./z", "/admin/../x", "/%78/%2f", "/admin%2Fx"] {
        assert_eq!(get(&proxyd, target, "").status, 200, "{target}");
        assert_eq!(backend.seen().pop().unwrap().target, target);
    }
}

#[test]
fn fields_are_set_added_and_removed() {
    let backend = Backend::start(|_, out| {
        let fields = "Server: app\r\nX-Powered-By: php\r\nVary: a\r\n";
        write!(out, "HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n")?;
        write!(out, "2\r\nok\r\n0\r\n\r\n")?;
        Ok(true)
    });
    let proxyd = Proxyd::start();
    proxyd.put_target("app", "1", &backend.target());
    let edits = json!({
        "request_headers": { "remove": ["Cookie"], "set": { "Host": "inside", "X-User": "-" }, "add": { "Via": "1.1 p" } },
        "response_headers": { "remove": ["X-Powered-By"], "set": { "Server": "p" }, "add": { "Vary": "b" } },
    });
    put(&proxyd, "app.test", &edits);
    let mut client = proxyd.client();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: app.test\r\nCookie: a\r\nX_User: root\r\nx-user: root\r\n\
             Via: 1.0 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        );
        let answer = client.answer();
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.field("server").as_deref(), Some("p"));
        assert_eq!(answer.field("x-powered-by"), None);
        assert_eq!(answer.field("vary").as_deref(), Some("a, b"));
    }
    let seen = backend.seen().pop().unwrap();
    assert_eq!(seen.body, b"abc");
    assert_eq!(seen.field("host").as_deref(), Some("inside"));
    assert_eq!(seen.field("x-forwarded-host").as_deref(), Some("app.test"));
    assert_eq!(seen.field("cookie"), None);
    assert_eq!((seen.field("x_user"), seen.field("x-user").as_deref()), (None, Some("-")));
    assert_eq!(seen.field("via").as_deref(), Some("1.0 x, 1.1 p"));
    // Answers of proxyd's own, too.
    proxyd.delete_target("app", "1", 1000);
    let answer = client.get("/");
    assert_eq!((answer.status, answer.field("server").as_deref()), (503, Some("p")));
}

#[test]
fn o19_a_tunnel_begins_below_a_prefix() {
    let backend = Backend::raw(|mut connection| {
        let head = connection.head().unwrap();
        assert_eq!((head.target.as_str(), head.field("x-in").as_deref()), ("/live", Some("1")));
        assert_eq!(head.field("connection").as_deref(), Some("Upgrade"));
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\
                       Connection: Upgrade\r\n\r\nhello";
        connection.stream.write_all(answer).unwrap();
        assert_eq!(connection.read_exact(3).unwrap(), b"abc");
    });
    let proxyd = Proxyd::start();
    proxyd.put_target("app", "1", &backend.target());
    let edits = json!({
        "strip_prefix": true,
        "request_headers": { "set": { "X-In": "1" } },
        "response_headers": { "set": { "X-Out": "1" } },
    });
    put(&proxyd, "app.test/ws", &edits);
    let mut client = proxyd.client();
    client.send(
        "GET /ws/live HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nabc",
    );
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("x-out").as_deref()), (101, Some("1")));
    assert_eq!(client.read_exact(5), b"hello");
}

#[test]
fn who_may_not_come_is_told_before_he_sends_a_body() {
    let auth = json!({ "users": { "ann": hash() } });
    let (proxyd, backend) = with_route("app.test", &json!({ "basic_auth": auth }));
    let mut client = proxyd.client();
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n";
    client.send(format!("{head}\r\n"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection").as_deref()), (401, Some("close")));
    // Half a body and more of what could be taken for a request: it is not.
    let mut client = proxyd.client();
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 99\r\n\r\nGET / HTTP/1.1\r\n");
    assert_eq!(client.answer().status, 401);
    client.finish_sending();
    assert!(client.is_closed());
    assert!(backend.seen().is_empty());
}

/// The bcrypt hash of `secret`.
fn hash() -> String {
    let mut child = Command::new(binary("proxyd"))
        .args(["hash-password", "--cost", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const RIGHT: &str = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
const WRONG: &str = "Authorization: Basic YW5uOnNlY3JlVA==\r\n";

#[test]
fn a_password_opens_a_route() {
    let auth = json!({ "realm": "Shop", "users": { "ann": hash() } });
    let (proxyd, backend) = with_route("app.test", &json!({ "basic_auth": auth }));
    let mut client = proxyd.client();
    for (fields, status) in [("", 401), (WRONG, 401), (RIGHT, 200), (RIGHT, 200), (WRONG, 401)] {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n{fields}\r\nabc"
        ));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{fields}");
        let challenge = answer.field("www-authenticate");
        let expected = (status == 401).then_some("Basic realm=\"Shop\", charset=\"UTF-8\"");
        assert_eq!(challenge.as_deref(), expected);
    }
    assert_eq!(get(&proxyd, "/", &format!("{RIGHT}{RIGHT}")).status, 401, "two words are none");
    assert_eq!(backend.seen().len(), 2);
    wait_for("lines with his name, and only where he was let in", || {
        let log = proxyd.access_log();
        let is_right = |line: &str| line.contains(" - ann [") == line.contains("\" 200 ");
        (log.lines().count() == 6 && log.lines().all(is_right)).then_some(())
    });
    assert!(backend.seen()[0].field("authorization").is_some());
    let auth = json!({ "users": { "ann": hash() }, "remove_authorization": true });
    put(&proxyd, "app.test", &json!({ "basic_auth": auth }));
    assert_eq!(get(&proxyd, "/", RIGHT).status, 200);
    assert_eq!(backend.seen().pop().unwrap().field("authorization"), None);
}

#[test]
fn passwords_are_checked_beside_the_requests() {
    // A check takes far longer than many requests.
    let slow = "$2b$14$abcdefghijklmnopqrstuuPhS8lIfg5AhPnKwVD/XHBaxuJhBQ0cu";
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::start();
    proxyd.put_target("app", "1", &backend.target());
    put(&proxyd, "app.test/in", &json!({ "basic_auth": { "users": { "ann": slow } } }));
    put(&proxyd, "app.test", &json!({}));
    let mut guessing: Vec<_> = (0..2).map(|_| proxyd.client()).collect();
    for client in &mut guessing {
        client.send(format!("GET /in HTTP/1.1\r\nHost: app.test\r\n{WRONG}\r\n"));
    }
    let mut client = proxyd.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "ok");
    }
    for mut client in guessing {
        client.stream.set_nonblocking(true).unwrap();
        assert!(client.try_answer(false).is_err(), "it is being checked still");
    }
    // More than can wait are told so at once.
    let mut crowd: Vec<_> = (0..70)
        .map(|_| {
            let mut client = proxyd.client();
            client.send(format!("GET /in HTTP/1.1\r\nHost: app.test\r\n{WRONG}\r\n"));
            client.stream.set_nonblocking(true).unwrap();
            client
        })
        .collect();
    let answer = wait_for("one who is not let in the line", || {
        crowd.iter_mut().find_map(|client| client.try_answer(false).ok())
    });
    assert_eq!((answer.status, answer.field("retry-after").as_deref()), (503, Some("1")));
}

#[test]
fn the_most_particular_network_decides() {
    let (proxyd, _backend) =
        with_route("app.test", &json!({ "allow": ["127.0.0.0/8"], "deny": ["127.0.0.1"] }));
    let answer = get(&proxyd, "/", "X-Forwarded-For: 127.0.0.2\r\n");
    assert_eq!((answer.status, answer.text().contains("your address")), (403, true));
    put(&proxyd, "app.test", &json!({ "allow": ["127.0.0.1"], "deny": ["127.0.0.0/8"] }));
    assert_eq!(get(&proxyd, "/", "").status, 200);
    put(&proxyd, "app.test", &json!({ "allow": ["10.0.0.0/8", "::/0"] }));
    assert_eq!(get(&proxyd, "/", "").status, 403);
}

#[test]
fn too_often_is_told_when_to_come_again() {
    let limit = json!({ "requests": 5, "per_s": 1000, "burst": 10 });
    let (proxyd, backend) = with_route("app.test", &json!({ "rate_limit": limit }));
    // Over all workers: connections are spread.
    let address = proxyd.address;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut client = jobinit_tests::proxyd::Client::connect(address);
                (0..10).filter(|_| client.get("/").status == 200).count()
            })
        })
        .collect();
    let passed: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!((passed, backend.seen().len()), (10, 10));
    let answer = get(&proxyd, "/", "");
    assert_eq!(answer.status, 429);
    let wait: u32 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((190..=200).contains(&wait), "{wait}");
    // Neither the same again nor a change of something else forgets what was counted.
    put(&proxyd, "app.test", &json!({ "rate_limit": limit }));
    assert_eq!(get(&proxyd, "/", "").status, 429);
    put(&proxyd, "app.test", &json!({ "rate_limit": limit, "deny": ["10.0.0.0/8"] }));
    assert_eq!(get(&proxyd, "/", "").status, 429);
    let by_key = json!({ "requests": 1, "per_s": 1000, "key": "header X-Api-Key" });
    put(&proxyd, "app.test", &json!({ "rate_limit": by_key }));
    for (key, status) in [("a", 200), ("a", 429), ("b", 200), ("b", 429)] {
        assert_eq!(get(&proxyd, "/", &format!("X-Api-Key: {key}\r\n")).status, status, "{key}");
    }
    assert_eq!(get(&proxyd, "/", "").status, 200, "without one it is counted by address");
    assert_eq!(get(&proxyd, "/", "").status, 429);
}

#[test]
fn errors_have_pages() {
    let backend = Backend::start(|seen, out| {
        let status = seen.target.trim_start_matches('/');
        write!(out, "HTTP/1.1 {status} So\r\nContent-Length: 3\r\nX-App: 1\r\n\r\nown")?;
        Ok(true)
    });
    let proxyd = Proxyd::start();
    proxyd.put_target("app", "1", &backend.target());
    let file = proxyd.folder.path().join("page.html");
    std::fs::write(&file, "<h1>first</h1>").unwrap();
    let pages = json!({
        "503": { "html": "<h1>soon</h1>" },
        "5xx": { "file": file, "of_target": true, "content_type": "text/x" },
        "404": { "html": "none", "of_target": true },
        "401": { "html": "who?", "of_target": true },
    });
    put(&proxyd, "app.test", &json!({ "error_pages": pages }));
    let mut client = proxyd.client();
    for (status, text) in
        [(500, "<h1>first</h1>"), (404, "none"), (503, "own"), (401, "own"), (200, "own")]
    {
        let answer = client.get(&format!("/{status}"));
        assert_eq!((answer.status, answer.text().as_str()), (status, text));
        assert_eq!(answer.field("x-app").is_some(), text == "own");
    }
    let answer = get(&proxyd, "/500", "Accept: application/json, */*\r\n");
    assert_eq!(answer.field("content-type").as_deref(), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&body["status"], &body["error"]), (&json!(500), &json!("Internal Server Error")));
    client.send("HEAD /500 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.field("content-length").as_deref()), (500, Some("14")));
    assert_eq!(answer.field("content-type").as_deref(), Some("text/x"));
    // The file is what it was when it was put.
    std::fs::write(&file, "second").unwrap();
    assert_eq!(client.get("/500").text(), "<h1>first</h1>");
    put(&proxyd, "app.test", &json!({ "error_pages": pages }));
    assert_eq!(client.get("/500").text(), "second");
    proxyd.delete_target("app", "1", 0);
    let answer = client.get("/x");
    assert_eq!((answer.status, answer.text().as_str()), (503, "<h1>soon</h1>"));
    assert_eq!(answer.field("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
    assert!(answer.field("date").is_some_and(|date| date.ends_with(" GMT")), "RFC 9110, 6.6.1");
}

/// They say how to go on, which a page cannot: so they are the app's, and none are made up.
#[test]
fn a_page_in_place_of_an_app_s_error_keeps_what_goes_with_its_status() {
    let backend = Backend::start(|seen, out| {
        let said = match seen.target.as_str() {
            "/405" => "405 No\r\nAllow: GET",
            "/503" => "503 No\r\nRetry-After: 3600",
            "/416" => "416 No\r\nContent-Range: bytes */10",
            "/407" => "407 No\r\nProxy-Authenticate: Basic realm=x",
            _ => "429 No",
        };
        write!(out, "HTTP/1.1 {said}\r\nX-App: 1\r\nContent-Length: 3\r\n\r\nown")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let page = json!({ "html": "page", "of_target": true });
    put(&proxyd, "app.test", &json!({ "error_pages": { "4xx": page, "5xx": page } }));
    let mut client = proxyd.client();
    let names = ["allow", "retry-after", "content-range", "proxy-authenticate", "x-app"];
    for (status, expected) in [
        (405, Some("GET")),
        (503, Some("3600")),
        (416, Some("bytes */10")),
        (407, Some("Basic realm=x")),
        (429, None),
    ] {
        let answer = client.get(&format!("/{status}"));
        assert_eq!((answer.status, answer.text().as_str()), (status, "page"));
        let said: Vec<_> = names.iter().filter_map(|name| answer.field(name)).collect();
        assert_eq!(said, Vec::from_iter(expected.map(str::to_owned)), "{status}");
    }
}

#[test]
fn odd_routes_are_refused_with_field_and_value() {
    let proxyd = Proxyd::start();
    for (route, parts) in [
        (json!({}), vec!["`service`", "`redirect`"]),
        (json!({ "service": "a", "redirect": { "to": "/" } }), vec!["both"]),
        (json!({ "redirect": { "to": "evil" } }), vec!["redirect.to is `evil`", "https://"]),
        (
            json!({ "redirect": { "to": "/", "status": 200 } }),
            vec!["redirect.status is 200", "308"],
        ),
        (json!({ "redirect": { "to": "/" }, "strip_prefix": true }), vec!["strip_prefix"]),
        (json!({ "service": "a", "rewrite": "x" }), vec!["rewrite is `x`"]),
        (
            json!({ "service": "a", "allow": ["here"], "rate_limit": { "requests": 0 } }),
            vec!["allow[0] is `here`", "10.0.0.0/8", "rate_limit.requests is 0"],
        ),
        (
            json!({ "service": "a", "response_headers": { "set": { "Connection": "x" } } }),
            vec!["response_headers.set has `Connection`"],
        ),
        (
            json!({ "service": "a", "basic_auth": { "users": { "ann": "secret" } } }),
            vec!["basic_auth.users.ann", "proxyd hash-password"],
        ),
        (
            json!({ "service": "a", "error_pages": { "5xx": { "file": "/nonexistent" } } }),
            vec!["error_pages.5xx.file is `/nonexistent`", "not found"],
        ),
    ] {
        let answer = proxyd.put("/routes/a.test/p", &route.to_string());
        assert_eq!((answer.status, answer.error().error.as_str()), (400, "bad_route"), "{route}");
        for part in parts {
            assert!(answer.text().contains(part), "{part}: {}", answer.text());
        }
    }
    assert_eq!(proxyd.state().generation, 0);
    // What was put is what is shown.
    let all = json!({
        "service": "a", "rewrite": "/b", "allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"],
        "request_headers": { "remove": ["x"] }, "response_headers": { "add": { "x": "y" } },
        "basic_auth": { "realm": "r", "users": { "ann": hash() }, "remove_authorization": true },
        "rate_limit": { "requests": 1, "per_s": 2, "burst": 3, "key": "header X" },
        "error_pages": { "5xx": { "html": "x" } },
    });
    put(&proxyd, "a.test/p", &all);
    let shown = proxyd.control("GET", "/routes/a.test/p", "", "");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&shown.body).unwrap(), all);
    assert_eq!(serde_json::to_value(&proxyd.state().routes["a.test/p"]).unwrap(), all);
}

#[test]
fn passwords_are_hashed_from_standard_input() {
    assert!(hash().starts_with("$2b$04$"));
    assert_ne!(hash(), hash());
    let long = "x".repeat(73);
    for (input, part) in
        [("", "is empty"), ("\n", "is empty"), (&long, "72 bytes"), ("a\nb\n", "one line")]
    {
        let mut child = Command::new(binary("proxyd"))
            .args(["hash-password", "--cost", "4"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.contains(part)), (Some(2), true), "{said}");
    }
}

#[test]
fn a_password_is_asked_for_on_a_terminal() {
    let proxyd = binary("proxyd");
    let mut terminal = Pty::start(&[
        proxyd.as_os_str(),
        "hash-password".as_ref(),
        "--cost".as_ref(),
        "4".as_ref(),
    ]);
    terminal.expect("not shown as you type it:");
    // It is not taken before it is hidden.
    wait_for("the terminal to hide it", || terminal.hides().then_some(()));
    terminal.keys("secret\n");
    let before = terminal.expect("$2b$04$");
    assert!(!before.contains("secret"), "{before}");
    assert!(terminal.wait_end().success());
    assert!(!terminal.hides(), "it is as it was");
}
