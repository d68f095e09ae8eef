//! Verbs about init's jobs, asked of init itself.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::Site;
use jobinit_tests::http;
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::pty::Pty;
use jobinit_tests::wait;
use serde_json::{Value, json};

use crate::bootctl_apps::answers;

/// `bootctl VERB --init ADDR WORDS…`.
fn command(init: &Init, verb: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program("bootctl"));
    command.args([verb, "--init", &init.api().to_string()]).args(words).stdin(Stdio::null());
    command
}

fn bootctl(init: &Init, verb: &str, words: &[&str]) -> Output {
    command(init, verb, words).output().expect("it runs")
}

#[track_caller]
fn done(init: &Init, verb: &str, words: &[&str]) -> String {
    let output = bootctl(init, verb, words);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn refused(init: &Init, verb: &str, words: &[&str]) -> String {
    let output = bootctl(init, verb, words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn sleeper() -> Value {
    json!({"exec": "/bin/sleep", "args": ["600"], "stdout": "log"})
}

#[test]
fn z04_z05_jobs_are_listed_with_what_they_use() {
    let init = Init::start(&[]);
    let pid = init.launch_job("nap", &sleeper());
    let table = done(&init, "jobs", &[]);
    assert!(table.starts_with("JOB "), "{table}");
    let line = table.lines().find(|line| line.starts_with("nap ")).expect("a line");
    assert!(line.contains("running") && line.contains(&pid.to_string()), "{line}");
    let all: Value = serde_json::from_str(&done(&init, "jobs", &["--json"])).expect("JSON");
    let ids: Vec<_> = all.as_array().expect("a list").iter().map(|job| &job["id"]).collect();
    assert!(ids.contains(&&json!("nap")), "{all}");

    let stats: Value =
        serde_json::from_str(&done(&init, "stats", &["nap", "--pss", "--json"])).expect("JSON");
    assert_eq!((&stats[0]["id"], &stats[0]["processes"]), (&json!("nap"), &json!(1)));
    assert!(stats[0]["memory"]["pssBytes"].as_u64() > Some(0), "{stats}");
    let table = done(&init, "stats", &[]);
    assert!(table.lines().any(|line| line.starts_with("nap ") && line.contains("iB")), "{table}");
    let said = refused(&init, "stats", &["npa"]);
    assert!(said.contains("\"npa\"; did you mean nap?"), "{said}");
}

#[test]
fn z11_kill_reaches_a_job_an_app_and_the_supervisor_alone() {
    let site = Site::boot(&[("a.toml", &answers(2, "[restart]\ndelay = \"0s\"\n"))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    let said = done(&site.init, "kill", &["a", "--signal", "KILL"]);
    for pid in &pids {
        assert!(said.contains(&format!("(pid {pid})")), "{said}");
    }
    wait::until("both to be started again", || {
        let now = site.pids("a");
        (now.len() == 2 && now.iter().all(|pid| !pids.contains(pid))).then_some(())
    });
    let pids = || ["a.1", "a.2"].map(|job| site.init.job(job)["pid"].clone());
    let (before, supervisor) = (pids(), site.supervisor());
    done(&site.init, "kill", &["boot", "-s", "9"]);
    wait::until("it to be back", || {
        let now = site.init.job("boot")["pid"].as_u64()?;
        (now != supervisor).then_some(())
    });
    assert_eq!(pids(), before);
    let said = refused(&site.init, "kill", &["a.1", "--signal", "NOPE"]);
    assert!(said.contains("there is no signal `NOPE`"), "{said}");
    let said = refused(&site.init, "detach", &["a.1"]);
    assert!(said.contains("a.1 is an instance of the app a"), "{said}");
}

#[test]
fn z06_what_init_keeps_is_shown_stream_by_stream() {
    let init = Init::start(&[]);
    let talks = json!({
        "exec": "/bin/sh",
        "args": ["-c", "echo one; echo two; echo oh >&2; read line; echo $line"],
        "stdin": "pipe", "stdout": "log", "stderr": "log",
    });
    init.launch_job("talk", &talks);
    wait::until("it to have spoken", || (done(&init, "stderr", &["talk"]) == "oh\n").then_some(()));
    assert_eq!(done(&init, "stdout", &["talk"]), "one\ntwo\n");
    assert_eq!(done(&init, "stdout", &["talk", "-n", "1"]), "two\n");
    let mut follower = command(&init, "stdout", &["talk", "-f", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "two");
    assert_eq!(http::request(init.api(), "PUT", "/job/talk/stdin", "", "three\n").status, 204);
    assert_eq!(lines.next().expect("a line").expect("text"), "three");
    assert!(lines.next().is_none(), "it ends with the job");
    assert!(follower.wait().expect("ended").success());
    let said = refused(&init, "stdout", &["nobody"]);
    assert!(said.contains("there is no job `nobody`"), "{said}");
}

#[test]
fn z07_z08_a_job_is_let_go_of_and_taken_back() {
    let init = Init::start(&[]);
    let pid = init.launch_job("nap", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    let said = done(&init, "detach", &["nap"]);
    assert!(said.contains(&format!("`bootctl adopt nap {pid}` takes it back")), "{said}");
    assert_eq!(init.get("/job/nap").status, 404);
    assert!(is_alive(pid));
    let said = done(&init, "adopt", &["nap", &pid.to_string(), "--restart", "always"]);
    assert!(said.contains("nap is a job now: /") && said.contains("600"), "{said}");
    assert_eq!(init.job("nap")["pid"], pid);
    done(&init, "kill", &["nap"]);
    wait::until("it to be started anew", || {
        let job = init.job("nap");
        (job["status"] == "running" && job["pid"] != pid).then_some(())
    });
    let said = refused(&init, "adopt", &["other", "1"]);
    assert!(said.contains("process 1"), "{said}");
}

#[test]
fn events_are_told_as_they_happen() {
    let init = Init::start(&[]);
    init.launch_job("first", &sleeper());
    let mut follower =
        command(&init, "events", &["--all"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut until = |what: &str| {
        let found = lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("{what} is never told"))
    };
    until(" first running (pid ");
    let pid = init.launch_job("nap", &sleeper());
    until(&format!(" nap running (pid {pid}): "));
    assert_eq!(init.put("/job/nap/stop").status, 200);
    until(" nap success: ");
    assert_eq!(init.delete("/job/nap").status, 204);
    until("- nap cleared");
    follower.kill().expect("killed");
    follower.wait().expect("ended");
}

#[test]
fn exec_runs_a_command_as_the_app_runs() {
    let file = answers(1, "[env]\nCOLOUR = \"red\"\n");
    let site = Site::boot(&[("a.toml", &file)]);
    site.wait_for("a", "running");
    let init = &site.init;
    let output = bootctl(
        init,
        "exec",
        &["a", "--", "sh", "-c", "echo $COLOUR [$BOOTCTL_APP]; echo $PORT >&2; exit 7"],
    );
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    // It is no instance, so what it says is not the app's.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "red []\n");
    let port = init.job("a.1")["spec"]["envs"]["PORT"].clone();
    assert_eq!(json!(String::from_utf8_lossy(&output.stderr).trim()), port);

    // More than any buffer on the way, both ways.
    let mut child = command(init, "exec", &["a", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    let (mut to, bytes) = (child.stdin.take().expect("piped"), sent.clone());
    let writer = std::thread::spawn(move || to.write_all(&bytes));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("written");
    assert!(output.status.success() && output.stdout == sent, "{} bytes", output.stdout.len());

    let output = bootctl(init, "exec", &["a", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(output.status.code(), Some(137), "{output:?}");
    let said = refused(init, "exec", &["a", "--", "no-such-program"]);
    assert!(said.contains("no-such-program"), "{said}");
    let jobs = init.get("/jobs").json();
    let left: Vec<_> =
        jobs.as_array().expect("a list").iter().map(|job| job["id"].clone()).collect();
    assert!(
        !left.iter().any(|id| id.as_str().is_some_and(|id| id.starts_with("exec-"))),
        "{left:?}"
    );
}

#[test]
fn exec_gives_a_terminal_to_the_command() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let (bootctl, api) = (program("bootctl"), site.init.api().to_string());
    let words = [bootctl.to_str().expect("UTF-8"), "exec", "--init", &api, "a", "--", "sh"];
    let mut pty = Pty::start(&words);
    pty.expect("ctrl-] detaches");
    pty.keys("tty && echo $((40+2)) of $BOOTCTL_REVISION; exit 5\r");
    pty.expect("/dev/pts/");
    pty.expect("42 of");
    assert_eq!(pty.wait_end().code(), Some(5));
}
