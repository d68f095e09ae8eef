//! proxyd: answers that are compressed on their way, those that are not, and when each piece of them comes. What was
//! compressed is undone by curl, which has decoders of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use jobinit_tests::proxyd::{Answer, Authority, Backend, Proxyd};
use jobinit_tests::tools::{present, skip};
use serde_json::json;

const CODINGS: [&str; 3] = ["zstd", "br", "gzip"];

/// A text that is shorter once it is compressed, but not by much.
fn page() -> String {
    let number = |at: u32| at.wrapping_mul(2_654_435_761).to_string();
    (0..6_000).flat_map(|at| ["<p>".into(), number(at), "</p>\n".into()]).collect()
}

/// Whether there is a curl that knows all codings.
fn has_curl() -> bool {
    if !present(&["curl"]) {
        return false;
    }
    let about = Command::new("curl").arg("--version").output().unwrap();
    let about = String::from_utf8_lossy(&about.stdout).into_owned();
    let knows = ["brotli", "libz", "zstd", "HTTP2"].iter().all(|word| about.contains(word));
    if !knows {
        skip("curl does not know all codings");
    }
    knows
}

fn with_route(proxyd: Proxyd, backend: &Backend, more: &serde_json::Value) -> Proxyd {
    proxyd.put_target("app", "1", &backend.target());
    let mut route = json!({ "service": "app", "compress": true });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = proxyd.put("/routes/app.test", &route.to_string());
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    proxyd
}

/// An app that answers each path with what it is told to, and a body of that size.
fn app() -> Backend {
    let page = page();
    Backend::start(move |seen, out| {
        let (path, fields) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let fields = fields.replace('+', " ").replace(',', "\r\n");
        let mut status = "200 OK";
        let mut size = page.len();
        match path {
            "/part" => status = "206 Partial Content",
            "/gone" => status = "404 Not Found",
            "/none" => (status, size) = ("204 No Content", 0),
            "/same" => (status, size) = ("304 Not Modified", 0),
            "/little" => size = 1023,
            _ => {}
        }
        let length = if size == 0 { String::new() } else { format!("Content-Length: {size}\r\n") };
        let fields = if fields.is_empty() { fields } else { format!("{fields}\r\n") };
        write!(out, "HTTP/1.1 {status}\r\nETag: \"v1\"\r\n{length}{fields}\r\n")?;
        if seen.method != "HEAD" {
            out.write_all(&page.as_bytes()[..size])?;
        }
        Ok(true)
    })
}

fn get(proxyd: &Proxyd, target: &str, fields: &str) -> Answer {
    let mut client = proxyd.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
    client.answer()
}

/// What curl gets, undone, with the head before it.
fn curl(args: &[&str], url: &str) -> (String, Vec<u8>) {
    let mut command = Command::new("curl");
    command.args(["-sSi", "--max-time", "20", "--compressed", "-H", "Host: app.test"]);
    let output = command.args(args).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let end = output.stdout.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output.stdout[..end]).to_ascii_lowercase();
    (head, output.stdout[end + 4..].to_vec())
}

#[test]
fn each_client_gets_what_it_takes() {
    if !has_curl() {
        return;
    }
    let backend = app();
    let proxyd = with_route(Proxyd::start_secure(&[]), &backend, &json!({}));
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    let authority = Authority::new("ca");
    proxyd.put_certificate("app", &authority.pair(&["app.test"]));
    let plain = format!("http://{}/?Content-Type:text/html", proxyd.address);
    let port = proxyd.secure_address().port();
    let resolved = format!("app.test:{port}:127.0.0.1");
    let secure = format!("https://app.test:{port}/?Content-Type:text/html");
    for coding in CODINGS {
        let accept = format!("Accept-Encoding: {coding}");
        for (args, url, is_11) in [
            (&["--http1.1"][..], &plain, true),
            (&["--http2-prior-knowledge"], &plain, false),
            (&["-k", "--http1.1", "--resolve", &resolved], &secure, true),
            (&["-k", "--http2", "--resolve", &resolved], &secure, false),
        ] {
            let (head, body) = curl(&[args, &["-H", &accept]].concat(), url);
            assert!(head.contains(&format!("\ncontent-encoding: {coding}\r")), "{args:?} {head}");
            assert!(
                head.contains("\netag: w/\"v1\"") && !head.contains("content-length"),
                "{head}"
            );
            assert!(head.contains("\nvary: accept-encoding"), "{head}");
            assert_eq!(head.contains("transfer-encoding: chunked"), is_11, "{head}");
            assert!(body == page().as_bytes(), "{coding} {args:?}");
        }
    }
    let line = proxyd.access_log();
    assert!(!line.contains(&format!(" {} ", page().len())), "what was sent is what is counted");
}

#[test]
fn what_is_not_to_be_changed_is_not() {
    let backend = app();
    let proxyd = with_route(Proxyd::start(), &backend, &json!({}));
    let html = "Content-Type:text/html";
    let sse = "/?Content-Type:text/event-stream";
    for (target, fields, vary) in [
        (format!("/?{html}"), "", true),
        (format!("/?{html}"), "Accept-Encoding: identity\r\n", true),
        (format!("/?{html}"), "Accept-Encoding: gzip;q=0\r\n", true),
        (format!("/?{html}"), "Accept-Encoding: deflate\r\n", true),
        (format!("/part?{html},Content-Range:bytes+0-9/90"), "Accept-Encoding: gzip\r\n", false),
        (format!("/none?{html}"), "Accept-Encoding: gzip\r\n", false),
        (format!("/little?{html}"), "Accept-Encoding: gzip\r\n", false),
        ("/?Content-Type:image/png".into(), "Accept-Encoding: gzip\r\n", false),
        ("/?Content-Type:application/grpc".into(), "Accept-Encoding: gzip\r\n", false),
        ("/".into(), "Accept-Encoding: gzip\r\n", false),
        (sse.into(), "Accept-Encoding: gzip\r\n", false),
        (format!("/?{html},Content-Encoding:br"), "Accept-Encoding: gzip\r\n", false),
        (format!("/?{html},Cache-Control:no-transform"), "Accept-Encoding: gzip\r\n", false),
    ] {
        let answer = get(&proxyd, &target, fields);
        let coding = answer.field("content-encoding").filter(|coding| coding != "br");
        assert_eq!(coding, None, "{target} {fields}");
        assert_eq!(answer.field("etag").as_deref(), Some("\"v1\""), "{target} {fields}");
        let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        assert_eq!(answer.body.len(), length, "{target} {fields}");
        assert_eq!(answer.field("vary").is_some(), vary, "{target} {fields}");
    }
    // An app that says it itself is not told again, and an error is as good as a page.
    let answer =
        get(&proxyd, &format!("/gone?{html},Vary:Accept-Encoding"), "Accept-Encoding: br\r\n");
    assert_eq!(answer.field("vary").as_deref(), Some("Accept-Encoding"));
    assert_eq!((answer.status, answer.field("content-encoding").as_deref()), (404, Some("br")));
    // Whoever has it already is told of the form that he has.
    for (fields, tag) in [("Accept-Encoding: gzip\r\n", "W/\"v1\""), ("", "\"v1\"")] {
        let answer = get(&proxyd, "/same", fields);
        assert_eq!((answer.status, answer.field("etag").as_deref()), (304, Some(tag)));
        assert_eq!(answer.field("vary").as_deref(), Some("Accept-Encoding"));
    }
    // Unless the route says so, nothing is.
    proxyd.put_route("app.test", "app");
    let answer = get(&proxyd, &format!("/?{html}"), "Accept-Encoding: gzip\r\n");
    assert_eq!((answer.field("content-encoding"), answer.field("vary")), (None, None));
    let answer = get(&proxyd, "/same", "Accept-Encoding: gzip\r\n");
    assert_eq!((answer.field("etag").as_deref(), answer.field("vary")), (Some("\"v1\""), None));
}

#[test]
fn types_are_those_that_the_route_names() {
    let backend = app();
    let types = json!({ "compress_types": ["image/*", "application/x-own"] });
    let proxyd = with_route(Proxyd::start(), &backend, &types);
    for (kind, is_compressed) in
        [("image/png", true), ("application/x-own", true), ("text/html", false)]
    {
        let target = format!("/?Content-Type:{kind}");
        let answer = get(&proxyd, &target, "Accept-Encoding: gzip\r\n");
        assert_eq!(answer.field("content-encoding").is_some(), is_compressed, "{kind}");
    }
    for (route, part) in [
        (json!({ "service": "a", "compress": true, "compress_types": ["text"] }), "no type"),
        (json!({ "service": "a", "compress_types": ["text/html"] }), "add compress = true"),
    ] {
        let error = proxyd.put("/routes/b.test", &route.to_string()).error();
        assert!(error.error == "bad_route" && error.message.contains(part), "{error:?}");
    }
}

#[test]
fn head_is_told_what_get_would_be() {
    let backend = app();
    let proxyd = with_route(Proxyd::start(), &backend, &json!({}));
    let mut client = proxyd.client();
    let ask =
        "/?Content-Type:text/html HTTP/1.1\r\nHost: app.test\r\nAccept-Encoding: gzip\r\n\r\n";
    client.send(format!("HEAD {ask}"));
    let head = client.answer_to_head();
    client.send(format!("GET {ask}"));
    let get = client.answer();
    for name in ["content-encoding", "etag", "vary", "content-type", "content-length"] {
        assert_eq!(head.field(name), get.field(name), "{name}");
    }
    assert_eq!(head.field("content-length"), None);
    assert!(get.complete && !get.body.is_empty());
    // Both connections went on.
    assert_eq!(client.get("/little").body.len(), 1023);
}

#[test]
fn an_old_client_gets_all_until_the_end_of_the_connection() {
    if !has_curl() {
        return;
    }
    let backend = app();
    let proxyd = with_route(Proxyd::start(), &backend, &json!({}));
    let url = format!("http://{}/?Content-Type:text/html", proxyd.address);
    for coding in CODINGS {
        let accept = format!("Accept-Encoding: {coding}");
        let (head, body) = curl(&["--http1.0", "-H", &accept], &url);
        assert!(head.contains("connection: close") && !head.contains("chunked"), "{head}");
        assert!(body == page().as_bytes(), "{coding}");
    }
}

/// An app whose answer goes on when the test says so, with what it says then.
fn slow_app(kind: &'static str) -> (Backend, Sender<Option<&'static str>>) {
    let (say, said) = channel::<Option<&'static str>>();
    let said = Arc::new(Mutex::new(said));
    let backend = Backend::start(move |_, out| {
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )?;
        let said = said.lock().unwrap();
        while let Ok(Some(word)) = said.recv() {
            write!(out, "{:x}\r\n{word}\r\n", word.len())?;
        }
        out.write_all(b"0\r\n\r\n")?;
        Ok(true)
    });
    (backend, say)
}

fn streaming_curl(coding: &str, url: &str) -> Child {
    let mut command = Command::new("curl");
    command.args(["-sSN", "--max-time", "20", "--compressed", "-H", "Host: app.test", "-H"]);
    command.arg(format!("Accept-Encoding: {coding}")).arg(url);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_an_app_has_said_before_it_pauses_comes_through() {
    if !has_curl() {
        return;
    }
    for (kind, codings) in [("text/html", &CODINGS[..]), ("text/event-stream", &["gzip"])] {
        let (backend, say) = slow_app(kind);
        let proxyd = with_route(Proxyd::start(), &backend, &json!({}));
        for coding in codings {
            let mut curl = streaming_curl(coding, &format!("http://{}/", proxyd.address));
            let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
            for word in ["one\n", "two\n", "three\n"] {
                // The next word is not said before this one has come.
                say.send(Some(word)).unwrap();
                assert_eq!(lines.next().unwrap().unwrap(), word.trim(), "{kind} {coding}");
            }
            say.send(None).unwrap();
            assert!(lines.next().is_none());
            assert!(curl.wait().unwrap().success());
        }
    }
}

#[test]
fn the_head_comes_before_there_is_a_body() {
    let (backend, say) = slow_app("text/html");
    let proxyd = with_route(Proxyd::start(), &backend, &json!({}));
    let mut client = proxyd.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nAccept-Encoding: zstd\r\n\r\n");
    let mut head = client.read_exact(17);
    assert_eq!(head, b"HTTP/1.1 200 OK\r\n");
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_exact(1));
    }
    assert!(String::from_utf8_lossy(&head).contains("Content-Encoding: zstd\r\n"));
    say.send(None).unwrap();
}

#[test]
fn an_answer_that_breaks_off_is_cut() {
    let page = page();
    let backend = Backend::raw(move |mut connection| {
        let Some(seen) = connection.request() else { return };
        let (framing, size) = match seen.target.as_str() {
            "/length" => (format!("Content-Length: {}\r\n\r\n", page.len() + 1), page.len()),
            _ => ("Transfer-Encoding: chunked\r\n\r\n8000\r\n".to_owned(), 0x4000),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{framing}");
        let _ = connection.stream.write_all(head.as_bytes());
        let _ = connection.stream.write_all(&page.as_bytes()[..size]);
    });
    let proxyd = with_route(Proxyd::start(), &backend, &json!({}));
    for target in ["/length", "/chunks"] {
        let mut client = proxyd.client();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: app.test\r\nAccept-Encoding: gzip\r\n\r\n"
        ));
        let whole = client.try_answer(false).is_ok_and(|answer| answer.complete);
        assert!(!whole, "{target}");
    }
}

#[test]
fn fields_behind_a_body_pass() {
    let page = page();
    let backend = Backend::start(move |_, out| {
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTrailer: X-Sum\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{page}\r\n0\r\nX-Sum: 1\r\n\r\n",
            page.len()
        )?;
        Ok(true)
    });
    let proxyd = with_route(Proxyd::start(), &backend, &json!({}));
    let mut client = proxyd.client();
    for _ in 0..2 {
        client.send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAccept-Encoding: gzip\r\nConnection: TE\r\n\
             TE: trailers\r\n\r\n",
        );
        let answer = client.answer();
        assert_eq!(answer.field("content-encoding").as_deref(), Some("gzip"));
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "1".to_owned())]);
    }
    assert_eq!(backend.connections(), 1, "the connection to the app was kept");
}
