//! Attacks that once worked, and accidents that once stopped init.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::binaries::program;
use jobinit_tests::http;
use jobinit_tests::init::Init;
use jobinit_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Backlog, listen};
use nix::unistd::Pid;
use serde_json::json;

/// Connects from a given port; with a request, sends it and resets the connection.
const CONNECT: &str = r#"
    use Socket;
    my ($to, $from, $request) = @ARGV;
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die $!;
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($s, sockaddr_in($from, INADDR_LOOPBACK)) or die $!;
    connect($s, sockaddr_in($to, INADDR_LOOPBACK)) or die $!;
    if ($request) {
        syswrite($s, $request);
        setsockopt($s, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
        close($s);
    } else {
        $| = 1; print "connected\n"; sleep 60;
    }
"#;

#[test]
fn b25_a_reset_request_is_not_the_next_clients() {
    let init = Init::start(&[]);
    let to = init.api().port().to_string();
    let from = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let body = r#"{"exec":"/bin/sleep","args":["600"]}"#;
    let request = format!(
        "PUT /job/pwn HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // While init stands still, a stranger's request is in its queue, the stranger is gone, and
    // root has a connection of the same two addresses.
    init.signal(Signal::SIGSTOP);
    let stranger = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["perl", "-e", CONNECT, &to, &from, &request])
        .status()
        .unwrap();
    assert!(stranger.success());
    let mut root = Command::new("perl")
        .args(["-e", CONNECT, &to, &from])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(root.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "connected\n");
    init.signal(Signal::SIGCONT);
    // An answer to somebody behind them in the queue shows that both have been looked at.
    let jobs = init.get("/jobs").body;
    root.kill().unwrap();
    root.wait().unwrap();
    assert_eq!(jobs, "[]\n");
}

#[test]
fn b23_a_file_that_is_no_socket_is_not_touched() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "precious").unwrap();
    let spec = json!({"exec": "/bin/sleep", "args": ["600"],
        "fds": [{"name": "s", "listen": format!("unix:{}", path.display())}]});
    assert_eq!(init.send("PUT", "/job/web", &spec).status, 409);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn b23_a_socket_whose_queue_is_full_does_not_hang_init() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let busy = UnixListener::bind(&path).unwrap();
    listen(&busy, Backlog::new(0).unwrap()).unwrap();
    let _fills_the_queue = UnixStream::connect(&path).unwrap();
    let spec = json!({"exec": "/bin/sleep", "args": ["600"],
        "fds": [{"name": "s", "listen": format!("unix:{}", path.display())}]});
    assert_eq!(init.send("PUT", "/job/web", &spec).status, 409);
    assert!(path.exists());
}

#[test]
fn b29_clients_that_gave_up_waiting_keep_no_seat() {
    let init = Init::start(&[]);
    init.launch_job("web", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    for path in ["/job/web?wait=exit", "/jobs?follow"] {
        for _ in 0..520 {
            let mut stream = TcpStream::connect(init.api()).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        }
        assert_eq!(init.get("/job/web").status, 200, "after {path}");
    }
}

#[test]
fn stop_and_end_take_what_the_main_process_leaves_behind() {
    let init = Init::start(&[]);
    let mark = format!("63{}", std::process::id());
    let ran = init.run_script(&format!("sleep {mark} & exit 3"));
    assert_eq!((&ran["status"], &ran["lastExit"]), (&json!("failed"), &json!(3)));
    let left = Command::new("pgrep").args(["-f", &format!("^sleep {mark}$")]).output().unwrap();
    assert!(left.stdout.is_empty(), "it has ended when its group is empty");
}

#[test]
fn stop_and_restart_at_once_are_both_answered() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let up = folder.path().join("up");
    let script = format!(
        "trap 'sleep 0.3; exit 0' TERM; touch {}; while :; do sleep 0.01; done",
        up.display()
    );
    let spec = json!({"exec": "/bin/sh", "args": ["-c", script], "envs": {"PATH": "/bin"}});
    init.launch_job("web", &spec);
    wait::until("the trap to be set", || up.exists().then_some(()));
    thread::scope(|scope| {
        let stop = scope.spawn(|| init.put("/job/web/stop"));
        wait::until("the stop to have begun", || {
            (init.job("web")["status"] != "running").then_some(())
        });
        assert_eq!(init.put("/job/web/restart").status, 200);
        assert_eq!(stop.join().unwrap().status, 200);
    });
    assert_eq!(init.job("web")["status"], "running");
}

#[test]
fn what_is_being_stopped_is_not_said_to_be_started() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let [up, go] = ["up", "go"].map(|name| folder.path().join(name));
    let script = format!(
        "trap 'while ! [ -e {} ]; do sleep 0.01; done; exit 0' TERM; touch {}; while :; do sleep 0.01; done",
        go.display(),
        up.display()
    );
    let spec = json!({"exec": "/bin/sh", "args": ["-c", script], "envs": {"PATH": "/bin"}});
    init.launch_job("web", &spec);
    wait::until("the trap to be set", || up.exists().then_some(()));
    thread::scope(|scope| {
        let stop = scope.spawn(|| init.put("/job/web/stop"));
        init.wait_for("web", "stopping");
        for wait in ["", "?wait=exit", "?wait=ready"] {
            let answer = init.send("PUT", &format!("/job/web{wait}"), &spec);
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (409, &json!("stopping")),
                "{wait}"
            );
        }
        let waiting = scope.spawn(|| init.get("/job/web?wait=exit"));
        fs::write(&go, "").unwrap();
        assert_eq!(stop.join().unwrap().status, 200);
        assert_eq!(waiting.join().unwrap().status, 200, "who only looks waits for the end");
    });
}

/// KiB of init's that are in memory.
fn memory(init: &Init) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", init.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn b29_who_asks_for_much_and_takes_nothing_costs_little() {
    let init = Init::start(&[]);
    let spec = json!({"exec": "/bin/true", "args": ["x".repeat(120_000), "y".repeat(120_000)]});
    let count = 100;
    for job in 0..count {
        assert_eq!(init.send("PUT", &format!("/job/j{job}?wait=exit"), &spec).status, 201);
    }
    let before = memory(&init);
    let list = "GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let clients = [(); 30].map(|()| {
        let mut client = TcpStream::connect(init.api()).unwrap();
        client.write_all(list.as_bytes()).unwrap();
        // It has its first bytes: all that is made of the answer at once is there.
        client.read_exact(&mut [0; 64]).unwrap();
        client
    });
    let more = memory(&init).saturating_sub(before);
    // Of the list there are 24 MB.
    assert!(more < 60 * 1024, "{before} KiB and {more} more");
    drop(clients);
    let all = init.get("/jobs").json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), count);
    assert!(all.iter().all(|job| job["spec"] == spec), "each of them is whole");
}

#[test]
fn b28_a_restart_does_not_outlive_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let helper = env!("CARGO_BIN_EXE_ignores_term");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut init = Init::start(&["--grace", "1", "--", helper, one.to_str().unwrap()]);
    init.launch_job("web", &json!({"exec": helper, "args": [two], "stop": {"timeout_ms": 20_000}}));
    wait::until("both to ignore TERM", || (one.exists() && two.exists()).then_some(()));
    let api = init.api();
    let restart = thread::spawn(move || {
        // init may end before it answers.
        let request = b"PUT /job/web/restart HTTP/1.1\r\nHost: localhost\r\n\r\n";
        http::raw(api, request).unwrap_or_default()
    });
    init.wait_for("web", "stopping");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(137));
    restart.join().unwrap();
}

#[test]
fn b28_zombies_of_somebody_else_do_not_keep_init() {
    // The group's last member is dead, and its parent, which has left the group, does not reap it.
    let script = "import os, sys, time\n\
        if os.fork() == 0:\n\
        \x20   if os.fork() == 0: os._exit(0)\n\
        \x20   os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n\
        \x20   os.setsid(); open(sys.argv[1], 'w'); time.sleep(600)\n\
        time.sleep(600)\n";
    let folder = tempfile::tempdir().unwrap();
    let up = folder.path().join("up");
    let mut init = Init::start(&["--grace", "2"]);
    let path = std::env::var("PATH").unwrap();
    let spec = json!({"exec": "python3", "args": ["-c", script, up], "envs": {"PATH": path},
        "stop": {"timeout_ms": 300}});
    init.launch_job("web", &spec);
    wait::until("the zombie", || up.exists().then_some(()));
    assert_eq!(init.put("/job/web/stop").json()["status"], "success");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(0));
}

#[test]
fn b18_no_supplementary_group_is_inherited() {
    let mut command = Command::new("setpriv");
    command.args(["--groups", "4,27"]).arg(program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let spec =
        json!({"exec": "grep", "args": ["Groups:", "/proc/self/status"], "stdout": {"file": out}});
    assert_eq!(init.send("POST", "/job?wait=exit", &spec).status, 201);
    assert_eq!(std::fs::read_to_string(out).unwrap().trim_end(), "Groups:\t".trim_end());
}

#[test]
fn b03_boot_gets_its_bytes_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let run = Command::new("env")
        .arg("=odd=name")
        .arg(program("init"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--",
            "sh",
            "-c",
            "printf %s \"$1\" | od -An -tx1; echo $MARK",
            "x",
        ])
        .arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"))
        .env("MARK", "mark")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["ff", "fe", "mark"], "{run:?}");
}

#[test]
fn b29_a_log_that_nobody_reads_does_not_stop_init() {
    let mut child = Command::new(program("init"))
        .args(["--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One line is read, and then nothing more.
    let mut stderr = child.stderr.take().unwrap();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stderr.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let api: SocketAddr = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let json = "Content-Type: application/json\r\n";
    for number in 0..600 {
        let body = format!("{{\"exec\":\"/{}{number}\"}}", "a".repeat(240));
        let answer = http::request(api, "PUT", "/job/x", json, &body);
        assert_eq!(answer.status, 400);
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stderr);
}

#[test]
fn b29_a_name_in_the_log_forges_no_line() {
    let init = Init::start(&[]);
    init.send("PUT", "/job/x", &json!({"exec": "/a\ninit: listening on the moon"}));
    assert!(init.log_line("cannot start").contains("listening on the moon"));
}

#[test]
fn b29_a_long_name_and_a_long_path_are_refused() {
    let init = Init::start(&[]);
    let envs = json!({"PATH": "/a:".repeat(40_000)});
    for exec in ["a".repeat(256), format!("/{}", "a".repeat(4095))] {
        let answer = init.send("PUT", "/job/x", &json!({"exec": exec, "envs": envs}));
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("exec")));
    }
    let many = init.send("PUT", "/job/x", &json!({"exec": "a", "envs": envs}));
    assert_eq!((many.status, &many.json()["errno"]), (400, &json!("ENOENT")));
}

#[test]
fn b24_jobs_that_end_at_once_leave_time_for_others() {
    let init = Init::start(&[]);
    let noop = env!("CARGO_BIN_EXE_noop");
    let spec = json!({"exec": noop, "restart": {"policy": "always", "delay_ms": 0}});
    for number in 0..100 {
        init.launch_job(&format!("storm-{number}"), &spec);
    }
    for _ in 0..100 {
        assert_eq!(init.get("/job/storm-0").status, 200);
    }
    for number in 0..100 {
        assert_eq!(init.put(&format!("/job/storm-{number}/stop")).json()["status"], "success");
    }
    let jobs = init.get("/jobs").json();
    assert!(jobs.as_array().unwrap().iter().all(|job| job["status"] == "success"), "{jobs}");
}

#[test]
fn b29_a_child_that_is_stopped_before_exec_does_not_stop_init() {
    // Whoever a child is about to run as may stop it as soon as it has become him.
    let init = Init::start_as_pid_1(&[]);
    let stopper = json!({"exec": "/usr/bin/perl", "args": ["-e", "kill STOP => -1 while 1"],
        "user": 65534, "group": 65534});
    init.launch_job("stopper", &stopper);
    let spec = json!({"exec": "/bin/true", "user": 65534, "group": 65534});
    let late = (0..2000).find_map(|_| {
        let began = Instant::now();
        let answer = init.send("PUT", "/job/victim", &spec);
        if began.elapsed() >= Duration::from_millis(100) {
            return Some((answer, began.elapsed()));
        }
        // Stopped after exec is a job like any other.
        init.put("/job/victim/sig/KILL");
        init.get("/job/victim?wait=exit");
        None
    });
    assert_eq!(init.get("/job/stopper").json()["status"], "running");
    // It is told to go on until it has exec'ed, or given up in the end.
    let (answer, took) = late.expect("with this many tries one is hit");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(
        answer.status == 201 || answer.json()["errno"] == "ETIMEDOUT",
        "started in the end, or given up: {answer:?}"
    );
}

#[test]
fn b29_connections_that_always_ask_keep_no_signal_out() {
    let mut init = Init::start(&[]);
    let (stop, api) = (AtomicBool::new(false), init.api());
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let batch = "GET /job/init HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
                let mut stream = TcpStream::connect(api).unwrap();
                let mut buffer = vec![0; 64 * 1024];
                while !stop.load(Ordering::Relaxed) {
                    // It ends with init.
                    if stream.write_all(batch.as_bytes()).is_err()
                        || !stream.read(&mut buffer).is_ok_and(|length| length > 0)
                    {
                        return;
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        let answer =
            init.send("PUT", "/job/a?wait=exit", &json!({"exec": env!("CARGO_BIN_EXE_noop")}));
        assert_eq!(answer.json()["lastExit"], 0, "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        init.signal(Signal::SIGTERM);
        let began = Instant::now();
        init.wait_end();
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
}
