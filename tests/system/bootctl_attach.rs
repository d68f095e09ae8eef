//! `bootctl attach`: a terminal becomes a job's.

use std::process::{Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::pty::Pty;
use serde_json::{Value, json};

fn shell() -> Value {
    json!({
        "exec": "/bin/bash",
        "args": ["--norc", "--noprofile", "-i"],
        "envs": {"PATH": "/usr/bin:/bin", "PS1": "job$ ", "TERM": "dumb"},
        "tty": true,
        "stop": {"signal": "HUP"},
    })
}

fn attach(init: &Init, words: &[&str]) -> Pty {
    let (bootctl, api) = (program("bootctl"), init.api().to_string());
    let mut all = vec![bootctl.to_str().unwrap(), "attach", "--init", &api];
    all.extend(words);
    Pty::start(&all)
}

#[test]
fn i08_attach_detach_and_attach_again() {
    let init = Init::start(&[]);
    let pid = init.launch_job("t", &shell());
    let mut first = attach(&init, &["t"]);
    first.expect("ctrl-] detaches");
    first.keys("echo $((40+2)); x=kept\r");
    first.expect("42\r\n");
    first.keys("\x1d");
    first.expect("detached; t goes on");
    assert_eq!(first.wait_end().code(), Some(0));
    assert!(is_alive(pid));

    let mut second = attach(&init, &["t", "--detach-key", "ctrl-q"]);
    second.expect("42\r\n");
    second.expect("job$ ");
    second.keys("echo $x again\r");
    second.expect("kept again\r\n");
    second.keys("exit 7\r");
    second.expect("t has ended with exit code 7");
    assert_eq!(second.wait_end().code(), Some(7));
}

#[test]
fn i08_keys_and_the_windows_size_reach_the_job() {
    let init = Init::start(&[]);
    init.launch_job("t", &shell());
    let mut pty = attach(&init, &["t"]);
    pty.expect("job$ ");
    pty.resize(31, 97);
    pty.keys("until [ \"$(stty size)\" = '31 97' ]; do sleep 0.02; done; echo fits\r");
    pty.expect("\r\nfits");
    pty.keys("sh -c 'echo up; exec sleep 60'\r");
    pty.expect("\r\nup");
    pty.keys("\x03");
    pty.expect("job$ ");
    pty.keys("echo code=$?\r");
    pty.expect("code=130");
    // Ctrl-D is the job's, too.
    pty.keys("\x04");
    pty.expect("t has ended with exit code 0");
}

#[test]
fn i08_a_terminal_that_goes_away_harms_no_job() {
    let init = Init::start(&[]);
    let pid = init.launch_job("t", &shell());
    let mut pty = attach(&init, &["t"]);
    pty.expect("job$ ");
    pty.hang_up();
    assert!(is_alive(pid));
    let mut again = attach(&init, &["t"]);
    again.keys("echo here\r");
    again.expect("\r\nhere");
}

#[test]
fn i08_a_job_without_a_terminal_can_be_talked_to() {
    let init = Init::start(&[]);
    init.launch_job("c", &json!({"exec": "cat", "stdin": "pipe", "stdout": "log"}));
    let mut command = Command::new(program("bootctl"));
    command.args(["attach", "c", "--init", &init.api().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"some\nlines\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"some\nlines\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn i08_what_cannot_be_attached_to_is_said() {
    let init = Init::start(&[]);
    init.launch_job("mute", &json!({"exec": "sleep", "args": ["60"]}));
    let attach = |job: &str, api: &str| {
        let mut command = Command::new(program("bootctl"));
        command.args(["attach", job, "--init", api]).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let api = init.api().to_string();
    let (code, text) = attach("nobody", &api);
    assert!(code == Some(1) && text.contains("there is no job `nobody`"), "{text}");
    let (code, text) = attach("mute", &api);
    assert!(code == Some(1) && text.contains("\"stdout\": \"log\""), "{text}");
    let (code, text) = attach("any", "127.0.0.1:9");
    assert!(code == Some(3) && text.contains("cannot connect"), "{text}");
}
