//! What a job's process is started with: exactly what its spec says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use jobinit_tests::binaries::program;
use jobinit_tests::init::Init;
use serde_json::{Value, json};

const SHOWS: &str = env!("CARGO_BIN_EXE_shows_itself");

/// Runs `shows_itself` with `changes` to its spec and answers what it showed.
pub(crate) fn show(init: &Init, changes: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    // Other users must be able to write there.
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), open).unwrap();
    let file = folder.path().join("shown");
    let mut spec = json!({"exec": SHOWS, "args": [file]});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let answer = init.send("POST", "/job?wait=exit", &spec);
    assert_eq!((answer.status, &answer.json()["lastExit"]), (201, &json!(0)), "{answer:?}");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn b17_the_environment_is_exactly_envs() {
    let init = Init::start(&[]);
    assert_eq!(show(&init, &json!({}))["envs"], json!({}));
    let envs = json!({"A": "1", "EMPTY": "", "PATH": "/nowhere", "LINES": "a\nb=c"});
    assert_eq!(show(&init, &json!({"envs": envs}))["envs"], envs);
}

#[test]
fn b18_nothing_of_init_leaks() {
    let mut command = Command::new("setpriv");
    // A canary in the environment, an extra descriptor, an extra group, a blocked and an ignored
    // signal: init is started with all of them.
    command.args(["--groups", "4242", "env", "CANARY=1", "bash", "-c"]);
    let init = program("init");
    let script = format!(
        "trap '' HUP USR1; exec 9</etc/passwd; exec python3 -c 'import os,signal\n\
         signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGRTMIN])\n\
         os.set_inheritable(9, True)\n\
         os.execv(\"{0}\", [\"init\", \"--listen\", \"127.0.0.1:0\"])'",
        init.display()
    );
    command.arg(script);
    let init = Init::launch(command);
    let shown = show(&init, &json!({"user": "nobody"}));
    assert_eq!(shown["envs"], json!({}));
    assert_eq!(shown["blocked"], "0000000000000000");
    let fds: Vec<_> = shown["fds"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fds, ["0", "1", "2"], "{shown}");
    assert!(!shown["groups"].as_array().unwrap().contains(&json!(4242)), "{shown}");
    assert_eq!(shown["umask"], "0022");
    assert_eq!((&shown["session"], &shown["group"]), (&shown["pid"], &shown["pid"]));

    // Rust programs ignore SIGPIPE themselves, so somebody else must show what is ignored.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("status");
    let spec = json!({"exec": "/bin/grep", "args": ["SigIgn", "/proc/self/status"],
        "stdout": {"file": file}});
    assert_eq!(init.send("POST", "/job?wait=exit", &spec).status, 201);
    assert_eq!(fs::read_to_string(file).unwrap(), "SigIgn:\t0000000000000000\n");
}

#[test]
fn b19_user_and_groups_are_exact() {
    let init = Init::start(&[]);
    let nobody = show(&init, &json!({"user": "nobody"}));
    assert_eq!((&nobody["uid"], &nobody["gid"]), (&json!(65534), &json!(65534)));
    assert_eq!(nobody["groups"], json!([65534]));
    let given = show(&init, &json!({"user": 1234, "group": "5678", "groups": [7, "8"]}));
    assert_eq!(
        (&given["uid"], &given["gid"], &given["groups"]),
        (&json!(1234), &json!(5678), &json!([7, 8]))
    );
    for (field, value) in
        [("user", json!("nosuch")), ("group", json!("nosuch")), ("user", json!(4_294_967_295_u32))]
    {
        let answer = init.send("PUT", "/job/x", &json!({"exec": SHOWS, field: value}));
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{answer:?}");
        assert_eq!(init.get("/job/x").status, 404);
    }
}

#[test]
fn b20_what_cannot_start_says_where_and_why() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    for (spec, stage, errno) in [
        (json!({"exec": "/nosuch"}), "exec", "ENOENT"),
        (json!({"exec": "nosuch"}), "exec", "ENOENT"),
        (json!({"exec": "true", "envs": {"PATH": "/nowhere"}}), "exec", "ENOENT"),
        (json!({"exec": plain}), "exec", "EACCES"),
        (json!({"exec": "/etc"}), "exec", "EACCES"),
        (json!({"exec": "/bin/true", "cwd": "/nosuch"}), "chdir", "ENOENT"),
        (json!({"exec": "/bin/true", "cwd": "/root", "user": "nobody"}), "chdir", "EACCES"),
        (json!({"exec": "/bin/true", "stdout": {"file": "/nosuch/log"}}), "stdout", "ENOENT"),
        (json!({"exec": "/bin/true", "stdin": {"file": "/nosuch"}}), "stdin", "ENOENT"),
        (json!({"exec": "/bin/true", "args": ["x".repeat(200_000)]}), "exec", "E2BIG"),
    ] {
        let answer = init.send("PUT", "/job/x", &spec);
        let told = answer.json();
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert_eq!((&told["stage"], &told["errno"]), (&json!(stage), &json!(errno)), "{spec}");
        assert_eq!(init.get("/jobs").json(), json!([]), "no phantom after {spec}");
    }
    // A failed replacement leaves what was there.
    init.launch_job("x", &json!({"exec": "/bin/false"}));
    init.wait_for("x", "failed");
    assert_eq!(init.send("PUT", "/job/x", &json!({"exec": "/nosuch"})).status, 400);
    assert_eq!(init.job("x")["spec"]["exec"], "/bin/false");
}

#[test]
fn b20_bad_specs_name_the_field() {
    let init = Init::start(&[]);
    for (spec, field) in [
        (json!({}), "exec"),
        (json!({"exec": ""}), "exec"),
        (json!({"exec": 7}), "exec"),
        (json!({"exec": "/bin/true", "argz": []}), "argz"),
        (json!({"exec": "/bin/true", "args": "x"}), "args"),
        (json!({"exec": "/bin/true", "cwd": "relative"}), "cwd"),
        (json!({"exec": "/bin/true", "envs": {"A": 1}}), "envs.A"),
        (json!({"exec": "/bin/true", "restart": {"policy": "sometimes"}}), "restart.policy"),
        (json!({"exec": "/bin/true", "restart": {"delay_ms": -1}}), "restart.delay_ms"),
        (json!({"exec": "/bin/true", "stop": {"signal": "NOPE"}}), "stop.signal"),
        (json!({"exec": "/bin/true", "stdout": "nowhere"}), "stdout"),
    ] {
        let answer = init.send("PUT", "/job/x", &spec);
        assert_eq!(answer.status, 400, "{spec}");
        let told = answer.json();
        let named = told["field"] == field || told["message"].as_str().unwrap().contains(field);
        assert!(named, "{spec}: {told}");
        assert_eq!(init.get("/jobs").json(), json!([]));
    }
}

#[test]
fn b21_output_is_appended_to_files() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (out, input) = (folder.path().join("out"), folder.path().join("in"));
    fs::write(&out, "before\n").unwrap();
    fs::write(&input, "from a file\n").unwrap();
    let spec = json!({"exec": "/bin/cat", "stdin": {"file": input}, "stdout": {"file": out}});
    assert_eq!(init.send("POST", "/job?wait=exit", &spec).status, 201);
    assert_eq!(fs::read_to_string(out).unwrap(), "before\nfrom a file\n");
}

#[test]
fn b21_a_pipe_without_a_reader_does_not_hang_init() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let answer =
        init.send("PUT", "/job/x", &json!({"exec": "/bin/true", "stdout": {"file": pipe}}));
    assert_eq!((answer.status, &answer.json()["errno"]), (400, &json!("ENXIO")));
}

#[test]
fn b24_a_restart_that_cannot_start_is_the_jobs_affair() {
    // Who waits for the end of a job that was started is told of that end, not of a failed restart.
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let program = folder.path().join("once");
    std::fs::write(&program, "#!/bin/sh\nrm $0\nexit 1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let spec = json!({
        "exec": program.to_str().unwrap(), "envs": {"PATH": "/usr/bin:/bin"},
        "restart": {"policy": "always", "delay_ms": 20, "limit": 3},
    });
    let answer = init.send("PUT", "/job/a?wait=exit", &spec);
    assert_eq!((answer.status, &answer.json()["status"]), (201, &json!("failed")), "{answer:?}");
    let why = answer.json()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("ENOENT"), "{why}");
}

#[test]
fn b20_a_body_that_is_no_object_says_so() {
    let init = Init::start(&[]);
    for (body, message) in [("", "the body is empty"), ("[\"/bin/true\"]", "a JSON object")] {
        let json = "Content-Type: application/json\r\n";
        let answer = jobinit_tests::http::request(init.api(), "POST", "/job", json, body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains(message), "{answer:?}");
    }
}

#[test]
fn b20_too_few_descriptors_are_said_to_be_too_few() {
    let mut command = Command::new("sh");
    let script = "ulimit -n 64; exec \"$0\" --listen 127.0.0.1:0";
    command.args(["-c", script]).arg(program("init"));
    let init = Init::launch(command);
    for stdout in ["log", "null"] {
        let answer = init.send("PUT", "/job/x", &json!({"exec": "true", "stdout": stdout}));
        let json = answer.json();
        assert_eq!((answer.status, &json["errno"]), (503, &json!("EMFILE")), "{json}");
        let message = json["message"].as_str().unwrap();
        assert!(message.contains("RLIMIT_NOFILE") && message.contains("1024"), "{message}");
    }
    assert_eq!(init.get("/jobs").json(), json!([]));
}
