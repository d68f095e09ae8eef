//! When a job is ready, and what it says of itself.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use serde_json::{Value, json};

const NOTIFIES: &str = env!("CARGO_BIN_EXE_notifies");

fn notifier(deeds: &[&str]) -> Value {
    json!({"exec": NOTIFIES, "args": deeds, "ready": "notify", "stop": {"timeout_ms": 300}})
}

/// A path that does not exist yet, in a folder that lives as long as the test.
fn file(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn i04_a_job_is_ready_when_it_says_so() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let go = file(&folder, "go");
    let answer = init.send("PUT", "/job/a", &notifier(&[&format!("wait={go}"), "say=READY=1"]));
    assert_eq!((answer.status, &answer.json()["status"]), (201, &json!("starting")), "{answer:?}");
    assert!(answer.json()["why"].as_str().unwrap().contains("READY=1"), "{answer:?}");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| init.get("/job/a?wait=ready"));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waits.is_finished(), "it is not ready yet");
        std::fs::write(&go, "").unwrap();
        assert_eq!(waits.join().unwrap().json()["status"], "running");
    });
    // Who asks later is answered at once; so is a PUT of the same.
    assert_eq!(init.get("/job/a?wait=ready").json()["status"], "running");
}

#[test]
fn i04_a_put_can_wait_for_readiness() {
    let init = Init::start(&[]);
    let answer = init.send("PUT", "/job/a?wait=ready", &notifier(&["say=STATUS=up\\nREADY=1"]));
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["status"], "running");
    assert_eq!(answer.json()["statusText"], "up");
    // One that ends without ever being ready is told as it is.
    let answer = init.send("PUT", "/job/b?wait=ready", &notifier(&["exit=3"]));
    assert_eq!(answer.status, 201);
    assert_eq!(
        (&answer.json()["status"], &answer.json()["lastExit"]),
        (&json!("failed"), &json!(3))
    );
}

#[test]
fn i04_readiness_by_a_line_on_a_descriptor() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let go = file(&folder, "go");
    for fd in [3, 7, 66] {
        let line = format!("line={fd}");
        let spec =
            json!({"exec": NOTIFIES, "args": [format!("wait={go}"), line], "ready": {"fd": fd}});
        let id = format!("/job/fd-{fd}");
        assert_eq!(init.send("PUT", &id, &spec).json()["status"], "starting");
    }
    std::fs::write(&go, "").unwrap();
    for fd in [3, 7, 66] {
        let ready = init.get(&format!("/job/fd-{fd}?wait=ready")).json();
        assert_eq!(ready["status"], "running", "{ready}");
    }
}

#[test]
fn i04_only_the_jobs_own_processes_are_listened_to() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let told = file(&folder, "told");
    init.launch_job("a", &notifier(&[&format!("tell={told}")]));
    let name = wait::until("the socket's name", || std::fs::read_to_string(&told).ok());
    let name = name.split(' ').next().unwrap().strip_prefix('@').unwrap();
    let to = SocketAddr::from_abstract_name(name).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    for text in ["READY=1", "STATUS=taken over", "WATCHDOG=trigger", "MAINPID=1"] {
        socket.send_to_addr(text.as_bytes(), &to).unwrap();
    }
    init.log_line("not of it");
    let job = init.job("a");
    assert_eq!((&job["status"], &job["statusText"]), (&json!("starting"), &Value::Null), "{job}");
    // Another job is a stranger too.
    let mut spec = notifier(&["say=READY=1"]);
    spec["envs"] = json!({"NOTIFY_SOCKET": format!("@{name}")});
    spec["ready"] = json!("exec");
    init.launch_job("b", &spec);
    init.wait_for("b", "running");
    assert_eq!(init.job("a")["status"], "starting");
}

#[test]
fn i04_a_child_may_speak_for_the_job() {
    for init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        init.launch_job("a", &notifier(&["child=STATUS=hello\\nREADY=1"]));
        let job = init.get("/job/a?wait=ready").json();
        assert_eq!((&job["status"], &job["statusText"]), (&json!("running"), &json!("hello")));
    }
}

#[test]
fn i04_a_barrier_is_passed_when_all_before_it_has_been_read() {
    // What `systemd-notify` sends: it ends only when init has closed the pipe.
    let script = r#"
import os, socket, array, sys
name = os.environ["NOTIFY_SOCKET"].replace("@", "\0")
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
r, w = os.pipe()
s.connect(name)
s.send(b"READY=1\nSTATUS=by python")
def pass_barrier(w):
    rights = array.array("i", [w] * 250)
    s.sendmsg([b"BARRIER=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    os.close(w)
    assert os.read(r, 1) == b""
pass_barrier(w)
# Descriptors do not end the talk.
r, w = os.pipe()
s.send(b"STATUS=by python, twice")
pass_barrier(w)
os.execvp("sleep", ["sleep", "60"])
"#;
    let init = Init::start(&[]);
    let spec = json!({
        "exec": "/usr/bin/python3", "args": ["-c", script], "ready": "notify",
        "envs": {"PATH": "/usr/bin:/bin"},
    });
    init.launch_job("a", &spec);
    wait::until("the barrier to be passed", || {
        let pid = init.job("a")["pid"].as_u64()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name == "sleep\n").then_some(())
    });
    assert_eq!(init.job("a")["statusText"], "by python, twice");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", init.pid())).unwrap().count();
    assert!(descriptors < 40, "{descriptors} are left open");
}

#[test]
fn i04_reloading_and_stopping_are_shown() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let [go, on] = ["go", "on"].map(|name| file(&folder, name));
    let deeds = [
        "say=READY=1",
        "say=RELOADING=1",
        &format!("wait={go}"),
        "say=READY=1",
        &format!("wait={on}"),
        "say=STOPPING=1",
    ];
    init.launch_job("a", &notifier(&deeds));
    let why = |text: &str| {
        wait::until(text, || {
            init.job("a")["why"].as_str().is_some_and(|why| why.contains(text)).then_some(())
        });
    };
    why("anew");
    assert_eq!(init.job("a")["status"], "running");
    std::fs::write(go, "").unwrap();
    why("on request");
    std::fs::write(on, "").unwrap();
    why("about to end");
}

#[test]
fn i04_the_main_process_may_be_another_one() {
    for init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        // The child is still its parent's, so it takes over when that one ends.
        let deeds = ["child=MAINPID=SELF\\nREADY=1", "every=5"];
        let first = init.launch_job("a", &notifier(&deeds));
        init.get("/job/a?wait=ready");
        assert_eq!(init.job("a")["pid"], first);
        init.put("/job/a/sig/KILL");
        let heir = wait::until("the heir", || {
            let job = init.job("a");
            assert_eq!(job["status"], "running", "{job}");
            job["pid"].as_u64().filter(|pid| *pid != first)
        });
        assert_eq!(init.job("a")["respawn"], 0);
        assert_eq!(init.put("/job/a/sig/KILL").status, 204);
        let job = init.get("/job/a?wait=exit").json();
        assert_eq!((&job["lastExit"], is_alive(heir)), (&json!("SIGKILL"), false), "{job}");
    }
}

#[test]
fn i04_a_daemon_that_is_left_at_once_takes_over() {
    // Its parent ends as soon as it has named itself, whoever waits for what meanwhile.
    let script = r#""$0" 'say=MAINPID=SELF\nREADY=1' tell=$1 & while ! [ -e $1 ]; do :; done"#;
    for init in [Init::start(&[]), Init::start_without_cgroups(&[])] {
        let folder = tempfile::tempdir().unwrap();
        for (n, wait) in ["", "?wait=ready", "?wait=ready", "?wait=ready"].into_iter().enumerate() {
            let told = file(&folder, &format!("told-{n}"));
            let spec = json!({
                "exec": "/bin/sh", "args": ["-c", script, NOTIFIES, told], "ready": "notify",
            });
            let answer = init.send("PUT", &format!("/job/a-{n}{wait}"), &spec);
            assert_eq!(answer.status, 201, "{answer:?}");
            let daemon = wait::until("the daemon", || {
                let job = init.job(&format!("a-{n}"));
                assert!(job["status"] == "running" || job["status"] == "starting", "{job}");
                let pid = job["pid"].as_u64()?;
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                (name == "notifies\n").then_some(pid)
            });
            assert!(is_alive(daemon));
            assert_eq!(init.job(&format!("a-{n}"))["respawn"], 0);
        }
    }
}

#[test]
fn i04_a_stranger_cannot_be_the_main_process() {
    let init = Init::start(&[]);
    let other = init.launch_job("other", &json!({"exec": "/bin/sleep", "args": ["60"]}));
    for pid in [other, 1, u64::from(std::process::id()), 4_000_000] {
        let id = format!("a-{pid}");
        let deeds = [format!("say=MAINPID={pid}"), "say=READY=1".into()];
        let own = init.launch_job(&id, &notifier(&deeds.each_ref().map(String::as_str)));
        let job = init.get(&format!("/job/{id}?wait=ready")).json();
        assert_eq!(job["pid"], own, "{job}");
    }
    assert!(is_alive(other));
}

#[test]
fn i05_a_silent_job_is_killed_and_started_again() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let told = file(&folder, "told");
    let mut spec = notifier(&[&format!("tell={told}"), "say=READY=1"]);
    spec["watchdog_ms"] = json!(150);
    spec["restart"] = json!({"policy": "on-failure", "delay_ms": 50});
    let first = init.launch_job("a", &spec);
    wait::until("the second run", || {
        let job = init.job("a");
        (job["respawn"].as_u64()? > 0 && job["status"] == "running").then_some(())
    });
    let job = init.job("a");
    assert_eq!(job["lastExit"], "SIGABRT", "{job}");
    assert!(!is_alive(first));
    let told = std::fs::read_to_string(told).unwrap();
    assert_eq!(told.split(' ').nth(1), Some("150000"));
}

#[test]
fn i05_the_watchdog_waits_until_a_job_is_ready() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let go = file(&folder, "go");
    let mut spec = notifier(&["say=WATCHDOG=1", &format!("wait={go}"), "say=READY=1"]);
    spec["watchdog_ms"] = json!(100);
    let pid = init.launch_job("a", &spec);
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(init.job("a")["pid"], pid, "{}", init.job("a"));
    std::fs::write(&go, "").unwrap();
    let job = init.get("/job/a?wait=exit").json();
    assert!(job["why"].as_str().unwrap().contains("no WATCHDOG=1"), "{job}");
}

#[test]
fn i05_a_job_that_is_alive_lives() {
    let init = Init::start(&[]);
    let mut spec = notifier(&["say=READY=1", "every=20"]);
    spec["watchdog_ms"] = json!(2000);
    let pid = init.launch_job("alive", &spec);
    // One that gives notice of a longer silence, and one that asks for none.
    let mut longer = notifier(&["say=READY=1\\nWATCHDOG_USEC=60000000"]);
    longer["watchdog_ms"] = json!(300);
    let long = init.launch_job("long", &longer);
    // And one that is broken and says so: the time is over when this has happened.
    let mut broken = notifier(&["say=READY=1", "say=WATCHDOG=trigger"]);
    broken["watchdog_ms"] = json!(60_000);
    init.launch_job("broken", &broken);
    let job = init.get("/job/broken?wait=exit").json();
    assert_eq!((&job["status"], &job["lastExit"]), (&json!("failed"), &json!("SIGABRT")), "{job}");
    let mut silent = notifier(&["say=READY=1"]);
    silent["watchdog_ms"] = json!(2500);
    init.launch_job("silent", &silent);
    let job = init.get("/job/silent?wait=exit").json();
    assert_eq!(job["lastExit"], "SIGABRT", "{job}");
    for (id, pid) in [("alive", pid), ("long", long)] {
        assert_eq!(init.job(id)["pid"], pid, "{}", init.job(id));
    }
}

#[test]
fn i05_a_silent_job_has_failed_however_it_ends() {
    let init = Init::start(&[]);
    let script = "trap 'exit 0' ABRT; while :; do sleep 0.02; done";
    let spec = json!({
        "exec": "/bin/sh", "args": ["-c", script], "watchdog_ms": 100,
        "restart": {"policy": "on-failure", "delay_ms": 10, "limit": 2},
    });
    init.launch_job("a", &spec);
    let job = init.get("/job/a?wait=exit").json();
    assert_eq!((&job["status"], &job["lastExit"]), (&json!("failed"), &json!(0)), "{job}");
    assert_eq!(job["respawn"], 2, "{job}");
}

#[test]
fn i05_what_ignores_the_watchdogs_signal_is_killed() {
    let init = Init::start(&[]);
    let script = "trap '' ABRT; exec sleep 1000";
    let spec = json!({
        "exec": "/bin/sh", "args": ["-c", script], "watchdog_ms": 100,
        "stop": {"timeout_ms": 200},
    });
    init.launch_job("a", &spec);
    let job = init.get("/job/a?wait=exit").json();
    assert_eq!((&job["status"], &job["lastExit"]), (&json!("failed"), &json!("SIGKILL")), "{job}");
}

#[test]
fn i04_a_stop_may_be_extended() {
    let init = Init::start(&[]);
    let script = r#"
import os, socket, signal, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0"))
def end(*_):
    s.send(b"EXTEND_TIMEOUT_USEC=20000000")
    time.sleep(1)
    os._exit(7)
signal.signal(signal.SIGTERM, end)
s.send(b"READY=1")
while True: signal.pause()
"#;
    let spec = json!({
        "exec": "/usr/bin/python3", "args": ["-c", script], "ready": "notify",
        "stop": {"timeout_ms": 500}, "envs": {"PATH": "/usr/bin:/bin"},
    });
    init.launch_job("a", &spec);
    init.get("/job/a?wait=ready");
    let job = init.put("/job/a/stop").json();
    assert_eq!(job["lastExit"], 7, "it ended in its own time: {job}");
}

#[test]
fn i04_a_flood_of_notices_keeps_nobody_out() {
    let init = Init::start(&[]);
    init.launch_job("a", &notifier(&["say=READY=1", "every=0"]));
    init.get("/job/a?wait=ready");
    for _ in 0..50 {
        assert_eq!(init.get("/job/a").status, 200);
    }
    assert_eq!(init.run_script("exit 5")["lastExit"], 5);
}
