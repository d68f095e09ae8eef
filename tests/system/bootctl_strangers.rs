//! Who comes to the wrong door, speaks the wrong language, stops in the middle of a word, or asks for what nobody is
//! called: he is told so in words, and all goes on.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use jobinit_tests::bootctl::{Said, said};
use jobinit_tests::proxyd::{Authority, alert};
use jobinit_tests::remote::{GATE, Reached};
use jobinit_tests::{http, wait};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use crate::bootctl_apps::answers;

#[test]
fn z09_who_speaks_plain_http_is_told_in_plain_http() {
    let reached = Reached::boot(&[]);
    let token = reached.token("laptop", "control");
    let before = reached.audit().len();
    for request in [
        format!("GET /status HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", reached.bearer(&token)),
        format!(
            "PUT /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n{}",
            "x".repeat(9000)
        ),
    ] {
        let bytes = http::raw(reached.address, request.as_bytes()).expect("an answer");
        let answer = http::Answer::parse(&bytes).expect("a whole one");
        assert_eq!((answer.status, &answer.json()["error"]), (400, &"no_tls".into()));
        let message = answer.json()["message"].to_string();
        assert!(message.contains("https://") && message.contains("revoke"), "{message}");
    }
    assert_eq!(reached.audit().len(), before, "nothing of it was heard");
    assert_eq!(reached.from_afar(&token, &["status"]).code, Some(0));
}

#[test]
fn z09_an_old_tls_is_refused_by_name() {
    let reached = Reached::boot(&[]);
    let refused = reached.speaking(&[&TLS12]).connect(reached.address, GATE).err();
    let alert = refused.as_ref().and_then(alert);
    assert_eq!(alert, Some(AlertDescription::ProtocolVersion), "{refused:?}");
    let url = format!("https://{}/status", reached.address);
    let mut curl = Command::new("curl");
    let curl = said(curl.args(["-sSk", "--tls-max", "1.2", &url]).output().expect("it runs"));
    assert!(curl.err.contains("protocol version"), "{curl:?}");
    let line = reached.line();
    assert_eq!(line.stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

/// A server that is no gate. It answers one client, and tells what that one has said.
fn server(version: &'static SupportedProtocolVersion) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let pair = Authority::default().pair(&["localhost"]);
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = rustls::crypto::ring::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[version])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("it fits");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let work = move || {
        let (stream, _) = listener.accept().expect("it comes");
        stream.set_read_timeout(Some(wait::PATIENCE)).expect("a socket");
        let connection = ServerConnection::new(Arc::new(config)).expect("it fits");
        let mut heard = Vec::new();
        // Broken off is what it is to be.
        let _ = StreamOwned::new(connection, stream).read_to_end(&mut heard);
        heard
    };
    (address, thread::spawn(work))
}

#[test]
fn z09_bootctl_says_what_is_wrong_with_whom_it_asks() {
    let reached = Reached::boot(&[]);
    let token = reached.token("laptop", "control");
    let ask = |address: SocketAddr| -> Said {
        let mut command = reached.from_afar_as(&token, &["status"]);
        said(command.env("BOOTCTL_HOST", address.to_string()).output().expect("it runs"))
    };
    for (version, part) in
        [(&TLS12, "does not speak TLS as bootctl does"), (&TLS13, "shows another certificate")]
    {
        let (address, server) = server(version);
        let said = ask(address);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.err.contains(part), "{said:?}");
        let heard = server.join().expect("no panic");
        assert!(heard.is_empty(), "nothing is sent to a stranger: {heard:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let hangs_up = thread::spawn(move || drop(listener.accept().expect("it comes")));
    let said = ask(address);
    assert!(said.code == Some(3) && said.err.contains("is it the port of [admin]?"), "{said:?}");
    hangs_up.join().expect("no panic");
    let said = ask(address);
    assert!(said.code == Some(3) && said.err.contains("cannot be reached"), "{said:?}");
}

#[test]
fn z09_half_requests_are_ended_or_hold_nobody_up() {
    let reached = Reached::boot(&[("a.toml", &answers(1, "[deploy]\nwatch = \"0s\"\n"))]);
    reached.site.wait_for("a", "running");
    let token = reached.token("laptop", "control");
    let bearer = reached.bearer(&token);
    let mut halves = Vec::new();
    for head in [
        "",
        "GET /sta",
        "GET /status HTTP/1.1\r\nHost: x\r\n",
        &format!("GET / HTTP/1.1\r\n{bearer}"),
    ] {
        let mut line = reached.line();
        line.send(head);
        halves.push((head.to_owned(), line));
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("index"), "x".repeat(300_000)).expect("written");
    let source = folder.path().to_str().expect("UTF-8");
    // Half an archive, and then nobody.
    let mut tar = Command::new("tar");
    let archive = tar.args(["-C", source, "-cf", "-", "index"]).output().expect("it runs").stdout;
    let mut half = reached.line();
    half.send(format!(
        "PUT /apps/a/release HTTP/1.1\r\nHost: x\r\n{bearer}\r\nContent-Length: {}\r\n\r\n",
        archive.len()
    ));
    half.send(&archive[..archive.len() / 2]);
    let status = || reached.site.done(&["status", "a"]);
    wait::until("it to be taken in", || status().contains("is being taken in").then_some(()));
    let words = ["deploy", "a", "--from", source];
    let busy = reached.from_afar(&token, &words);
    assert!(
        busy.code == Some(1) && busy.err.contains("release 1 of a is being taken in"),
        "{busy:?}"
    );
    drop(half);
    wait::until("it to be given up", || (!status().contains("is being taken in")).then_some(()));
    let done = reached.from_afar(&token, &words);
    assert!(done.code == Some(0) && done.out.contains("a runs from release 1"), "{done:?}");
    let lines = reached.audit();
    let mut ends = lines.iter().filter(|line| {
        line["path"].as_str().is_some_and(|path| path.starts_with("/apps/a/release"))
    });
    let first = ends.next().expect("a line");
    assert_ne!(first["result"], "done", "{first}");

    // Who does not come to the end of a head has 10 s for it.
    for (head, mut line) in halves {
        let mut rest = Vec::new();
        let waits = |error: &std::io::Error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        };
        let end = line.stream.read_to_end(&mut rest);
        assert!(!end.as_ref().is_err_and(waits), "{head:?} is waited for: {end:?}");
        assert!(!String::from_utf8_lossy(&rest).contains(" 200 "), "{head:?}: {rest:?}");
    }
}

/// Names that are no app's, and try to be something else.
fn hostile() -> Vec<String> {
    let long = "a".repeat(100_000);
    [
        "../../state/tokens",
        "..",
        ".",
        "/etc/passwd",
        "a/../a",
        "a%2fstop",
        "a\u{1b}[2J\u{1b}]0;gone\u{7}",
        "a\r\nb: c",
        "a\n{\"who\": \"uid 0\"}",
        "\u{202e}ppa",
        "a\u{0}",
        "-rf",
        "a b",
        "A",
        "ä",
        "",
        &long,
    ]
    .map(str::to_owned)
    .into()
}

/// All files below, with what is in them.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.file_name().is_some_and(|name| name != "audit.log") {
                let text = path.to_str().expect("UTF-8").to_owned();
                all.push((text, fs::read(&path).expect("a file")));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn z09_a_hostile_name_is_nobodys_and_is_shown_as_it_is_written() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    let site = &reached.site;
    site.wait_for("a", "running");
    let token = reached.token("laptop", "control");
    let pids = site.pids("a");
    let kept = || ["conf", "state"].map(|name| contents(&site.folder().join(name)));
    let before = kept();
    let verbs: [&[&str]; 10] = [
        &["stop", "NAME"],
        &["restart", "NAME"],
        &["scale", "NAME", "2"],
        &["rollback", "NAME"],
        &["releases", "NAME"],
        &["status", "NAME"],
        &["config", "-a", "NAME", "--set", "instances", "2"],
        &["log", "--clear", "NAME"],
        &["exec", "NAME", "--", "/bin/true"],
        &["kill", "NAME"],
    ];
    // What cannot be a word of a command line at all is asked for below.
    for name in hostile().iter().filter(|name| !name.contains('\0')) {
        for words in verbs {
            let words: Vec<_> =
                words.iter().map(|word| if *word == "NAME" { name } else { *word }).collect();
            let said = reached.from_afar(&token, &words);
            let shown: String = said.err.chars().take(400).collect();
            assert!(matches!(said.code, Some(1 | 2)), "{words:?}: {:?} {shown}", said.code);
            let odd = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            // The parser of words quotes one that it cannot use, to whoever has typed it.
            assert!(said.code == Some(2) || !said.err.contains(odd), "{words:?}: {shown:?}");
            assert!(said.err.len() < 4096, "{} bytes: {shown}", said.err.len());
        }
    }
    let bearer = reached.bearer(&token);
    for name in hostile() {
        // Above that, a head is too large.
        let name: String = name.chars().take(9000).collect();
        let coded = name.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
        for (method, path, body) in [
            ("PUT", format!("/apps/{coded}/stop"), ""),
            ("PUT", format!("/apps/{coded}/release"), "x"),
            ("GET", format!("/apps/{coded}"), ""),
            ("DELETE", format!("/config?app={coded}&key=instances"), ""),
            ("DELETE", format!("/logs?app={coded}"), ""),
            ("PUT", format!("/custom/{coded}"), ""),
            ("PUT", format!("/tokens/..%2f{coded}"), ""),
            ("PUT", format!("/init/job/{coded}/detach"), ""),
        ] {
            let mut line = reached.line();
            let length = body.len();
            line.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
            let answer = line.answer();
            assert!(matches!(answer.status, 404 | 422 | 431), "{method} {path}: {answer:?}");
            if answer.status != 431 {
                let refusal: serde_json::Value =
                    serde_json::from_slice(&answer.body).expect("JSON");
                assert!(refusal["error"].is_string(), "{path}: {refusal}");
            }
        }
    }
    assert_eq!(kept(), before, "nothing is written anywhere");
    assert_eq!(site.pids("a"), pids);
    let text = fs::read_to_string(site.folder().join("state/audit.log")).expect("there");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "each line is one line");
    for line in reached.audit() {
        assert!(line["who"] == "token laptop" || line["who"] == "uid 0", "{line}");
        assert!(line.to_string().len() < 2000, "{line}");
    }
}

/// Wrong tokens, and good ones at wrong places, one after the other from addresses of their own.
#[test]
fn z09_a_wrong_token_is_told_why_and_never_written_down() {
    let reached = Reached::boot(&[]);
    let token = reached.token("laptop", "control");
    let good = fs::read_to_string(&token).expect("there").trim().to_owned();
    let mut near = good.clone();
    let at = near.len() - 5;
    near.replace_range(at..=at, if &good[at..=at] == "A" { "B" } else { "A" });
    reached.site.done(&["generate", "--revoke", "laptop"]);
    let other = fs::read_to_string(reached.token("other", "read")).expect("there");
    let other = other.trim();
    for (number, (header, part)) in [
        (format!("Authorization: Bearer {good}"), "not known here"),
        (format!("Authorization: Bearer {near}"), "not known here"),
        (format!("Authorization: Bearer {}", &other[..20]), "this is no token"),
        (format!("Authorization: Bearer {other}{other}"), "this is no token"),
        (format!("Authorization: Basic {other}"), "this is no token"),
        (format!("Authorization: {other}"), "this is no token"),
        (format!("Bootctl-Who: uid 0\r\nX-Token: {other}"), "show a token in one header"),
        (
            format!("Authorization: Bearer {other}\r\nAuthorization: Bearer {other}"),
            "in one header",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let from = format!("127.0.4.{}", number + 1);
        let lines: Vec<_> = header.split("\r\n").flat_map(|line| ["-H", line]).collect();
        let (status, body) = reached.curl(&from, &[&["-X", "PUT"], &lines[..]].concat(), "/reload");
        assert_eq!(status, 401, "{header}: {body}");
        assert!(body.contains(part), "{header}: {body}");
        let line = reached.audit().pop().expect("a line");
        assert_eq!((&line["who"], &line["result"]), (&"nobody".into(), &"no_token".into()));
        assert!(line["from"].as_str().is_some_and(|text| text.starts_with(&from)), "{line}");
    }
    let said = reached.from_afar(&token, &["status"]);
    assert!(said.code == Some(1) && said.err.contains("not known here"), "{said:?}");
    let written = [
        fs::read_to_string(reached.site.folder().join("state/audit.log")).expect("there"),
        reached.site.init.get("/job/gate/stderr").body,
        reached.site.init.get("/job/boot/stderr").body,
    ];
    for secret in [&good[..], &near, other] {
        assert!(written.iter().all(|text| !text.contains(&secret[8..])), "a token is written down");
    }
}
