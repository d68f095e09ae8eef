//! `bootctl attach`: a terminal becomes a job's.

use std::io::{Read, Write};
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
    child.stdin.take().unwrap().write_all(b"some\nlines\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"some\nlines\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn i08_another_init_is_not_noticed() {
    let init = Init::start(&[]);
    init.launch_job("t", &shell());
    let mut pty = attach(&init, &["t"]);
    pty.expect("job$ ");
    for round in 0..5 {
        assert_eq!(init.put("/job/init/restart").status, 200);
        pty.keys(&format!("echo $(({round}+10))\r"));
        let shown = [pty.expect(&format!("\n{}\r\n", round + 10)), pty.expect("job$ ")].concat();
        assert_eq!(shown, format!("echo $(({round}+10))\r"), "nothing twice, nothing of init");
    }
    pty.keys("exit 7\r");
    pty.expect("t has ended with exit code 7");
    assert_eq!(pty.wait_end().code(), Some(7));
}

#[test]
fn i08_not_a_byte_is_lost_to_another_init() {
    let init = Init::start(&[]);
    // It says after each line that it had it, so that what is typed is on its way all the time.
    let script = "while read word; do echo \"$word\"; sleep 0.001; done";
    let spec = json!({
        "exec": "/bin/sh",
        "args": ["-c", script],
        "envs": {"PATH": "/usr/bin:/bin"},
        "stdin": "pipe",
        "stdout": "log",
    });
    init.launch_job("echo", &spec);
    let mut command = Command::new(program("bootctl"));
    command.args(["attach", "echo", "--init", &init.api().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let lines: Vec<_> = (0..1500).map(|line| format!("{line:0199}\n")).collect();
    let text = lines.concat();
    let mut shown = child.stdout.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // More than the pipes on the way hold, so some of it waits for the job.
            keys.write_all(text.as_bytes()).unwrap();
            drop(keys);
        });
        let shown = scope.spawn(|| {
            let mut all = String::new();
            shown.read_to_string(&mut all).unwrap();
            all
        });
        let mut renewals = 0;
        while !shown.is_finished() {
            assert_eq!(init.put("/job/init/restart").status, 200);
            renewals += 1;
        }
        assert!(renewals > 1, "{renewals}");
        assert!(shown.join().unwrap() == text, "each line came, and once");
    });
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// That nobody reads what comes after its last line is no failure: what it says to that is shown, and how it ends.
#[test]
fn i08_a_job_that_ends_on_what_was_typed_is_heard_to_its_end() {
    let init = Init::start(&[]);
    let script = "read line; echo heard $line; exit 7";
    let spec = json!({"exec": "/bin/sh", "args": ["-c", script], "stdin": "pipe", "stdout": "log"});
    for round in 0..20 {
        let job = format!("talk{round}");
        init.launch_job(&job, &spec);
        let mut command = Command::new(program("bootctl"));
        command.args(["attach", &job, "--init", &init.api().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{round}: {output:?}");
        assert_eq!(output.stdout, b"heard hello\n", "{round}: {output:?}");
    }
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
