//! proxyd: its control API.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use jobinit_tests::proxyd::{Backend, Proxyd};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn objects_come_and_go() {
    let proxyd = Proxyd::start();
    let answer = proxyd.control("GET", "/state", "", "");
    assert_eq!(answer.field("etag").unwrap(), "\"0\"");
    let route = r#"{"service":"shop"}"#;
    assert_eq!(proxyd.put("/routes/Shop.Test.", route).status, 201);
    assert_eq!(proxyd.put("/routes/shop.test", route).status, 200, "the same in another spelling");
    assert_eq!(proxyd.state().generation, 1);
    let target = r#"{"address":"tcp:127.0.0.1:9"}"#;
    let path = "/services/shop/targets/shop.1";
    assert_eq!(proxyd.put(path, target).status, 201);
    assert_eq!(proxyd.put(path, target).status, 200);
    assert_eq!(proxyd.state().generation, 2);
    assert_eq!(proxyd.put(path, r#"{"address":"unix:/x"}"#).status, 200);
    let state = proxyd.state();
    assert_eq!((state.generation, state.routes["shop.test"].service.as_deref()), (3, Some("shop")));
    assert_eq!(state.services["shop"].targets["shop.1"].address, "unix:/x");
    assert_eq!(proxyd.control("GET", "/routes/SHOP.test", "", "").text(), route);
    let view = r#"{"address":"unix:/x","in_flight":0,"retired":false}"#;
    assert_eq!(proxyd.control("GET", path, "", "").text(), view);
    assert_eq!(proxyd.control("DELETE", "/routes/shop.test", "", "").status, 204);
    assert_eq!(proxyd.control("DELETE", "/routes/shop.test", "", "").status, 404);
    assert_eq!(proxyd.put("/services/shop/targets/shop.2", target).status, 201);
    assert_eq!(proxyd.control("DELETE", "/services/shop", "", "").text(), r#"{"left":0}"#);
    let state = proxyd.state();
    assert!(state.routes.is_empty() && state.services.is_empty(), "{state:?}");
    assert_eq!(state.generation, 6);
}

#[test]
fn if_match_guards_a_change() {
    let proxyd = Proxyd::start();
    proxyd.put_route("a.test", "a");
    let put = |tag: &str| {
        let fields = format!("{JSON}If-Match: {tag}\r\n");
        proxyd.control("PUT", "/routes/b.test", &fields, r#"{"service":"b"}"#)
    };
    let stale = put("\"0\"");
    assert_eq!((stale.status, stale.error().error.as_str()), (412, "generation"));
    assert_eq!(put("soon").status, 400);
    assert_eq!(proxyd.state().generation, 1);
    assert_eq!(put("\"1\"").status, 201);
    for path in ["/routes/b.test", "/services/b", "/services/b/targets/1"] {
        assert_eq!(proxyd.control("DELETE", path, "If-Match: \"1\"\r\n", "").status, 412, "{path}");
    }
    assert_eq!(proxyd.state().generation, 2);
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let proxyd = Proxyd::start();
    let long = "x".repeat(129);
    let huge = format!(r#"{{"service":"{}"}}"#, "x".repeat(70_000));
    let cases: Vec<(&str, String, &str, &str, u16, &str, &str)> = vec![
        (
            "PUT",
            "/routes/a.test".into(),
            "",
            r#"{"service":"a"}"#,
            415,
            "not_json",
            "application/json",
        ),
        ("PUT", "/routes/a.test".into(), JSON, "{", 400, "bad_body", "line 1"),
        ("PUT", "/routes/a.test".into(), JSON, "3", 400, "bad_body", "Route"),
        ("PUT", "/routes/a.test".into(), JSON, "", 400, "bad_body", ""),
        ("PUT", "/routes/a.test".into(), JSON, r#"{"servise":"a"}"#, 400, "bad_body", "servise"),
        ("PUT", "/routes/a.test".into(), JSON, r#"{"service":"a b"}"#, 400, "bad_name", "a b"),
        ("PUT", "/routes/a.test".into(), JSON, &huge, 413, "bad_body", "64 KiB"),
        (
            "PUT",
            "/routes/a.test:80".into(),
            JSON,
            r#"{"service":"a"}"#,
            400,
            "bad_host",
            "a.test:80",
        ),
        ("PUT", "/routes/a%20b".into(), JSON, r#"{"service":"a"}"#, 400, "bad_host", "a b"),
        (
            "PUT",
            "/services/a/targets/1".into(),
            JSON,
            r#"{"address":"localhost:1"}"#,
            400,
            "bad_address",
            "tcp:HOST:PORT",
        ),
        (
            "PUT",
            format!("/services/{long}/targets/1"),
            JSON,
            r#"{"address":"unix:/x"}"#,
            400,
            "bad_name",
            "128",
        ),
        (
            "PUT",
            "/services/a/targets/%2Fetc".into(),
            JSON,
            r#"{"address":"unix:/x"}"#,
            400,
            "bad_name",
            "/etc",
        ),
        ("GET", "/routes/a.test".into(), "", "", 404, "unknown_route", "a.test"),
        ("DELETE", "/services/a".into(), "", "", 404, "unknown_service", "`a`"),
        ("DELETE", "/services/a/targets/1".into(), "", "", 404, "unknown_target", "`1`"),
        (
            "DELETE",
            "/services/a/targets/1?grace_ms=soon".into(),
            "",
            "",
            400,
            "bad_query",
            "grace_ms",
        ),
        ("DELETE", "/services/a/targets/1?grace=1".into(), "", "", 400, "bad_query", "grace_ms"),
        ("GET", "/nothing".into(), "", "", 404, "unknown_path", "/nothing"),
        ("DELETE", "/services/%ff".into(), "", "", 404, "unknown_path", "/services/%ff"),
        ("POST", "/state".into(), "", "", 405, "wrong_method", "POST"),
    ];
    for (method, path, fields, body, status, error, part) in cases {
        let answer = proxyd.control(method, &path, fields, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.field("content-type").unwrap(), "application/json");
        assert_eq!(answer.error().error, error, "{method} {path}");
        assert!(answer.error().message.contains(part), "{method} {path}: {:?}", answer.error());
    }
    assert_eq!(proxyd.state().generation, 0, "nothing has changed");
}

#[test]
fn only_root_and_its_own_user_may_use_it() {
    let proxyd = Proxyd::start();
    let socket = proxyd.folder.path().join("control");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can ask as another user");
        return;
    }
    // Even where the file system would let another user in, the kernel's word counts.
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&socket, 0o666);
    open(proxyd.folder.path(), 0o755);
    let script = "import os,socket,sys\nos.setgid(65534);os.setuid(65534)\n\
                  s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1])\n\
                  s.sendall(b'GET /state HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n\
                  print(s.recv(65536).decode())";
    let output = Command::new("python3").args(["-c", script]).arg(&socket).output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no python3 to ask as another user");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
}

#[test]
fn o16_prefixes_and_wildcards() {
    let backends = ["root", "api", "any"].map(Backend::saying);
    let proxyd = Proxyd::start();
    for (backend, service) in backends.iter().zip(["root", "api", "any"]) {
        proxyd.put_target(service, "1", &backend.target());
    }
    proxyd.put_route("app.test", "root");
    proxyd.put_route("app.test/api", "api");
    proxyd.put_route("*.test", "any");
    let says = |host: &str, path: &str| {
        let mut client = proxyd.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.answer();
        (answer.status, answer.text().split(' ').next().unwrap_or_default().to_owned())
    };
    let is = |text: &str| (200, text.to_owned());
    assert_eq!(says("app.test", "/"), is("root"));
    assert_eq!(says("app.test", "/apis"), is("root"));
    assert_eq!(says("app.test", "/api/x?y"), is("api"));
    assert_eq!(says("http.app.test", "/api"), is("any"));
    assert_eq!(says("app.example", "/").0, 404);
    assert_eq!(proxyd.control("DELETE", "/routes/app.test/api/", "", "").status, 204);
    assert_eq!(says("app.test", "/api/x?y"), is("root"));
    let bad = proxyd.put("/routes/app.test/a/../b", r#"{"service":"root"}"#);
    assert_eq!((bad.status, bad.text().contains("bad_prefix")), (400, true), "{bad:?}");
}

#[test]
fn a_service_with_settings_outlives_its_targets() {
    let proxyd = Proxyd::start();
    assert_eq!(proxyd.put("/services/shop", "{}").status, 201);
    proxyd.put_target("shop", "1", "tcp:127.0.0.1:1");
    proxyd.delete_target("shop", "1", 0);
    assert_eq!(
        proxyd.control("GET", "/services/shop", "", "").text(),
        r#"{"settings":{},"targets":{}}"#
    );
    proxyd.put_target("other", "1", "tcp:127.0.0.1:1");
    proxyd.delete_target("other", "1", 0);
    assert_eq!(proxyd.control("GET", "/services/other", "", "").status, 404);
}
