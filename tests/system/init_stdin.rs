//! What is written to jobs, and jobs with a terminal of their own.

use std::io::{Read, Write};
use std::net::TcpStream;

use jobinit_tests::http::{self, Answer};
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use serde_json::{Value, json};

fn write(init: &Init, path: &str, text: &str) -> Answer {
    http::request(init.api(), "PUT", path, "", text)
}

fn shell() -> Value {
    json!({
        "exec": "/bin/bash",
        "args": ["--norc", "--noprofile", "-i"],
        "envs": {"PATH": "/usr/bin:/bin", "PS1": "$ ", "TERM": "dumb"},
        "tty": true,
        // It ignores TERM, as shells at a terminal do.
        "stop": {"signal": "HUP"},
    })
}

fn shown(init: &Init, job: &str, text: &str) -> String {
    wait::until(&format!("{job} to show {text:?}"), || {
        let shown = init.get(&format!("/job/{job}/stdout")).body;
        shown.contains(text).then_some(shown)
    })
}

#[test]
fn b22_what_is_written_is_read_and_its_end_too() {
    let init = Init::start(&[]);
    let spec = json!({"exec": "wc", "args": ["-c"], "stdin": "pipe", "stdout": "log"});
    init.launch_job("wc", &spec);
    // More than a pipe takes.
    let text = "x".repeat(200_000);
    assert_eq!(write(&init, "/job/wc/stdin", &text).status, 204);
    assert_eq!(write(&init, "/job/wc/stdin?close", &text).status, 204);
    init.wait_for("wc", "success");
    assert_eq!(init.get("/job/wc/stdout").body, "400000\n");
    let answer = write(&init, "/job/wc/stdin", "more");
    assert_eq!((answer.status, &answer.json()["error"]), (409, &json!("no_input")));
}

#[test]
fn b22_a_job_that_does_not_read_keeps_only_its_writer_waiting() {
    let init = Init::start(&[]);
    let pid = init.launch_job("s", &json!({"exec": "sleep", "args": ["60"], "stdin": "pipe"}));
    let mut stream = TcpStream::connect(init.api()).unwrap();
    let text = vec![b'x'; 100_000];
    write!(stream, "PUT /job/s/stdin HTTP/1.1\r\nHost: {}\r\n", init.api()).unwrap();
    write!(stream, "Content-Length: 1000000\r\n\r\n").unwrap();
    stream.write_all(&text).unwrap();
    assert_eq!(init.get("/jobs").status, 200);
    drop(stream);
    assert_eq!(init.get("/jobs").status, 200);
    assert!(is_alive(pid), "a client that dies harms nothing");
    assert_eq!(init.put("/job/s/stop").status, 200);
}

#[test]
fn b22_a_job_that_ends_lets_its_writer_go() {
    let init = Init::start(&[]);
    init.launch_job("h", &json!({"exec": "head", "args": ["-c", "1"], "stdin": "pipe"}));
    let answer = write(&init, "/job/h/stdin", &"x".repeat(300_000));
    assert_eq!((answer.status, &answer.json()["error"]), (409, &json!("no_input")), "{answer:?}");
}

#[test]
fn b22_the_end_of_one_runs_input_is_not_the_next_ones() {
    let init = Init::start(&[]);
    init.launch_job("c", &json!({"exec": "cat", "stdin": "pipe", "stdout": "log"}));
    let mut stream = TcpStream::connect(init.api()).unwrap();
    let head = format!("PUT /job/c/stdin?close HTTP/1.1\r\nHost: {}\r\n", init.api());
    write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n").unwrap();
    shown(&init, "c", "first");
    assert_eq!(init.put("/job/c/restart").status, 200);
    stream.write_all(b"0\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let mut answer = [0; 64];
    let count = stream.read(&mut answer).unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 204"), "all it had was written");
    assert_eq!(write(&init, "/job/c/stdin", "second\n").status, 204);
    shown(&init, "c", "second");
    assert_eq!(write(&init, "/job/c/stdin?close", "").status, 204);
    init.wait_for("c", "success");
}

#[test]
fn b22_what_is_closed_is_closed_whoever_else_writes() {
    let init = Init::start(&[]);
    init.launch_job("c", &json!({"exec": "cat", "stdin": "pipe", "stdout": "log"}));
    let mut other = TcpStream::connect(init.api()).unwrap();
    let head = format!("PUT /job/c/stdin HTTP/1.1\r\nHost: {}\r\n", init.api());
    write!(other, "{head}Transfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n").unwrap();
    shown(&init, "c", "first");
    assert_eq!(write(&init, "/job/c/stdin?close", "last\n").status, 204);
    init.wait_for("c", "success");
    assert_eq!(init.get("/job/c/stdout").body, "first\nlast\n");
    other.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let mut answer = [0; 1024];
    let count = other.read(&mut answer).unwrap();
    let answer = Answer::parse(&answer[..count]).unwrap();
    assert_eq!((answer.status, answer.header("input-written")), (409, Some("6")), "{answer:?}");
    assert!(answer.body.contains("another request has closed"), "{answer:?}");
}

#[test]
fn b22_a_body_that_breaks_off_is_answered_with_how_far_it_came() {
    let init = Init::start(&[]);
    init.launch_job("c", &json!({"exec": "cat", "stdin": "pipe", "stdout": "log"}));
    let head = format!("PUT /job/c/stdin HTTP/1.1\r\nHost: {}\r\n", init.api());
    let body = "6\r\nfirst\n\r\nno length\r\n";
    let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}");
    let answer = http::raw(init.api(), request.as_bytes()).unwrap();
    let answer = Answer::parse(&answer).unwrap();
    assert_eq!((answer.status, answer.header("input-written")), (400, Some("6")), "{answer:?}");
}

#[test]
fn b22_only_what_takes_input_is_written_to() {
    let init = Init::start(&[]);
    init.launch_job("s", &json!({"exec": "sleep", "args": ["60"]}));
    assert_eq!(write(&init, "/job/s/stdin", "x").status, 409);
    assert_eq!(write(&init, "/job/nobody/stdin", "x").status, 404);
    assert_eq!(init.put("/job/s/tty?rows=1&cols=1").status, 409);
    assert_eq!(init.put("/job/s/tty?rows=1").status, 400);
    assert_eq!(init.put("/job/s/tty?rows=1&cols=70000").status, 400);
}

#[test]
fn i08_a_job_has_a_terminal_with_job_control() {
    let init = Init::start(&[]);
    init.launch_job("t", &shell());
    write(&init, "/job/t/stdin", "echo flags=$-; tty; stty size\n");
    let text = shown(&init, "t", "24 80");
    assert!(text.contains("flags=himB"), "{text}");
    assert!(text.contains("/dev/pts/"), "{text}");
    assert_eq!(init.put("/job/t/tty?rows=50&cols=120").status, 204);
    write(&init, "/job/t/stdin", "stty size; sh -c 'echo marked; exec sleep 60'\n");
    shown(&init, "t", "50 120");
    shown(&init, "t", "\nmarked");
    write(&init, "/job/t/stdin", "\x03echo code=$?\n");
    shown(&init, "t", "code=130");
    write(&init, "/job/t/stdin?close", "");
    assert_eq!(init.wait_for("t", "success")["lastExit"], 0, "Ctrl-D ends it");
}

#[test]
fn i08_clients_come_and_go_and_the_job_lives() {
    let init = Init::start(&[]);
    let pid = init.launch_job("t", &shell());
    for round in 0..5 {
        // One that reads, and dies in the middle of it.
        let mut reader = TcpStream::connect(init.api()).unwrap();
        write!(reader, "GET /job/t/stdout?follow HTTP/1.1\r\nHost: {}\r\n\r\n", init.api())
            .unwrap();
        // One that writes, and dies in the middle of that.
        let mut writer = TcpStream::connect(init.api()).unwrap();
        let head = format!("PUT /job/t/stdin HTTP/1.1\r\nHost: {}\r\n", init.api());
        write!(writer, "{head}Content-Length: 1000\r\n\r\necho round {round}\n").unwrap();
        shown(&init, "t", &format!("\nround {round}"));
        drop((reader, writer));
    }
    assert_eq!(init.job("t")["pid"], pid);
}

#[test]
fn i08_a_terminal_belongs_to_the_jobs_user() {
    let init = Init::start(&[]);
    let mut spec = shell();
    spec["user"] = json!("nobody");
    init.launch_job("t", &spec);
    write(&init, "/job/t/stdin", "stat -c owner=%U $(tty); exit\n");
    shown(&init, "t", "owner=nobody");
}

#[test]
fn i08_a_restarted_job_has_a_new_terminal() {
    let init = Init::start(&[]);
    let pid = init.launch_job("t", &shell());
    write(&init, "/job/t/stdin", "exec sleep 60\n");
    // A shell that somebody types to ignores SIGTERM.
    wait::until("the shell to become it", || {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name == "sleep\n").then_some(())
    });
    assert_eq!(init.put("/job/t/restart").status, 200);
    write(&init, "/job/t/stdin", "echo again; exit 3\n");
    shown(&init, "t", "\nagain");
    assert_eq!(init.wait_for("t", "failed")["lastExit"], 3);
}

#[test]
fn i08_a_terminal_that_is_opened_again_is_read_again() {
    let init = Init::start(&[]);
    let script = "terminal=$(tty); echo open\n\
        for round in 1 2 3; do\n\
        exec <&- >&- 2>&-; sleep 0.1; exec >$terminal; echo again $round\n\
        done; exec >&-; sleep 0.1; exec >$terminal; read go <$terminal; echo went $go";
    let spec = json!({
        "exec": "/bin/sh",
        "args": ["-c", script],
        "envs": {"PATH": "/usr/bin:/bin"},
        "tty": true,
    });
    for run in 1..=2 {
        assert_eq!(init.send("PUT", "/job/t", &spec).status, 201);
        wait::until("it to be read again", || {
            let shown = init.get("/job/t/stdout").body;
            (shown.matches("again 3").count() == run).then_some(())
        });
        // The next init has to look for that anew.
        assert_eq!(init.put("/job/init/restart").status, 200);
        write(&init, "/job/t/stdin", "there\n");
        init.wait_for("t", "success");
    }
    let shown = init.get("/job/t/stdout").body;
    let told: Vec<_> = shown.lines().filter(|line| *line != "there").collect();
    let once = ["open", "again 1", "again 2", "again 3", "went there"];
    assert_eq!(told, [once, once].concat(), "{shown:?}");
}

#[test]
fn i08_a_terminal_that_its_job_has_closed_costs_nothing() {
    let init = Init::start(&[]);
    let spec = json!({
        "exec": "/bin/sh",
        "args": ["-c", "echo here; exec <&- >&- 2>&-; exec sleep 1000"],
        "envs": {"PATH": "/usr/bin:/bin"},
        "tty": true,
    });
    init.launch_job("t", &spec);
    shown(&init, "t", "here");
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", init.pid())).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    std::thread::sleep(std::time::Duration::from_millis(200));
    let before = used();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(used() - before < 100_000_000, "{} ns", used() - before);
}
