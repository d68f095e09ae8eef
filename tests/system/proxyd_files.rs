//! proxyd: files that it serves by itself.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use jobinit_tests::proxyd::{
    Answer, Authority, Client, Peer, Proxyd, binary, checksum, noise, wait_for,
};
use jobinit_tests::tools::present;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const NGINX: &str = "/usr/sbin/nginx";

/// A site, and what is beside it.
fn site() -> (TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    fs::set_permissions(around.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let site = around.path().join("site");
    fs::create_dir_all(site.join("docs/.git")).unwrap();
    fs::create_dir_all(site.join(".well-known")).unwrap();
    for (name, text) in [
        ("index.html", "home"),
        ("a b.txt", "spaced"),
        ("ten.txt", "0123456789"),
        ("empty.txt", ""),
        ("docs/index.html", "docs"),
        ("docs/.git/config", "hidden"),
        (".env", "hidden"),
        (".well-known/security.txt", "contact"),
        ("../secret", "secret"),
        ("../site2", "secret"),
    ] {
        fs::write(site.join(name), text).unwrap();
    }
    (around, site)
}

fn put(proxyd: &Proxyd, key: &str, folder: &Path, files: &Value, more: &Value) {
    let mut all = json!({ "folder": folder });
    all.as_object_mut().unwrap().extend(files.as_object().unwrap().clone());
    let mut route = json!({ "files": all });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = proxyd.put(&format!("/routes/{key}"), &route.to_string());
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

fn serving(folder: &Path) -> Proxyd {
    let proxyd = Proxyd::start();
    put(&proxyd, "app.test", folder, &json!({}), &json!({}));
    proxyd
}

fn ask(client: &mut Client, method: &str, target: &str, fields: &str) -> Answer {
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
    if method == "HEAD" { client.answer_to_head() } else { client.answer() }
}

#[test]
fn what_a_folder_holds_is_got_by_its_path() {
    let (_around, site) = site();
    let proxyd = serving(&site);
    put(&proxyd, "app.test/static", &site.join("docs"), &json!({}), &json!({}));
    let mut client = proxyd.client();
    for (target, status, text, kind) in [
        ("/", 200, "home", "text/html; charset=utf-8"),
        ("/index.html?x=/../", 200, "home", "text/html; charset=utf-8"),
        ("/docs/", 200, "docs", "text/html; charset=utf-8"),
        ("/docs/./../docs/index.html", 200, "docs", "text/html; charset=utf-8"),
        ("/a%20b.txt", 200, "spaced", "text/plain; charset=utf-8"),
        ("/empty.txt", 200, "", "text/plain; charset=utf-8"),
        ("/.well-known/security.txt", 200, "contact", "text/plain; charset=utf-8"),
        ("/static/", 200, "docs", "text/html; charset=utf-8"),
        ("/static/index.html", 200, "docs", "text/html; charset=utf-8"),
    ] {
        let answer = ask(&mut client, "GET", target, "");
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{target}");
        assert_eq!(answer.field("content-type").as_deref(), Some(kind), "{target}");
        assert_eq!(answer.field("content-length"), Some(text.len().to_string()), "{target}");
        for name in ["etag", "last-modified", "date", "accept-ranges"] {
            assert!(answer.field(name).is_some(), "{target} {name}");
        }
        let head = ask(&mut client, "HEAD", target, "");
        let names = |answer: &Answer| {
            answer.fields.iter().filter(|(name, _)| name != "Date").cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&head), names(&answer), "{target}");
    }
    for (target, location) in [
        ("/docs", "/docs/"),
        ("/docs?a=b", "/docs/?a=b"),
        ("//docs", "/docs/"),
        ("/static", "/static/"),
    ] {
        let answer = ask(&mut client, "GET", target, "");
        assert_eq!(answer.status, 301, "{target}");
        assert_eq!(answer.field("location").as_deref(), Some(location), "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = ask(&mut client, method, "/", "Content-Length: 0\r\n");
        assert_eq!(answer.field("allow").as_deref(), Some("GET, HEAD"), "{method}");
        assert_eq!(answer.status, 405, "{method}");
    }
    wait_for("lines of the access log", || {
        let log = proxyd.access_log();
        log.contains("\"GET /a%20b.txt HTTP/1.1\" 200 6 ").then_some(())
    });
}

#[test]
fn answers_are_called_by_their_names() {
    let (_around, site) = site();
    let proxyd = serving(&site);
    for (target, fields, line) in [
        ("/ten.txt", "", "HTTP/1.1 200 OK"),
        ("/ten.txt", "Range: bytes=2-3\r\n", "HTTP/1.1 206 Partial Content"),
        ("/ten.txt", "Range: bytes=99-\r\n", "HTTP/1.1 416 Range Not Satisfiable"),
        ("/ten.txt", "If-None-Match: *\r\n", "HTTP/1.1 304 Not Modified"),
        ("/docs", "", "HTTP/1.1 301 Moved Permanently"),
        ("/nothing", "", "HTTP/1.1 404 Not Found"),
    ] {
        let mut client = proxyd.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
        let came = client.read_exact(line.len() + 2);
        assert_eq!(String::from_utf8_lossy(&came), format!("{line}\r\n"), "{target} {fields}");
    }
}

/// What is decoded behind a lone `%` must not become an escape that is decoded once more.
#[test]
fn rules_of_a_part_of_the_site_hold_however_its_path_is_written() {
    let (_around, site) = site();
    let proxyd = serving(&site);
    put(&proxyd, "app.test/docs", &site.join("docs"), &json!({}), &json!({"deny": ["0.0.0.0/0"]}));
    for path in ["/docs/", "/x/../docs/", "/%2e/docs/", "/%64ocs/", "//docs/"] {
        assert_eq!(ask(&mut proxyd.client(), "GET", path, "").status, 403, "{path}");
    }
    for path in
        ["/%2%65/docs/", "/x/%2%65%2%65/docs/", "/%%32e/docs/", "/x/%2%65./docs/", "/docs/%"]
    {
        let status = ask(&mut proxyd.client(), "GET", path, "").status;
        assert!(matches!(status, 400 | 403), "{path}: {status}");
    }
}

#[test]
fn nothing_else_can_be_got() {
    let (around, site) = site();
    symlink("../secret", site.join("out")).unwrap();
    symlink(around.path().join("secret"), site.join("far")).unwrap();
    symlink("..", site.join("up")).unwrap();
    symlink("ten.txt", site.join("in")).unwrap();
    symlink("/dev/zero", site.join("zero")).unwrap();
    nix::unistd::mkfifo(&site.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(site.join("socket")).unwrap();
    let proxyd = serving(&site);
    let secret = around.path().join("secret");
    let absolute = secret.to_str().unwrap();
    for target in [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/.%2e/secret",
        "/docs/../../secret",
        "/docs/%2e%2e/%2e%2e/secret",
        "/docs/..%2f..%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/....//secret",
        "/..;/secret",
        "/%252e%252e/secret",
        "/%252e%252e%252fsecret",
        "/%c0%ae%c0%ae/secret",
        "/%c0%af../secret",
        "/%uff0e%uff0e/secret",
        "/../site2",
        "/..%00/secret",
        "/ten.txt%00.html",
        "/out",
        "/far",
        "/up/secret",
        "/up/site/ten.txt",
        "/zero",
        "/pipe",
        "/socket",
        "/.env",
        "/%2eenv",
        "/docs/.git/config",
        "/docs/%2egit/config",
        "/ten.txt/",
        "/ten.txt/x",
        "/etc/passwd",
        "//etc/passwd",
        "/file:///etc/passwd",
        "/docs/no/",
        absolute,
        &format!("/%2f{absolute}"),
        &format!("/{}", "a/".repeat(3000)),
        "/%2%65%2%65/secret",
        "/%%32e%%32e/secret",
        "/%",
        "/a//../b",
    ] {
        let mut client = proxyd.client();
        let answer = ask(&mut client, "GET", target, "");
        assert!(matches!(answer.status, 400 | 404), "{target}: {answer:?}");
        assert!(!answer.text().contains("secret\n") && answer.text() != "secret", "{target}");
        assert!(!answer.text().contains("hidden"), "{target}");
    }
    assert_eq!(ask(&mut proxyd.client(), "GET", "/in", "").text(), "0123456789");
    // A folder that is not there is a site without files.
    put(&proxyd, "app.test", &around.path().join("no"), &json!({}), &json!({}));
    assert_eq!(ask(&mut proxyd.client(), "GET", "/", "").status, 404);
}

#[test]
fn where_nginx_is_of_the_same_opinion_about_parts_and_copies() {
    if !present(&[NGINX]) {
        return;
    }
    let (_around, site) = site();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    File::open(site.join("ten.txt")).unwrap().set_modified(then).unwrap();
    let proxyd = serving(&site);
    let nginx = Peer::nginx_of_files(NGINX, &site);
    // A connection for each: nginx closes some.
    let clients = [proxyd.address, nginx.address()];
    let ask = |at: usize, method: &str, fields: &str| {
        ask(&mut Client::connect(clients[at]), method, "/ten.txt", fields)
    };
    let tags = [0, 1].map(|at| ask(at, "GET", "").field("etag").unwrap());
    let (date, before, after) = (
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:36 GMT",
        "Sun, 06 Nov 1994 08:49:38 GMT",
    );
    let mut cases: Vec<String> = Vec::new();
    for range in ["0-0", "2-5", "5-", "-3", "-99", "0-99", "9-9", "10-", "10-12", "0-9"] {
        cases.push(format!("Range: bytes={range}\r\n"));
        for condition in ["TAG", "\"x\"", date, after] {
            cases.push(format!("Range: bytes={range}\r\nIf-Range: {condition}\r\n"));
        }
    }
    for tag in ["TAG", "W/TAG", "\"x\"", "*", "\"x\", TAG", "\"x\",W/TAG , \"y\""] {
        // Beside it, a date says nothing, which nginx sees otherwise.
        cases.push(format!("If-None-Match: {tag}\r\n"));
    }
    for tag in ["TAG", "\"x\"", "*", "\"x\", TAG"] {
        cases.push(format!("If-Match: {tag}\r\n"));
        cases.push(format!("If-Match: {tag}\r\nRange: bytes=1-2\r\n"));
    }
    for since in [date, before, after, "soon"] {
        cases.push(format!("If-Modified-Since: {since}\r\n"));
        if since != "soon" {
            cases.push(format!("If-Unmodified-Since: {since}\r\n"));
        }
        cases.push(format!("If-Modified-Since: {since}\r\nRange: bytes=1-2\r\n"));
    }
    cases.push("Range: lines=1-2\r\n".into());
    for case in &cases {
        for method in ["GET", "HEAD"] {
            // nginx takes a HEAD for a part of nothing; a part is what GET asks for.
            if method == "HEAD" && case.contains("Range:") {
                continue;
            }
            let [ours, theirs] = [0, 1].map(|at| {
                let answer = ask(at, method, &case.replace("TAG", &tags[at]));
                let fields = ["content-range", "content-length", "last-modified", "content-type"];
                let told = (200..300).contains(&answer.status);
                let text = if told { answer.text() } else { String::new() };
                let fields = fields.map(|name| {
                    let value = answer.field(name).filter(|_| told);
                    value.map(|value| value.replace("; charset=utf-8", ""))
                });
                (answer.status, fields, text)
            });
            let plain = |(status, fields, text): (u16, [Option<String>; 4], String)| {
                // Without a table of types nginx knows none.
                let [range, length, modified, _] = fields;
                (status, range, length, modified, text)
            };
            assert_eq!(plain(ours), plain(theirs), "{method} {case}");
        }
    }
}

#[test]
fn forms_that_are_there_already_are_taken() {
    let (_around, site) = site();
    for (name, text) in
        [("index.html.gz", "gz"), ("index.html.br", "br"), ("index.html.zst", "zst")]
    {
        fs::write(site.join(name), text).unwrap();
    }
    let proxyd = serving(&site);
    let mut client = proxyd.client();
    let mut tags = Vec::new();
    for (accept, text, coding) in [
        ("gzip", "gz", Some("gzip")),
        ("gzip, br", "br", Some("br")),
        ("gzip, deflate, br, zstd", "zst", Some("zstd")),
        ("gzip;q=1, br;q=0.1", "gz", Some("gzip")),
        ("identity", "home", None),
    ] {
        let fields = format!("Accept-Encoding: {accept}\r\n");
        let answer = ask(&mut client, "GET", "/", &fields);
        assert_eq!(answer.text(), text, "{accept}");
        assert_eq!(answer.field("content-encoding").as_deref(), coding, "{accept}");
        assert_eq!(answer.field("content-type").as_deref(), Some("text/html; charset=utf-8"));
        assert_eq!(answer.field("vary").as_deref(), Some("Accept-Encoding"), "{accept}");
        let tag = answer.field("etag").unwrap();
        assert!(tag.starts_with('"'), "it is a form of its own: {tag}");
        let known = format!("{fields}If-None-Match: {tag}\r\n");
        assert_eq!(ask(&mut client, "GET", "/", &known).status, 304);
        // A part of it is a part of that form.
        let part = ask(&mut client, "GET", "/", &format!("{fields}Range: bytes=0-0\r\n"));
        assert_eq!((part.status, part.text().as_str()), (206, &text[..1]), "{accept}");
        tags.push(tag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4);
    assert_eq!(
        ask(&mut client, "GET", "/ten.txt", "Accept-Encoding: gzip\r\n").text(),
        "0123456789"
    );
}

fn curl(args: &[&str], url: &str) -> Output {
    let mut command = Command::new("curl");
    command.args(["-sSk", "--max-time", "20", "-H", "Host: app.test"]);
    let output = command.args(args).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn large_files_come_whole_however_they_are_asked_for() {
    if !present(&["curl"]) {
        return;
    }
    let (_around, site) = site();
    let bytes = noise(7, 2_000_001);
    let mebibyte: Vec<u8> = b"0123456789abcde\n".iter().copied().cycle().take(1 << 20).collect();
    fs::write(site.join("noise.bin"), &bytes).unwrap();
    fs::write(site.join("words.txt"), &mebibyte).unwrap();
    let proxyd = Proxyd::start_secure(&[]);
    put(&proxyd, "app.test", &site, &json!({}), &json!({ "compress": true }));
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    proxyd.put_certificate("app", &Authority::new("ca").pair(&["app.test"]));
    let port = proxyd.secure_address().port();
    let resolved = format!("app.test:{port}:127.0.0.1");
    let plain = format!("http://{}", proxyd.address);
    let secure = format!("https://app.test:{port}");
    for (args, place) in [
        (&["--http1.1"][..], &plain),
        (&["--http2-prior-knowledge"], &plain),
        (&["--http1.1", "--resolve", &resolved], &secure),
        (&["--http2", "--resolve", &resolved], &secure),
    ] {
        let get = |more: &[&str], name: &str| {
            curl(&[args, more].concat(), &format!("{place}/{name}")).stdout
        };
        assert_eq!(checksum(&get(&[], "noise.bin")), checksum(&bytes), "{args:?}");
        assert!(
            get(&["-r", "70000-1300000"], "noise.bin") == bytes[70_000..=1_300_000],
            "{args:?}"
        );
        assert!(get(&[], "words.txt") == mebibyte, "{args:?}");
        for coding in ["zstd", "br", "gzip"] {
            let accept = format!("Accept-Encoding: {coding}");
            let undone = get(&["-H", &accept, "--compressed"], "words.txt");
            assert!(undone == mebibyte, "{args:?} {coding}");
        }
        let accept = ["-H", "Accept-Encoding: zstd"];
        assert!(get(&accept, "words.txt").len() < 100_000, "{args:?}");
        // A part is one of the file as it is.
        let some = get(&[&accept[..], &["-r", "16-31"]].concat(), "words.txt");
        assert_eq!(some, mebibyte[16..32], "{args:?}");
    }
    let mut client = proxyd.client();
    let fields = "Accept-Encoding: br\r\n";
    let answer = ask(&mut client, "HEAD", "/words.txt", fields);
    let tag = answer.field("etag").unwrap();
    assert!(tag.starts_with("W/") && answer.field("content-length").is_none(), "{answer:?}");
    let known = format!("{fields}If-None-Match: {tag}\r\n");
    assert_eq!(ask(&mut client, "GET", "/words.txt", &known).status, 304);
}

#[test]
fn what_is_not_there_is_shown_as_the_route_says() {
    let (_around, site) = site();
    fs::write(site.join("404.html"), "not here").unwrap();
    let proxyd = Proxyd::start();
    let page = json!({ "error_pages": { "404": { "html": "a page" } } });
    put(&proxyd, "app.test", &site, &json!({}), &page);
    let mut client = proxyd.client();
    let mut ask = |target: &str, fields: &str| ask(&mut client, "GET", target, fields);
    assert_eq!((ask("/no", "").status, ask("/no", "").text().as_str()), (404, "a page"));
    put(&proxyd, "app.test", &site, &json!({ "not_found": "/404.html" }), &page);
    let answer = ask("/no", "Range: bytes=0-1\r\nIf-None-Match: *\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (404, "not here"));
    assert_eq!((answer.field("etag"), answer.field("accept-ranges")), (None, None));
    let both = json!({ "not_found": "/404.html", "fallback": "/index.html", "index": "no.html" });
    let hsts = json!({ "response_headers": { "set": { "X-Own": "yes" } } });
    put(&proxyd, "app.test", &site, &both, &hsts);
    for target in ["/no", "/deep/er", "/", "/.env"] {
        let answer = ask(target, "");
        assert_eq!((answer.status, answer.text().as_str()), (200, "home"), "{target}");
        assert_eq!(answer.field("x-own").as_deref(), Some("yes"));
    }
    assert_eq!(ask("/ten.txt", "").text(), "0123456789");
    if !nix::unistd::geteuid().is_root() {
        fs::set_permissions(site.join("ten.txt"), fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(ask("/ten.txt", "").status, 403);
    }
}

#[test]
fn routes_that_make_no_sense_are_refused() {
    let proxyd = Proxyd::start();
    let files = json!({ "folder": "/srv" });
    for (route, part) in [
        (json!({ "files": files, "service": "a" }), "this one both"),
        (json!({ "files": files, "redirect": { "to": "/x" } }), "this one both"),
        (json!({ "files": files, "strip_prefix": true }), "strip_prefix says nothing for files"),
        (json!({ "files": { "folder": "srv" } }), "files.folder"),
        (json!({ "files": { "folder": "/srv", "index": "a/b" } }), "files.index"),
        (json!({ "files": { "folder": "/srv", "fallback": "x" } }), "files.fallback"),
        (json!({ "files": { "folder": "/srv", "not_found": "/../x" } }), "files.not_found"),
        (json!({ "files": { "folder": "/srv", "listing": true } }), "listing"),
        (json!({}), "`files` to serve"),
    ] {
        let answer = proxyd.put("/routes/b.test", &route.to_string());
        assert!(answer.status == 400 || answer.status == 422, "{answer:?}");
        assert!(answer.error().message.contains(part), "{answer:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    fs::write(&path, "[routes.\"a.test\".files]\nfolder = \"/srv\"\nindx = \"x\"\n").unwrap();
    let check = || Command::new(binary("proxyd")).arg("check").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(said.contains(":3:1:") && said.contains("did you mean `index`"), "{said}");
    fs::write(&path, "[routes.\"a.test\".files]\nfolder = \"srv\"\n").unwrap();
    let said = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(said.contains(":2:10:") && said.contains("absolute path"), "{said}");
    fs::write(&path, "[routes.\"a.test\"]\ncompress = true\nfiles.folder = \"/srv\"\n").unwrap();
    assert!(check().status.success());
}

#[test]
fn a_file_that_becomes_shorter_is_a_cut() {
    let (_around, site) = site();
    let whole = 64 << 20;
    let file = File::create(site.join("large.bin")).unwrap();
    file.set_len(whole).unwrap();
    let proxyd = serving(&site);
    let mut client = proxyd.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.read_exact(100_000);
    file.set_len(200_000).unwrap();
    let mut rest = Vec::new();
    let ended = client.stream.read_to_end(&mut rest);
    assert!(ended.is_err() || (rest.len() as u64) < whole - 100_000);
    assert_eq!(ask(&mut proxyd.client(), "GET", "/", "").text(), "home", "it serves on");
}

#[test]
fn a_link_in_place_of_the_folder_can_be_turned_at_any_moment() {
    let around = tempfile::tempdir().unwrap();
    for name in ["1", "2"] {
        fs::create_dir(around.path().join(name)).unwrap();
        fs::write(around.path().join(name).join("index.html"), name.repeat(100)).unwrap();
    }
    let current = around.path().join("current");
    symlink("1", &current).unwrap();
    let proxyd = serving(&current);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..200 {
                let next = around.path().join("next");
                symlink(if turn % 2 == 0 { "2" } else { "1" }, &next).unwrap();
                fs::rename(&next, &current).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let mut client = proxyd.client();
        while !done.load(Ordering::Acquire) {
            let answer = ask(&mut client, "GET", "/", "");
            assert_eq!(answer.status, 200);
            assert!(["1", "2"].iter().any(|name| answer.text() == name.repeat(100)));
        }
    });
}

#[test]
fn a_proxy_that_goes_lets_a_download_come_to_its_end() {
    let (_around, site) = site();
    let bytes = noise(3, 16 << 20);
    fs::write(site.join("large.bin"), &bytes).unwrap();
    let mut proxyd = Proxyd::start_with(&["--grace", "0", "--stream-grace", "20"]);
    put(&proxyd, "app.test", &site, &json!({}), &json!({}));
    let mut client = proxyd.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let head = client.read_exact(200_000);
    proxyd.signal(Signal::SIGTERM);
    wait_for("a proxy that takes nobody any more", || {
        std::net::TcpStream::connect(proxyd.address).is_err().then_some(())
    });
    assert!(proxyd.is_running());
    let start = head.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let rest = client.read_exact(bytes.len() - (head.len() - start));
    assert!(head[start..] == bytes[..head.len() - start]);
    assert!(rest == bytes[head.len() - start..]);
    drop(client);
    assert!(proxyd.wait().success());
}

#[test]
fn a_download_has_the_time_of_a_stream_and_no_more() {
    let (_around, site) = site();
    let whole = 256 << 20;
    File::create(site.join("large.bin")).unwrap().set_len(whole).unwrap();
    let mut proxyd = Proxyd::start_with(&["--grace", "0", "--stream-grace", "1"]);
    put(&proxyd, "app.test", &site, &json!({}), &json!({}));
    let mut client = proxyd.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.read_exact(100_000);
    proxyd.signal(Signal::SIGTERM);
    let mut came = 0;
    let mut piece = vec![0; 1 << 20];
    // As fast as a line that would take ten times as long as there is time.
    while let Ok(count @ 1..) = client.stream.read(&mut piece) {
        came += count as u64;
        thread::sleep(Duration::from_millis(20));
    }
    assert!(came < whole - 100_000, "it was cut");
    assert!(proxyd.wait().success());
}

#[test]
fn requests_come_one_behind_the_other() {
    let (_around, site) = site();
    fs::write(site.join("large.txt"), "x".repeat(100_000)).unwrap();
    let proxyd = serving(&site);
    let mut client = proxyd.client();
    let mut all = String::new();
    for target in ["/ten.txt", "/large.txt", "/no", "/ten.txt"] {
        write_request(&mut all, target);
    }
    client.send(all);
    let sizes: Vec<usize> = (0..4).map(|_| client.answer().body.len()).collect();
    assert_eq!((sizes[0], sizes[1], sizes[3]), (10, 100_000, 10));
    // With a body, which nobody reads.
    client.send("GET /ten.txt HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.answer().text(), "0123456789");
    client.stream.write_all(b"GET /ten.txt HTTP/1.0\r\nHost: app.test\r\n\r\n").unwrap();
    assert_eq!(client.answer().text(), "0123456789");
    assert!(client.is_closed());
}

fn write_request(out: &mut String, target: &str) {
    use std::fmt::Write as _;
    write!(out, "GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
}
