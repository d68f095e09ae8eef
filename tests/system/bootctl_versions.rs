//! A bootctl that asks another one of an older or a newer version: what it does not know it leaves out, or it is told
//! which versions they are.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Said, said};
use jobinit_tests::remote::Reached;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bootctl_apps::answers;

/// A supervisor of another version: whatever it is asked, it answers this.
struct Other(TempDir);

impl Other {
    fn answers(status: &str, version: Option<&str>, body: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("s")).expect("bound");
        let version = version.map(|text| format!("Bootctl-Version: {text}\r\n"));
        let head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\n{}", version.unwrap_or_default());
        let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                let _ = head.take_while(|line| !line.is_empty()).count();
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self(folder)
    }

    fn asked(&self, words: &[&str]) -> Said {
        let mut command = Command::new(program("bootctl"));
        command.args(words).env("BOOTCTL_SOCKET", self.0.path().join("s"));
        said(command.output().expect("bootctl can be run"))
    }
}

/// The status of a newer one.
fn status(state: &str) -> Value {
    json!({
        "supervisor": {
            "version": "99.1.0", "pid": 7, "uptimeMs": 1, "connected": true, "windingDown": false,
            "mood": "sunny",
        },
        "proxy": {"state": "ready", "pid": 8, "listen": "127.0.0.1:80", "why": null, "http4": {}},
        "apps": [{
            "app": "shop", "state": state, "wanted": 0, "hosts": [], "why": null, "instances": [],
            "colour": ["red"],
        }],
        "problems": [], "weather": 1,
    })
}

fn own_version() -> String {
    let said = said(Command::new(program("bootctl")).arg("--version").output().expect("it runs"));
    said.out.trim().trim_start_matches("bootctl ").to_owned()
}

#[test]
fn z09_what_a_newer_supervisor_tells_beyond_is_left_out() {
    let other = Other::answers("200 OK", Some("99.1.0"), &status("parked").to_string());
    let said = other.asked(&["status"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("bootctl 99.1.0") && said.out.contains("shop"), "{said:?}");

    let done = json!({"event": "done", "answer": status("parked")["apps"][0]});
    let lines = format!(
        "{}\n{}\n{done}\n",
        json!({"event": "weather", "text": "it rains"}),
        json!({"event": "step", "step": "dancing", "job": "shop.1", "text": "it dances", "ms": 1}),
    );
    let other = Other::answers("200 OK", Some("99.1.0"), &lines);
    let said = other.asked(&["stop", "shop"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let told = other.asked(&["stop", "shop", "--json"]);
    assert!(told.code == Some(0) && told.out.contains("it rains"), "programs get all: {told:?}");
}

#[test]
fn z09_who_does_not_understand_the_other_is_told_both_versions() {
    let own = own_version();
    let odd = status("dancing").to_string();
    let unknown =
        |word: &str| json!({"error": word, "message": "there is no such thing"}).to_string();
    for (status, version, body, words) in [
        ("200 OK", "99.1.0", odd.clone(), &["status"][..]),
        ("404 Not Found", "0.0.1", unknown("unknown_path"), &["releases", "shop"]),
        ("405 Method Not Allowed", "0.0.1", unknown("wrong_method"), &["stop", "shop"]),
        ("422 Unprocessable Content", "0.0.1", unknown("bad_query"), &["generate", "x"]),
        ("422 Unprocessable Content", "0.0.1", unknown("bad_body"), &["custom", "x"]),
        ("200 OK", "99.1.0", "{\"event\":\"failed\"}\n".into(), &["restart", "shop"]),
    ] {
        let said = Other::answers(status, Some(version), &body).asked(words);
        assert_eq!(said.code, Some(1), "{words:?}: {said:?}");
        let told = format!("the supervisor is bootctl {version}, and this is bootctl {own}");
        assert!(said.err.contains(&told), "{words:?}: {said:?}");
        // Of its own version, the version is not the reason.
        let said = Other::answers(status, Some(&own), &body).asked(words);
        assert!(said.code == Some(1) && !said.err.contains("this is bootctl"), "{said:?}");
    }
    // A mistake is a mistake in each version, and one that tells none is not blamed for it.
    let known = Other::answers("404 Not Found", Some("0.0.1"), &unknown("unknown_app"));
    assert_eq!(known.asked(&["stop", "shop"]).err, "bootctl: there is no such thing\n");
    let silent = Other::answers("200 OK", None, "<html>").asked(&["status"]);
    assert!(silent.code == Some(1) && silent.err.contains("makes no sense"), "{silent:?}");
}

/// The other way round: a client of another version, which knows other fields, verbs and shapes.
#[test]
fn z09_what_a_client_asks_beyond_is_refused_and_changes_nothing() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    let site = &reached.site;
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let token = fs::read_to_string(reached.token("old", "control")).expect("written");
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let own = format!("bootctl-version: {}", own_version());
    for (method, path, body, status, word) in [
        ("PUT", "/apps/a/dance", "", 404, "unknown_path"),
        ("PUT", "/v2/apps/a/stop", "", 404, "unknown_path"),
        ("POST", "/apps/a/stop", "", 405, "wrong_method"),
        ("PUT", "/apps/a/stop?gently=yes", "", 422, "bad_query"),
        ("PUT", "/apps/a/rollback?from=3", "", 422, "bad_query"),
        ("PUT", "/config?app=a&key=user", "{\"value\": \"www\", \"why\": 1}", 422, "bad_body"),
        ("PUT", "/custom/x", "{\"argv\": []}", 422, "bad_body"),
        ("PUT", "/custom/x", "args=1", 422, "bad_body"),
        ("PUT", "/init/job/a.1/dance", "", 404, "unknown_path"),
        ("PUT", "/init/jobs", "", 405, "wrong_method"),
    ] {
        let words = ["-i", "-X", method, "-H", &bearer, "-d", body];
        let (answered, said) = reached.curl("127.0.0.1", &words, path);
        assert_eq!(answered, status, "{method} {path}: {said}");
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        assert!(head.to_ascii_lowercase().contains(&own), "{method} {path}: {head}");
        let refusal: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(refusal["error"], word, "{method} {path}: {body}");
    }
    assert_eq!(site.pids("a"), pids);
    // Strangers are not told which version it is.
    let (status, said) = reached.curl("127.0.0.1", &["-i"], "/status");
    assert!(status == 401 && !said.to_ascii_lowercase().contains("bootctl-version"), "{said}");
}
