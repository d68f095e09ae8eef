//! Stopping a job ends all of it: whoever has forked, left the group, or become somebody else's
//! child.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use serde_json::{Value, json};

use crate::init_spawn::show;

const ESCAPES: &str = env!("CARGO_BIN_EXE_escapes");

/// Starts `escapes` and answers the pid of the process that has escaped.
fn escape(init: &Init, folder: &tempfile::TempDir, how: &str, changes: &Value) -> u64 {
    let file = folder.path().join(how);
    let mut spec = json!({"exec": ESCAPES, "args": [file, how]});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    init.launch_job(how, &spec);
    wait::until("the escape", || fs::read_to_string(&file).ok()?.parse().ok())
}

#[test]
fn i06_a_job_has_a_control_group_of_its_own() {
    let init = Init::start(&[]);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).expect("cgroup v2 is there");
    let line = |shown: &Value| {
        let groups = shown["cgroup"].as_str().unwrap().to_owned();
        groups.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)).unwrap()
    };
    let first = line(&show(&init, &json!({})));
    assert!(first.starts_with(&format!("{}/jobs", own.trim_end_matches('/'))), "{first} in {own}");
    // An empty one is used again.
    assert_eq!(line(&show(&init, &json!({}))), first);
}

#[test]
fn i06_what_a_killed_init_has_left_is_no_job_of_the_next() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    // Whoever is free first gets the group that the first one had; most often it is the next.
    let killed = Init::start(&[]);
    let left = killed.launch_job("left", &json!({"exec": "/bin/sleep", "args": ["1000"]}));
    killed.signal(Signal::SIGKILL);
    drop(killed);
    let next = Init::start(&[]);
    let own = next.launch_job("own", &json!({"exec": "/bin/sleep", "args": ["1000"]}));
    let group = |pid: u64| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_ne!(group(own), group(left));
    assert_eq!(next.put("/job/own/stop").status, 200);
    assert!(is_alive(left), "it is not the next one's to end");
    kill(Pid::from_raw(i32::try_from(left).unwrap()), Signal::SIGKILL).unwrap();
}

#[test]
fn i06_init_leaves_no_control_group_behind() {
    let mut init = Init::start(&[]);
    let shown = show(&init, &json!({}));
    let group = shown["cgroup"].as_str().unwrap();
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let folder = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .map(|mount| format!("{mount}{group}"))
        .find(|path| fs::exists(path).unwrap())
        .expect("the group is there");
    let number = || fs::metadata(&folder).ok().map(|meta| meta.ino());
    let before = number();
    init.put("/job/init/stop");
    init.wait_end();
    // The next init may have made one of the same name.
    assert_ne!(number(), before, "{folder} is left");
}

#[test]
fn i06_a_stop_reaches_who_has_left_session_and_group() {
    let folder = tempfile::tempdir().unwrap();
    let init = Init::start(&[]);
    for how in ["child", "orphan"] {
        let pid = escape(&init, &folder, how, &json!({}));
        assert!(is_alive(pid));
        let began = Instant::now();
        assert_eq!(init.put(&format!("/job/{how}/stop")).status, 200);
        assert!(!is_alive(pid), "{how}: the answer came before the end");
        assert!(began.elapsed() < Duration::from_secs(5), "{how}: nobody had to be killed");
    }
}

#[test]
fn i06_who_is_left_when_the_main_process_ends_is_ended() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let pid = escape(&init, &folder, "alone", &json!({"restart": {"policy": "never"}}));
    let job = init.get("/job/alone?wait=exit").json();
    assert_eq!((&job["lastExit"], is_alive(pid)), (&json!(0), false), "{job}");
}

#[test]
fn i06_without_control_groups_descent_tells() {
    let (init, folder) = (Init::start_without_cgroups(&[]), tempfile::tempdir().unwrap());
    let pid = escape(&init, &folder, "child", &json!({}));
    assert_eq!(init.put("/job/child/stop").status, 200);
    assert!(!is_alive(pid), "the answer came before the end");
    // Whole jobs of a shell with job control, each in a group of its own.
    let script = "set -m; sleep 1000 & echo $! >$0; sleep 1000 & echo $! >>$0; wait";
    let file = folder.path().join("pids");
    let spec = json!({"exec": "/bin/bash", "args": ["-c", script, file]});
    init.launch_job("shell", &spec);
    let pids = wait::until("two jobs of the shell", || {
        let text = fs::read_to_string(&file).ok()?;
        let pids: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    });
    assert_eq!(init.put("/job/shell/stop").status, 200);
    assert!(!pids.into_iter().any(is_alive));
}

#[test]
fn i06_whoever_ignores_the_signal_is_killed_wherever_he_is() {
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >$0; \
                  while :; do sleep 0.05; done' $0 & while :; do sleep 0.05; done";
    for init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let spec = json!({
            "exec": "/bin/sh", "args": ["-c", script, file], "stop": {"timeout_ms": 200},
            "envs": {"PATH": "/usr/bin:/bin"},
        });
        init.launch_job("a", &spec);
        let pid =
            wait::until("the stubborn one", || fs::read_to_string(&file).ok()?.trim().parse().ok());
        let job = init.put("/job/a/stop").json();
        assert_eq!((&job["status"], is_alive(pid)), (&json!("success"), false), "{job}");
        init.log_line("has not ended in its time; killing");
    }
}

#[test]
fn b28_who_is_stopped_is_told_to_end_all_the_same() {
    for init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        let spec = json!({"exec": "/bin/sh", "args": ["-c", "sleep 1000 & kill -STOP 0"]});
        let pid = init.launch_job("stopped", &spec);
        wait::until("its stop", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.contains(") T ").then_some(())
        });
        let began = Instant::now();
        let job = init.put("/job/stopped/stop").json();
        assert_eq!(job["lastExit"], "SIGTERM", "{job}");
        assert!(began.elapsed() < Duration::from_secs(5), "it had not to be killed");
    }
}

#[test]
fn i06_a_fork_bomb_ends() {
    // Each forks and ends, so that whoever looks at the list of processes is always too late.
    let script = "f() { while :; do (exit) & (sleep 0.01; :) & wait; done; }; \
                  trap '' TERM; for i in 1 2 3 4; do f & done; wait";
    for init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        let spec = json!({
            "exec": "/bin/bash", "args": ["-c", script], "stop": {"timeout_ms": 100},
            "envs": {"PATH": "/usr/bin:/bin"},
        });
        let pid = init.launch_job("bomb", &spec);
        let job = init.put("/job/bomb/stop").json();
        assert_eq!((&job["status"], is_alive(pid)), (&json!("success"), false), "{job}");
    }
}

fn until_it_ignores_term(pid: u64) {
    wait::until("its trap to be set", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"))?;
        (u64::from_str_radix(ignored, 16).ok()? & 1 << 14 != 0).then_some(())
    });
}

#[test]
fn i13_a_stop_that_takes_long_says_who_blocks() {
    let init = Init::start(&[]);
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let spec = json!({"exec": "/bin/bash", "args": ["-c", script], "stop": {"timeout_ms": 3000}});
    let pid = init.launch_job("slow", &spec);
    until_it_ignores_term(pid);
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| init.put("/job/slow/stop"));
        wait::until("the reason", || {
            let why = init.job("slow")["why"].as_str()?.to_owned();
            why.contains(&format!("waiting for {pid} (bash, ")).then_some(())
        });
        assert_eq!(init.put("/job/slow/sig/KILL").status, 204);
        assert_eq!(stop.join().unwrap().status, 200);
    });
}

#[test]
fn i13_an_end_that_takes_long_says_who_blocks() {
    let mut init = Init::start(&["--grace", "1"]);
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let pid = init.launch_job("stuck", &json!({"exec": "/bin/bash", "args": ["-c", script]}));
    until_it_ignores_term(pid);
    init.put("/job/init/stop");
    let line = init.log_line("killing");
    assert!(line.contains("job `stuck`") && line.contains(&format!("{pid} (bash")), "{line}");
    init.wait_end();
}

#[test]
fn i07_a_grandchild_that_holds_the_output_does_not_hang_a_stop() {
    let init = Init::start(&[]);
    let script = "setsid sleep 1000 & sleep 1000";
    init.launch_job("a", &json!({"exec": "/bin/sh", "args": ["-c", script]}));
    assert_eq!(init.put("/job/a/stop").status, 200);
}

#[test]
fn i09_a_group_that_was_killed_is_no_trap_for_the_next() {
    // Some kernels kill whoever is made in a group that has been killed once.
    let init = Init::start(&[]);
    let deaf = json!({
        "exec": env!("CARGO_BIN_EXE_ignores_term"), "stop": {"timeout_ms": 20},
    });
    for _ in 0..5 {
        let pid = init.launch_job("deaf", &deaf);
        until_it_ignores_term(pid);
        assert_eq!(init.put("/job/deaf/stop").json()["lastExit"], "SIGKILL");
        assert_eq!(init.run_script("exit 4")["lastExit"], 4);
    }
    init.launch_job("deaf", &deaf);
    for _ in 0..5 {
        until_it_ignores_term(init.job("deaf")["pid"].as_u64().unwrap());
        let answer = init.put("/job/deaf/restart");
        assert_eq!(answer.json()["status"], "running", "{answer:?}");
    }
}

#[test]
fn i09_starts_that_fail_leave_no_control_groups() {
    let init = Init::start(&[]);
    for n in 0..400 {
        let spec = json!({"exec": if n % 2 == 0 { "/no/such/program" } else { "/etc/passwd" }});
        assert_eq!(init.send("PUT", "/job/a", &spec).status, 400);
    }
    assert_eq!(init.run_script("exit 4")["lastExit"], 4);
    // Beside that of a job are those of the same init, and of no other.
    let pid = init.launch_job("b", &json!({"exec": "sleep", "args": ["1000"]}));
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let beside = mounts.map(|mount| PathBuf::from(format!("{mount}{own}/..")));
    let groups = beside.iter().find_map(|jobs| fs::read_dir(jobs).ok()).map_or(0, Iterator::count);
    assert!(groups < 60, "{groups} groups");
}

#[test]
fn i09_a_group_that_was_frozen_is_no_trap_for_the_next() {
    // Whoever runs as root can freeze his own group; the next job must not be born frozen.
    let init = Init::start(&[]);
    let script = "g=$(sed -n s/^0:://p /proc/self/cgroup); \
                  for m in /sys/fs/cgroup/unified /sys/fs/cgroup; do \
                  [ -e $m$g/cgroup.freeze ] && (setsid sh -c \"sleep 0.1; echo 1 >$m$g/cgroup.freeze\" &); \
                  done; sleep 1000";
    let spec = json!({
        "exec": "/bin/sh", "args": ["-c", script], "envs": {"PATH": "/usr/bin:/bin"},
        "stop": {"timeout_ms": 300},
    });
    let pid = init.launch_job("frozen", &spec);
    wait::until("the freeze", || {
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let group = group.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        let events = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .into_iter()
            .find_map(|mount| fs::read_to_string(format!("{mount}{group}/cgroup.events")).ok())?;
        events.contains("frozen 1").then_some(())
    });
    assert_eq!(init.put("/job/frozen/stop").status, 200);
    assert_eq!(init.run_script("exit 4")["lastExit"], 4);
}
