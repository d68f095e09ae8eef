//! Letting go of a job alive: it is no job any more, and outlives init.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Kills what a test has let go of.
struct Leftover(u64);

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn sleeper() -> Value {
    json!({"exec": "/bin/sleep", "args": ["1000"], "restart": {"policy": "always"}})
}

/// The numbers that a script has written to a file, a line each.
#[track_caller]
fn numbers(file: &PathBuf, count: usize) -> Vec<u64> {
    wait::until("the numbers", || {
        let text = fs::read_to_string(file).ok()?;
        let numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (numbers.len() == count && text.ends_with('\n')).then_some(numbers)
    })
}

#[test]
fn z07_a_detached_job_is_no_job_any_more_and_lives() {
    let init = Init::start(&[]);
    let pid = init.launch_job("a", &sleeper());
    let _leftover = Leftover(pid);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| init.get("/job/a?wait=exit"));
        wait::until("the wait", || (init.job("a")["pid"] == pid).then_some(()));
        std::thread::sleep(Duration::from_millis(50));
        let answer = init.put("/job/a/detach");
        let job = answer.json();
        assert_eq!((answer.status, &job["pid"]), (200, &json!(pid)), "{answer:?}");
        assert_eq!(job["status"], "running");
        let told = waits.join().unwrap();
        assert_eq!((told.status, &told.json()["error"]), (409, &json!("detached")), "{told:?}");
    });
    assert_eq!(init.get("/job/a").status, 404);
    assert!(is_alive(pid));
    // Its restart policy is off; it is init's child, and reaped by it.
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    wait::until("it to be reaped", || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(()));
    assert_eq!(init.get("/jobs").json(), json!([]));
    // The name is free.
    let again = init.launch_job("a", &sleeper());
    assert_ne!(again, pid);
}

#[test]
fn z07_it_outlives_init_with_its_children() {
    for mut init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script = "sleep 1000 & echo $! >>$0; setsid sleep 1000 & sleep 0.1; echo $! >>$0; wait";
        let spec = json!({"exec": "/bin/sh", "args": ["-c", script, file],
                          "envs": {"PATH": "/usr/bin:/bin"}});
        let main = init.launch_job("script", &spec);
        let other = init.launch_job("other", &sleeper());
        let pids = numbers(&file, 2);
        let _leftovers: Vec<_> = pids.iter().chain([&main]).map(|pid| Leftover(*pid)).collect();
        assert_eq!(init.put("/job/script/detach").status, 200);
        let began = Instant::now();
        init.put("/job/init/stop");
        assert_eq!(init.wait_end().code(), Some(0));
        assert!(began.elapsed() < Duration::from_millis(1500), "nobody is waited for");
        assert!(is_alive(main) && pids.into_iter().all(is_alive));
        assert!(!is_alive(other), "what was not detached is ended");
    }
}

#[test]
fn z07_its_control_group_is_left_alone() {
    let mut init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // In a session of its own, and its parent has ended: only the control group tells whose it is.
    let spec = json!({"exec": env!("CARGO_BIN_EXE_escapes"), "args": [file, "orphan"]});
    let main = init.launch_job("escapes", &spec);
    let orphan = wait::until("the escape", || fs::read_to_string(&file).ok()?.parse().ok());
    let _leftovers = (Leftover(main), Leftover(orphan));
    let group = |pid: u64| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = group(main).lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned));
    let line = line.expect("cgroup v2 is there");
    let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(|mount| format!("{mount}{line}"));
    let path = mounts.iter().map(PathBuf::from).find(|path| path.is_dir()).unwrap();
    // A job that is a manager itself may keep empty groups.
    fs::create_dir(path.join("empty")).unwrap();
    assert_eq!(init.put("/job/escapes/detach").status, 200);
    for n in 0..3 {
        let next = init.launch_job(&format!("next-{n}"), &sleeper());
        assert_ne!(group(next), group(main), "it is not used again");
    }
    init.put("/job/init/stop");
    init.wait_end();
    assert!(is_alive(main) && is_alive(orphan));
    assert!(path.join("empty").is_dir());
    // Nor does the next init touch it.
    let next = Init::start(&[]);
    let own = next.launch_job("a", &sleeper());
    assert_ne!(group(own), group(main));
    assert!(is_alive(main) && path.join("empty").is_dir());
    fs::remove_dir(path.join("empty")).unwrap();
}

#[test]
fn z07_a_job_with_settings_can_begin_anew_beside_it() {
    let init = Init::start(&[]);
    let mut spec = sleeper();
    spec["cgroup"] = json!({"pids_max": 50});
    let answer = init.send("PUT", "/job/a", &spec);
    if answer.status == 400 {
        assert_eq!(answer.json()["stage"], "cgroup", "{answer:?}");
        return; // No controllers here.
    }
    let pid = answer.json()["pid"].as_u64().unwrap();
    let _leftover = Leftover(pid);
    assert_eq!(init.put("/job/a/detach").status, 200);
    let second = init.launch_job("a", &spec);
    assert_eq!(init.put("/job/a/stop").status, 200);
    assert_eq!((is_alive(pid), is_alive(second)), (true, false));
}

#[test]
fn z07_what_cannot_be_detached_is_refused() {
    let init = Init::start(&["--", "/bin/sleep", "1000"]);
    let refused = |id: &str, status: u16, word: &str| {
        let answer = init.put(&format!("/job/{id}/detach"));
        assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(word)), "{answer:?}");
    };
    refused("nosuch", 404, "unknown_job");
    refused("boot", 409, "not_detachable");
    refused("init", 409, "reserved_id");
    let mut unready = sleeper();
    unready["ready"] = json!("notify");
    init.launch_job("starting", &unready);
    refused("starting", 409, "starting");
    init.launch_job("ended", &sleeper());
    init.put("/job/ended/stop");
    refused("ended", 409, "dead");
    // What these read is init's.
    init.launch_job("piped", &json!({"exec": "cat", "stdin": "pipe"}));
    refused("piped", 409, "not_detachable");
    init.launch_job("tty", &json!({"exec": "cat", "tty": true}));
    refused("tty", 409, "not_detachable");
    let deaf = json!({"exec": env!("CARGO_BIN_EXE_ignores_term"), "stop": {"timeout_ms": 1000}});
    let pid = init.launch_job("stopping", &deaf);
    wait::until("its trap", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"))?;
        (u64::from_str_radix(ignored, 16).ok()? & 1 << 14 != 0).then_some(())
    });
    std::thread::scope(|scope| {
        scope.spawn(|| init.put("/job/stopping/stop"));
        init.wait_for("stopping", "stopping");
        refused("stopping", 409, "stopping");
    });
}

#[test]
fn z07_what_it_writes_is_taken_on() {
    let init = Init::start(&[]);
    let script = "i=0; while sleep 0.01; do i=$((i+1)); echo still $i; done";
    let spec = json!({
        "exec": "/bin/sh",
        "args": ["-c", script],
        "envs": {"PATH": "/usr/bin:/bin"},
        "stdout": "log",
        "log": {"bytes": 4096, "when_full": "wait"},
    });
    let pid = init.launch_job("w", &spec);
    let _leftover = Leftover(pid);
    assert_eq!(init.put("/job/w/detach").status, 200);
    assert_eq!(init.get("/job/w/stdout").status, 404);
    // Far more than is kept and a pipe takes would be.
    wait::until("it to write on", || {
        init.get("/jobs/output").body.contains("still 100\\n").then_some(())
    });
    assert!(is_alive(pid));
}

#[test]
fn z07_followers_are_told_that_it_is_gone() {
    let init = Init::start(&[]);
    let pid = init.launch_job("a", &sleeper());
    let _leftover = Leftover(pid);
    std::thread::scope(|scope| {
        let follow = scope.spawn(|| init.get("/jobs?follow"));
        std::thread::sleep(Duration::from_millis(100));
        init.put("/job/a/detach");
        std::thread::sleep(Duration::from_millis(100));
        init.put("/job/init/stop");
        let told = follow.join().unwrap();
        assert!(told.body.contains(r#"{"event":"gone","seq":2,"id":"a"}"#), "{told:?}");
    });
}

#[test]
fn z07_lent_sockets_stay_open_in_it() {
    let mut init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut spec = sleeper();
    spec["fds"] = json!([{"name": "a", "listen": listen},
                         {"name": "b", "listen": format!("tcp:{port}")}]);
    let pid = init.launch_job("a", &spec);
    let _leftover = Leftover(pid);
    assert_eq!(init.put("/job/a/detach").status, 200);
    init.put("/job/init/stop");
    init.wait_end();
    TcpStream::connect(port).expect("somebody listens");
    std::os::unix::net::UnixStream::connect(path).expect("somebody listens there, too");
}

#[test]
fn z07_then_adopt_takes_it_back() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let spec = json!({"exec": env!("CARGO_BIN_EXE_escapes"), "args": [file, "orphan"]});
    let main = init.launch_job("escapes", &spec);
    let orphan = wait::until("the escape", || fs::read_to_string(&file).ok()?.parse().ok());
    let _leftovers = (Leftover(main), Leftover(orphan));
    assert_eq!(init.put("/job/escapes/detach").status, 200);
    let answer = init.send("PUT", "/job/back", &json!({"adopt": main}));
    let job = answer.json();
    assert_eq!((answer.status, &job["pid"]), (201, &json!(main)), "{answer:?}");
    assert_eq!(job["spec"]["args"], spec["args"]);
    // Its control group is its own again: its stop reaches all of it, and init knows how it ended.
    let job = init.put("/job/back/stop").json();
    assert_eq!((&job["status"], &job["lastExit"]), (&json!("success"), &json!("SIGTERM")), "{job}");
    assert!(!is_alive(main) && !is_alive(orphan));
}

#[test]
fn z07_the_next_init_adopts_what_an_earlier_one_has_let_go_of() {
    let mut init = Init::start(&[]);
    let script = "sleep 1000 & wait";
    let spec =
        json!({"exec": "/bin/sh", "args": ["-c", script], "envs": {"PATH": "/usr/bin:/bin"}});
    let main = init.launch_job("a", &spec);
    let _leftover = Leftover(main);
    let child: u64 = wait::until("its child", || {
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).ok()?;
        children.split(' ').next()?.parse().ok()
    });
    assert_eq!(init.put("/job/a/detach").status, 200);
    init.put("/job/init/stop");
    init.wait_end();
    let next = Init::start(&[]);
    let answer = next.send("POST", "/job", &json!({"adopt": main, "stop": {"timeout_ms": 5000}}));
    assert_eq!((answer.status, &answer.json()["pid"]), (201, &json!(main)), "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let job = next.put(&format!("/job/{id}/restart")).json();
    assert_eq!((&job["status"], &job["spec"]["args"]), (&json!("running"), &spec["args"]), "{job}");
    assert!(!is_alive(main) && !is_alive(child));
}

#[test]
fn z07_init_ends_when_its_last_job_is_let_go_of() {
    let mut init = Init::start(&["--", "/bin/sleep", "0.3"]);
    let pid = init.launch_job("a", &sleeper());
    let _leftover = Leftover(pid);
    init.wait_for("boot", "success");
    assert_eq!(init.put("/job/a/detach").status, 200);
    assert_eq!(init.wait_end().code(), Some(0));
    assert!(is_alive(pid));
}
