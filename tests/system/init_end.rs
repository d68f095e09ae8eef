//! The end of init: by its boot process, by signal, by request.

use std::fs;
use std::process::Command;
use std::time::Instant;

use jobinit_tests::binaries::program;
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use nix::sys::signal::Signal;
use serde_json::json;

fn code_of(words: &[&str]) -> Option<i32> {
    let run = Command::new(program("init")).args(["--listen", "127.0.0.1:0"]).args(words).output();
    run.unwrap().status.code()
}

#[test]
fn b03_the_boot_command_gets_inits_streams_and_environment() {
    let mut command = Command::new(program("init"));
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--",
        "sh",
        "-c",
        "read x; echo \"$x $MARK $INIT_API $PWD\"",
    ]);
    command.env("MARK", "mark").current_dir("/usr/share");
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"typed\n").unwrap();
    let run = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.starts_with("typed mark 127.0.0.1:") && said.ends_with(" /usr/share\n"), "{said}");
    assert!(run.status.success());
}

#[test]
fn b03_the_api_listens_before_boot_runs() {
    assert_eq!(code_of(&["sh", "-c", "curl -sf http://$INIT_API/job/boot >/dev/null"]), Some(0));
}

#[test]
fn b03_relative_commands_are_found_where_init_is() {
    let run = Command::new(program("init"))
        .args(["--listen", "127.0.0.1:0", "./true"])
        .current_dir("/bin")
        .status();
    assert_eq!(run.unwrap().code(), Some(0));
}

#[test]
fn i01_exit_codes_are_boots() {
    for code in [0, 1, 2, 77, 127, 255] {
        assert_eq!(code_of(&["sh", "-c", &format!("exit {code}")]), Some(code));
    }
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("HUP", 129)] {
        assert_eq!(code_of(&["sh", "-c", &format!("kill -{signal} $$")]), Some(code));
    }
    assert_eq!(code_of(&["/nosuch"]), Some(127));
    assert_eq!(code_of(&["/etc/passwd"]), Some(126));
}

#[test]
fn i01_a_boot_that_cannot_be_started_again_is_127() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("boot");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut init = Init::start(&["--", program.to_str().unwrap(), "600"]);
    init.wait_for("boot", "running");
    fs::remove_file(&program).unwrap();
    let answer = init.put("/job/boot/restart");
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("cannot_start")));
    assert_eq!(init.wait_end().code(), Some(127));
}

#[test]
fn b04_init_ends_with_the_last_job_when_boot_ended_well() {
    let script = "curl -sf -o /dev/null -H 'Content-Type: application/json' \
        -d '{\"exec\":\"/bin/sleep\",\"args\":[\"0.3\"]}' http://$INIT_API/job";
    let begun = Instant::now();
    assert_eq!(code_of(&["sh", "-c", script]), Some(0));
    assert!(begun.elapsed().as_millis() >= 300);
}

#[test]
fn b04_a_failed_boot_ends_the_rest() {
    let script = "curl -sf -o /dev/null -H 'Content-Type: application/json' \
        -d '{\"exec\":\"/bin/sleep\",\"args\":[\"600\"]}' http://$INIT_API/job; exit 5";
    assert_eq!(code_of(&["sh", "-c", script]), Some(5));
}

#[test]
fn b04_stay_respawn_and_shutdown() {
    let mut stays = Init::start(&["--boot-exit", "stay", "false"]);
    assert_eq!(stays.wait_for("boot", "failed")["lastExit"], 1);
    stays.signal(Signal::SIGTERM);
    assert_eq!(stays.wait_end().code(), Some(1));

    let respawns = Init::start(&["--boot-exit", "respawn", "--", "sleep", "600"]);
    let first = respawns.job("boot")["pid"].clone();
    assert_eq!(respawns.put("/job/boot/sig/KILL").status, 204);
    wait::until("boot to be started again", || {
        let boot = respawns.job("boot");
        (boot["status"] == "running" && boot["pid"] != first).then_some(())
    });

    let mut shuts = Init::start(&["--boot-exit", "shutdown", "--", "sleep", "600"]);
    let pid = shuts.launch_job("web", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    shuts.put("/job/boot/sig/TERM");
    assert_eq!(shuts.wait_end().code(), Some(143));
    assert!(!is_alive(pid));
}

#[test]
fn b28_term_ends_everything_in_reverse_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let job = |name: &str| {
        let script = format!(
            "trap 'echo {name} >> {}; exit 0' TERM; echo up-{name} >> {0}; while :; do sleep 0.01; done",
            log.display()
        );
        json!({"exec": "/bin/sh", "args": ["-c", script], "envs": {"PATH": "/bin"}})
    };
    // The signals go out in reverse order; each job is stopped here by boot's own end, which
    // comes first.
    let boot =
        format!("trap 'echo boot >> {}; exit 4' TERM; while :; do sleep 0.01; done", log.display());
    let mut init = Init::start(&["--", "sh", "-c", &boot]);
    for name in ["a", "b", "c"] {
        init.launch_job(name, &job(name));
        wait::until("it to be up", || {
            std::fs::read_to_string(&log).ok()?.contains(&format!("up-{name}")).then_some(())
        });
    }
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(4), "the code is boot's");
    let order = std::fs::read_to_string(&log).unwrap();
    let order: Vec<_> = order.lines().filter(|line| !line.starts_with("up-")).collect();
    assert_eq!(order[0], "boot", "boot winds down first");
    assert_eq!(order.len(), 4, "{order:?}");
}

#[test]
fn b28_what_ignores_term_is_killed_after_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("ready");
    let helper = env!("CARGO_BIN_EXE_ignores_term");
    let mut init = Init::start(&["--grace", "1", "--", helper, marker.to_str().unwrap()]);
    let other = folder.path().join("other");
    let pid = init.launch_job("web", &json!({"exec": helper, "args": [other]}));
    wait::until("both to ignore TERM", || (marker.exists() && other.exists()).then_some(()));
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(137));
    assert!(!is_alive(pid));
}

#[test]
fn b28_a_second_term_kills_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("ready");
    let helper = env!("CARGO_BIN_EXE_ignores_term");
    let mut init = Init::start(&["--grace", "3600", "--", helper, marker.to_str().unwrap()]);
    wait::until("boot to ignore TERM", || marker.exists().then_some(()));
    init.signal(Signal::SIGTERM);
    init.wait_for("boot", "stopping");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(137));
}

#[test]
fn b28_pid_1_leaves_no_process_behind() {
    let mut init = Init::start_as_pid_1(&["--", "sleep", "600"]);
    assert_eq!(init.get("/job/init").json()["pid"], 1);
    // One that escapes its job's session and is nobody's any more.
    let mark = format!("61{}", std::process::id());
    init.run_script(&format!("setsid sleep {mark} & setsid sh -c 'setsid sleep {mark} &'"));
    assert_eq!(init.put("/job/init/stop").status, 202);
    assert_eq!(init.wait_end().code(), Some(143));
    let left = Command::new("pgrep").args(["-f", &format!("^sleep {mark}$")]).output().unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
}

#[test]
fn b28_a_subreaper_leaves_no_process_behind() {
    let mut init = Init::start(&["--", "sleep", "600"]);
    let mark = format!("62{}", std::process::id());
    init.run_script(&format!("setsid sleep {mark} & setsid sh -c 'setsid sleep {mark} &'"));
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(143));
    let left = Command::new("pgrep").args(["-f", &format!("^sleep {mark}$")]).output().unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
}

#[test]
fn i02_other_signals_are_forwarded_to_boot() {
    let script = "trap 'exit 41' USR1; trap 'exit 42' HUP; while :; do sleep 0.01; done";
    for (signal, code) in [(Signal::SIGUSR1, 41), (Signal::SIGHUP, 42), (Signal::SIGINT, 130)] {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("up");
        let script = script.replace("while", &format!("touch {}; while", marker.display()));
        let mut init = Init::start(&["--", "sh", "-c", &script]);
        wait::until("the traps to be set", || marker.exists().then_some(()));
        init.signal(signal);
        assert_eq!(init.wait_end().code(), Some(code), "{signal}");
    }
}

#[test]
fn b28_the_request_to_end_is_answered() {
    for _ in 0..20 {
        let mut init = Init::start(&[]);
        assert_eq!(init.put("/job/init/stop").status, 202);
        assert_eq!(init.wait_end().code(), Some(0));
    }
}
