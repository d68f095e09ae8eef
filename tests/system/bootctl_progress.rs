//! What is told while a command waits: what commands of an app write, what is rolled, and what goes on without whoever
//! does not want to wait. And what is told of a config that will most likely not work.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::Site;
use jobinit_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bootctl_apps::answers;

/// Begins a command whose output is read while it runs.
fn begin(site: &Site, words: &[&str]) -> Child {
    let mut command = Command::new(program("bootctl"));
    command.args(words).env("BOOTCTL_SOCKET", site.socket());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run")
}

/// The lines that a command has told for programs.
fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn steps(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["step"].as_str()).collect()
}

/// Where a command of the app waits for a word.
fn gate(site: &Site) -> std::path::PathBuf {
    site.folder().join("gate")
}

fn site() -> Site {
    let site = Site::boot(&[]);
    let update = format!(
        "echo first; echo oops >&2; while ! test -e {0}; do sleep 0.01; done; echo last; rm {0}",
        gate(&site).display()
    );
    let rules = format!("[deploy]\nupdate = \"{update}\"\nrebuild = \"echo built; exit 7\"\n");
    site.write("a.toml", &format!("{}{rules}", answers(1, "cwd = \"/tmp\"\n")));
    site.done(&["reload"]);
    site
}

#[test]
fn d09_what_a_command_writes_is_told_while_it_runs() {
    let site = site();
    let mut child = begin(&site, &["update", "a", "--json"]);
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut first, mut text) = (false, String::new());
    while !first {
        assert_ne!(out.read_line(&mut text).expect("it is read"), 0, "{text}");
        first = text.contains("\"first\"");
    }
    fs::write(gate(&site), "").expect("written");
    out.read_to_string(&mut text).expect("it is read");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{text}");
    let lines = lines(&text);
    let written = lines.iter().filter(|line| line["step"] == "output" && line["job"] == "a.update");
    let mut written: Vec<&str> = written.filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(written.last(), Some(&"last"));
    written.sort_unstable();
    assert_eq!(written, ["first", "last", "oops"]);
    assert_eq!(lines.last().expect("a line")["event"], "done");

    // One that fails: its code, and each line of it once.
    let said = site.bootctl(&["rebuild", "a"]);
    assert_eq!(said.code, Some(7), "{said:?}");
    assert_eq!(said.err.matches("built").count(), 1, "{said:?}");
}

#[test]
fn d09_who_does_not_wait_learns_what_goes_on() {
    let site = site();
    let child = begin(&site, &["update", "a"]);
    let working = || site.status()["apps"][0]["working"].as_str().map(str::to_owned);
    wait::until("the command to run", || working().filter(|what| what.contains("its update runs")));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("it is there");
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{err}");
    for part in
        ["goes on without this command", "`bootctl status a`", "`bootctl update a --cancel`"]
    {
        assert!(err.contains(part), "{part} in {err}");
    }
    assert!(working().is_some(), "it does go on");
    fs::write(gate(&site), "").expect("written");
    wait::until("its end", || working().is_none().then_some(()));
    let status = site.status();
    assert!(status["apps"][0].get("notice").is_none(), "{status}");
    let said = site.bootctl(&["update", "a", "--cancel", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[test]
fn d08_a_roll_tells_its_steps_wherever_it_comes_from() {
    let site = Site::boot(&[]);
    let source = |version: &str| {
        let folder = site.folder().join(format!("source-{version}"));
        fs::create_dir_all(&folder).expect("created");
        fs::copy(env!("CARGO_BIN_EXE_answers"), folder.join("answers")).expect("copied");
        folder.to_str().expect("UTF-8").to_owned()
    };
    site.write("a.toml", "exec = \"./answers\"\n[deploy]\nwatch = \"0s\"\n");
    fs::copy(env!("CARGO_BIN_EXE_answers"), site.folder().join("conf/apps/answers"))
        .expect("copied");
    site.done(&["reload"]);
    for words in [
        &["deploy", "a", "--from", &source("one"), "--json"][..],
        &["deploy", "a", "--from", &source("two"), "--json"],
        &["rollback", "a", "--json"],
        &["rollback", "a", "--to", "2", "--json"],
    ] {
        let lines = lines(&site.done(words));
        let steps = steps(&lines);
        for step in ["starting", "ready", "retiring", "gone"] {
            assert!(steps.contains(&step), "{words:?}: {step} in {lines:?}");
        }
        let last = lines.last().expect("a line");
        assert_eq!((&last["event"], &last["answer"]["state"]), (&"done".into(), &"running".into()));
    }
    let said = site.bootctl(&["rollback", "a", "--to", "9", "--json"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(lines(&said.out)[0]["refusal"]["error"], "no_release", "{said:?}");
}

#[test]
fn z01_what_will_most_likely_not_work_is_a_warning() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.write("b.toml", "exec = \"sh\"\ninstances = 0\nuser = \"no-such-user\"\n");
    let warning = "apps/b.toml:3:8: `user` is \"no-such-user\", and there is no such user here";
    let conf = site.folder().join("conf");
    let check = ["check", "--config", conf.to_str().expect("UTF-8")];
    let said = site.bootctl(&check);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "2 apps, no problems, 1 warning\n"));
    assert!(said.err.starts_with("warning: ") && said.err.contains(warning), "{said:?}");
    assert_eq!(site.bootctl(&[&check[..], &["--strict"]].concat()).code, Some(1));
    for words in [["plan"], ["reload"]] {
        let said = site.done(&words);
        assert!(said.contains("warning: ") && said.contains(warning), "{said}");
    }
    let plan: Value = serde_json::from_str(&site.done(&["plan", "--json"])).expect("JSON");
    assert_eq!(plan["warnings"].as_array().map(Vec::len), Some(1), "{plan}");
    assert!(!site.done(&["status"]).contains("warning"), "only whoever asks is told");
}

#[test]
fn d05_unknown_paths_and_methods_are_answered_with_those_there_are() {
    let site = Site::boot(&[]);
    let ask = |method: &str, path: &str| {
        let mut stream = UnixStream::connect(site.socket()).expect("it listens");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it is read");
        text
    };
    let answer = ask("GET", "/nowhere");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let told = answer.split_once("there are ").expect("a list").1;
    let told = told.split_once('"').expect("its end").0;
    let paths: Vec<(&str, &str)> =
        told.split(", ").filter_map(|path| path.split_once(' ')).collect();
    assert!(paths.len() >= 18, "{told}");
    for (method, path) in paths {
        let answer = ask("PATCH", &path.replace(['{', '}'], ""));
        let allow =
            answer.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 405"), "{path}: {answer}");
        assert!(allow.split(',').any(|one| one == method), "{method} {path}: {answer}");
    }
}
