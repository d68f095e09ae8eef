//! init becomes another init, in place, and nobody notices.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use jobinit_tests::binaries::program;
use jobinit_tests::http::{self, Answer, Client, Follower};
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::load::{Collector, Done, Load, script, starts_and_runs};
use jobinit_tests::wait;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A program on disk that can be replaced.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.put(&program("init"));
        disk
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("init")
    }

    /// Puts another program there, as package managers do.
    fn put(&self, program: &Path) {
        let new = self.0.path().join("new");
        fs::copy(program, &new).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    fn put_text(&self, text: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    fn start(&self, words: &[&str]) -> Init {
        let mut command = Command::new(self.path());
        command.args(["--listen", "127.0.0.1:0"]).args(words);
        Init::launch(command)
    }
}

/// A build of another version.
fn another_version() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("init");
    assert!(path.exists(), "{} is built with the tests of init", path.display());
    path
}

#[track_caller]
fn renew(init: &Init) -> Value {
    let answer = init.put("/job/init/restart");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Reads the output of all jobs, by one answer after the other, each of which ends when init becomes
/// another one.
fn collect(api: SocketAddr, stop: &AtomicBool) -> Collector {
    let mut collector = Collector::default();
    while !stop.load(Ordering::Relaxed) {
        let mut events = Follower::start(api, &collector.path());
        while let Some(event) = events.json()
            && !stop.load(Ordering::Relaxed)
        {
            collector.take(&event);
        }
    }
    collector
}

#[test]
fn i10_a_hundred_times_under_load() {
    let disk = Disk::new();
    let init = disk.start(&["--", "sleep", "1000"]);
    let api = init.api();
    let load = Load::start(&init, env!("CARGO_BIN_EXE_floods"));
    let (done, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    let goes_on = || !done.load(Ordering::Relaxed);

    let got = thread::scope(|scope| {
        // A connection that is kept, quick questions.
        scope.spawn(|| {
            let mut client = Client::connect(api);
            while goes_on() {
                let answer = client.ask("GET", "/job/counter", "");
                assert_eq!((answer.status, &answer.json()["pid"]), (200, load.counter()));
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Another one, with questions that wait.
        scope.spawn(|| {
            let mut client = Client::connect(api);
            for round in 0_u32.. {
                let spec = script(&format!("sleep 0.03; exit {}", round % 200)).to_string();
                let answer = client.ask("PUT", "/job/short?wait=exit", &spec);
                assert_eq!(answer.status, 201, "{answer:?}");
                assert_eq!(answer.json()["lastExit"], round % 200);
                if !goes_on() {
                    return;
                }
            }
        });
        // A new connection each.
        scope.spawn(|| {
            while goes_on() {
                let answer = http::request(api, "GET", "/jobs", "", "");
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
        let collector = scope.spawn(|| collect(api, &done));
        // Also when this ends by a panic.
        let done = Done(&done);
        let versions = [program("init"), another_version()];
        for round in 0..100 {
            disk.put(&versions[(round + 1) % 2]);
            let about = renew(&init);
            let is_debug = about["version"].as_str().unwrap().ends_with("+debug");
            assert_eq!(is_debug, round % 2 == 0, "it is the one on disk: {about}");
            assert_eq!(about["pid"].as_i64().unwrap(), i64::from(init.pid().as_raw()));
        }
        drop(done);
        collector.join().unwrap()
    });

    assert!(asked.load(Ordering::Relaxed) > 100);
    load.check(&init);
    assert!(got.lines("counter") > 100 && got.lines("flood") > 10_000);
    // A run that has just begun has not written yet.
    wait::until("as many runs as starts", || {
        let (starts, runs) = starts_and_runs(&init);
        (starts == runs).then_some(())
    });
}

#[test]
fn i10_starts_without_a_pause_are_no_obstacle() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    let spec =
        json!({"exec": "true", "restart": {"policy": "always", "delay_ms": 1, "factor": 1.0}});
    for n in 0..60 {
        init.launch_job(&format!("j{n}"), &spec);
    }
    for _ in 0..5 {
        renew(&init);
    }
    for n in 0..60 {
        let job = format!("j{n}");
        let before = init.job(&job)["respawn"].as_u64().unwrap();
        wait::until("more of it", || {
            (init.job(&job)["respawn"].as_u64().unwrap() > before).then_some(())
        });
    }
}

#[test]
fn i10_every_question_gets_its_own_answer() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..6 {
            let (mut client, done) = (Client::connect(init.api()), &done);
            scope.spawn(move || {
                let job = format!("/job/j{n}");
                let sleep = json!({"exec": "sleep", "args": ["1000"]}).to_string();
                let missing = json!({"exec": "/not/there"}).to_string();
                while !done.load(Ordering::Relaxed) {
                    for (method, path, body, status) in [
                        ("PUT", job.clone(), &*sleep, 201),
                        ("PUT", format!("{job}/sig/CONT"), "", 204),
                        ("DELETE", job.clone(), "", 409),
                        ("GET", job.clone(), "", 200),
                        ("PUT", format!("{job}/stop"), "", 200),
                        ("DELETE", job.clone(), "", 204),
                        ("DELETE", job.clone(), "", 404),
                        ("PUT", job.clone(), &*missing, 400),
                    ] {
                        let answer = client.ask(method, &path, body);
                        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
                    }
                }
            });
        }
        // Also when this ends by a panic.
        let _done = Done(&done);
        for _ in 0..60 {
            renew(&init);
        }
    });
}

#[test]
fn i10_what_is_asked_at_the_last_moment_is_done() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    // Bodies that come to their end just when nobody is waited for any more.
    let asked: Vec<_> = (480..640).step_by(10).collect();
    let missing = |delay: &u64| delay.is_multiple_of(20);
    thread::scope(|scope| {
        let clients: Vec<_> = asked
            .iter()
            .map(|delay| {
                let exec = if missing(delay) { "/not/there" } else { "true" };
                let body = json!({ "exec": exec }).to_string();
                let head = format!(
                    "PUT /job/j{delay} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let mut stream = TcpStream::connect(init.api()).unwrap();
                stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
                stream.write_all(head.as_bytes()).unwrap();
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(*delay));
                    let mut answer = String::new();
                    // Who is too late is cut off.
                    let _ = stream.write_all(body.as_bytes());
                    let _ = stream.read_to_string(&mut answer);
                    answer.split(' ').nth(1).map(str::to_owned)
                })
            })
            .collect();
        renew(&init);
        for (delay, client) in asked.iter().zip(clients) {
            let status = client.join().unwrap();
            let right = if missing(delay) { "400" } else { "201" };
            assert!(status.as_ref().is_none_or(|status| status == right), "{delay}: {status:?}");
        }
    });
}

#[test]
fn i10_a_program_that_cannot_go_on_is_not_become() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    let pid = init.launch_job("job", &json!({"exec": "sleep", "args": ["1000"]}));
    let refused = |why: &str| {
        let answer = init.put("/job/init/restart");
        let json = answer.json();
        assert_eq!((answer.status, &json["error"]), (409, &json!("cannot_restart")), "{answer:?}");
        assert!(json["message"].as_str().unwrap().contains(why), "{json}");
        assert_eq!(init.job("job")["pid"], pid);
    };
    disk.put(Path::new("/bin/true"));
    refused("exit code 0");
    disk.put(Path::new("/bin/false"));
    refused("exit code 1");
    disk.put_text("no program\n");
    refused("cannot be run");
    disk.put_text("#!/bin/sh\nkill -SEGV $$\n");
    refused("SIGSEGV");
    disk.put_text("#!/bin/sh\nexec sleep 100\n");
    refused("too long");
    fs::remove_file(disk.path()).unwrap();
    refused("cannot be run");
    disk.put(&program("init"));
    renew(&init);
    assert_eq!(init.job("job")["pid"], pid);
}

#[test]
fn i10_everything_that_is_kept_is_still_there() {
    let disk = Disk::new();
    let mut init =
        disk.start(&["--", "/bin/sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"]);
    // One that is not ready, one that waits for its restart, one with a terminal, one with a socket.
    let mark = disk.0.path().join("mark");
    let mut unready = script("until test -e $MARK; do sleep 0.01; done; echo >&3; exec sleep 1000");
    unready["envs"]["MARK"] = json!(mark);
    unready["ready"] = json!({"fd": 3});
    init.launch_job("unready", &unready);
    let mut resting = script("exit 1");
    resting["restart"] = json!({"policy": "always", "delay_ms": 600});
    init.launch_job("resting", &resting);
    let resting = init.wait_for("resting", "backoff");
    init.launch_job("tty", &json!({"exec": "/bin/cat", "tty": true}));
    let socket = json!({"exec": "sleep", "args": ["1000"], "fds": [{"name": "a", "listen": "tcp:127.0.0.1:0"}]});
    let holder = init.launch_job("socket", &socket);
    let inode = |pid: u64| fs::read_link(format!("/proc/{pid}/fd/3")).unwrap();
    let socket = inode(holder);
    init.send("PUT", "/job/ended?wait=exit", &script("exit 9"));
    let before = init.get("/job/ended").body;

    renew(&init);
    assert_eq!(init.get("/job/ended").body, before);
    assert_eq!(init.job("unready")["status"], "starting");
    fs::write(mark, "").unwrap();
    init.wait_for("unready", "running");
    assert_eq!(init.job("resting")["nextStart"], resting["nextStart"]);
    wait::until("its restart", || (init.job("resting")["respawn"] == 1).then_some(()));
    http::request(init.api(), "PUT", "/job/tty/stdin", "", "hello\n");
    wait::until("the terminal's echo", || {
        init.get("/job/tty/stdout").body.contains("hello\r\nhello\r\n").then_some(())
    });
    init.put("/job/socket/restart");
    let pid = init.job("socket")["pid"].as_u64().unwrap();
    assert_eq!(inode(pid), socket, "the same socket, for the next run");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(7), "boot is told, and its code is init's");
    assert!(!is_alive(pid));
}

#[test]
fn i10_trees_and_strangers_are_still_known() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    // One whose children escape, and one that init has not started.
    let spec = script("setsid sleep 1000 & setsid sleep 1000 & sleep 1000");
    let leader = init.launch_job("tree", &spec);
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = init.launch_job("adopted", &json!({"adopt": stranger.id()}));
    let detached = init.launch_job("detached", &json!({"exec": "sleep", "args": ["1000"]}));
    init.put("/job/detached/detach");
    renew(&init);
    renew(&init);
    assert_eq!(init.put("/job/tree/stop").status, 200);
    assert!(!is_alive(leader));
    wait::until("the escaped to be gone", || {
        let all = Command::new("pgrep").args(["-P", &init.pid().to_string()]).output().unwrap();
        let left = String::from_utf8(all.stdout).unwrap();
        (left.lines().eq([detached.to_string()])).then_some(())
    });
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(init.wait_for("adopted", "failed")["pid"], Value::Null);
    let again = init.send("PUT", "/job/back", &json!({"adopt": detached}));
    assert_eq!(again.json()["pid"], detached, "{pid}");
    assert_eq!(init.put("/job/back/stop").status, 200);
}

#[test]
fn i10_as_pid_1_and_with_tokens() {
    let disk = Disk::new();
    fs::write(disk.0.path().join("tokens"), "0123456789abcdef control\n").unwrap();
    fs::set_permissions(disk.0.path().join("tokens"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-pf", "--mount-proc", "--kill-child"]).arg(disk.path());
    command.args(["--listen", "127.0.0.1:0", "--auth", "token", "--token-file", "tokens"]);
    command.current_dir(disk.0.path());
    let init = Init::launch(command);
    let token = "Authorization: Bearer 0123456789abcdef\r\n";
    let ask = |method: &str, path: &str| http::request(init.api(), method, path, token, "");
    for _ in 0..3 {
        let answer = ask("PUT", "/job/init/restart");
        assert_eq!((answer.status, &answer.json()["pid"]), (200, &json!(1)), "{answer:?}");
    }
    assert_eq!(init.get("/jobs").status, 401);
}

/// The answers to two who want a renewal at once.
fn renew_twice(init: &Init) -> [Answer; 2] {
    thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| init.put("/job/init/restart")));
        both.map(|one| one.join().unwrap())
    })
}

#[test]
fn i10_two_at_once() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    let mut waiting = Client::connect(init.api());
    let spec = script("sleep 0.4; exit 5").to_string();
    waiting.send("PUT", "/job/w?wait=exit", &spec);
    init.wait_for("w", "running");
    let mut codes = renew_twice(&init).map(|answer| answer.status);
    codes.sort_unstable();
    assert!(codes == [200, 409] || codes == [200, 200], "{codes:?}");
    let answer = waiting.receive();
    assert_eq!((answer.status, &answer.json()["lastExit"]), (201, &json!(5)));
}

#[test]
fn i10_who_cannot_be_become_after_all_is_given_up() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    let shell = disk.0.path().join("sh");
    // Its interpreter is gone by then; or another program is in its place; or none.
    let first_line = format!("#!{}\n", shell.display());
    let says = "echo 'init can read this state'\n";
    let gone = format!("{first_line}rm {}\n{says}", shell.display());
    let another = format!("{first_line}cp /bin/true $0.new; mv $0.new $0\n{says}");
    let none = format!("{first_line}rm $0\n{says}");
    let mut kept = Client::connect(init.api());
    let follower = Follower::start(init.api(), "/jobs?follow");
    let pid = init.launch_job("job", &json!({"exec": "sleep", "args": ["1000"]}));
    let rounds = [
        (&gone, "No such file"),
        (&another, "there is another one by now, which was not tried"),
        (&none, "No such file"),
    ];
    for (round, (program, why)) in rounds.into_iter().enumerate() {
        fs::copy("/bin/sh", &shell).unwrap();
        disk.put_text(program);
        let mut waiting = Client::connect(init.api());
        let job = format!("w{round}");
        let mut spec = script("read line; exit 5");
        spec["stdin"] = json!("pipe");
        waiting.send("PUT", &format!("/job/{job}?wait=exit"), &spec.to_string());
        init.wait_for(&job, "running");
        let why = format!("init cannot become {}: {why}", disk.path().display());
        let answers = renew_twice(&init);
        let tells = |answer: &Answer, what: &str| answer.body.contains(what);
        // One that comes later tries what is there then.
        assert!(answers.iter().all(|answer| answer.status == 409), "{answers:?}");
        assert!(answers.iter().any(|answer| tells(answer, &why)), "{answers:?}");
        assert_eq!(kept.ask("GET", "/job/job", "").json()["pid"], pid);
        http::request(init.api(), "PUT", &format!("/job/{job}/stdin"), "", "line\n");
        let answer = waiting.receive();
        assert_eq!((answer.status, &answer.json()["lastExit"]), (201, &json!(5)));
    }
    assert!(follower.rest().contains("\"job\""), "what has no end has ended");
    disk.put(&program("init"));
    renew(&init);
    assert_eq!(kept.ask("GET", "/job/job", "").json()["pid"], pid);
}

/// Whether an init can read this state, and what it says.
fn read_state(program: &Path, state: &Path) -> (bool, String) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" --listen 127.0.0.1:0 3<\"$1\""]).args([program, state]);
    let run = command.env("INIT_STATE_CHECK", "3").output().unwrap();
    let said = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    (run.status.success(), said)
}

#[test]
fn i10_a_state_is_read_as_far_as_it_is_known() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    init.launch_job("job", &json!({"exec": "sleep", "args": ["1000"]}));
    let copy = disk.0.path().join("state");
    disk.put_text(&format!("#!/bin/sh\ncat <&3 >{}\nexit 1\n", copy.display()));
    assert_eq!(init.put("/job/init/restart").status, 409);
    let state = fs::read_to_string(&copy).unwrap();
    let (line, rest) = state.split_once('\n').unwrap();
    let (format, length) = line.rsplit_once(' ').unwrap();
    let json: Value = serde_json::from_str(&rest[..length.parse().unwrap()]).unwrap();
    let reads = |format: &str, json: &Value| {
        let json = json.to_string();
        fs::write(&copy, format!("{format} {}\n{json}", json.len())).unwrap();
        read_state(&program("init"), &copy)
    };
    let can = (true, "init can read this state\n".to_owned());
    assert_eq!(reads(format, &json), can);
    // What a later init knows.
    let mut later = json.clone();
    later["moods"] = json!({"of": ["all", "jobs"]});
    later["table"]["jobs"][0]["mood"] = json!("good");
    later["table"]["jobs"][0]["job"]["state"]["Running"]["mood"] = json!("good");
    assert_eq!(reads(format, &later), can);
    // What none knows, and what is missing.
    let (is_read, said) = reads("jobinit-state 1000", &json);
    assert!(!is_read && said.contains("whose format is another"), "{said}");
    let mut less = json;
    less.as_object_mut().unwrap().remove("table");
    let (is_read, said) = reads(format, &less);
    assert!(!is_read && said.contains("missing field `table`"), "{said}");
    fs::write(&copy, "").unwrap();
    assert!(!read_state(&program("init"), &copy).0);
}

#[test]
fn i10_who_follows_goes_on_where_he_was() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    let mut events = Follower::start(init.api(), "/jobs?follow");
    let ready = events.json().unwrap();
    assert_eq!(ready["event"], "ready");
    init.launch_job("before", &json!({"exec": "sleep", "args": ["1000"]}));
    renew(&init);
    let seen = std::iter::from_fn(|| events.json()).last().unwrap();
    assert_eq!(seen["job"]["id"], "before", "the answer has ended after it");
    init.launch_job("after", &json!({"exec": "sleep", "args": ["1000"]}));
    let place = format!("{}:{}", ready["life"].as_str().unwrap(), seen["seq"]);
    let path = format!("/jobs?follow&from={place}");
    let next = Follower::start(init.api(), &path).json().unwrap();
    assert_eq!((&next["event"], &next["job"]["id"]), (&json!("job"), &json!("after")), "{next}");
    assert_eq!(next["seq"].as_u64().unwrap(), seen["seq"].as_u64().unwrap() + 1);
}

#[test]
fn i10_what_is_left_of_a_body_is_no_request() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    init.launch_job("cat", &json!({"exec": "cat", "stdin": "pipe"}));
    let smuggled = "PUT /job/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Type: \
        application/json\r\nContent-Length: 15\r\n\r\n{\"exec\":\"true\"}";
    for round in 0..20 {
        let mut stream = TcpStream::connect(init.api()).unwrap();
        let path = if round % 2 == 0 { "/job/cat/stdin" } else { "/job/cat/sig/0" };
        let head =
            format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let text = smuggled.repeat(20);
        stream.write_all(text.as_bytes()).unwrap();
        renew(&init);
        // It may be closed by now.
        let _ = stream.write_all(text.as_bytes());
    }
    assert_eq!(init.get("/job/smuggled").status, 404);
}

#[test]
fn i10_options_that_do_not_hold_any_more_keep_the_old_one() {
    let disk = Disk::new();
    let tokens = disk.0.path().join("tokens");
    fs::write(&tokens, "0123456789abcdef control\n").unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let init = disk.start(&["--token-file", tokens.to_str().unwrap()]);
    renew(&init);
    fs::remove_file(&tokens).unwrap();
    let answer = init.put("/job/init/restart");
    assert_eq!((answer.status, &answer.json()["error"]), (409, &json!("cannot_restart")));
    assert_eq!(init.get("/jobs").status, 200);
}

#[test]
fn i10_all_who_wait_are_answered() {
    let disk = Disk::new();
    let init = disk.start(&[]);
    let mut clients: Vec<_> = (0..60)
        .map(|n| {
            let mut client = Client::connect(init.api());
            let spec = json!({"exec": "sleep", "args": ["1000"]}).to_string();
            client.send("PUT", &format!("/job/w{n}?wait=exit"), &spec);
            client
        })
        .collect();
    wait::until("all to run", || {
        let jobs = init.get("/jobs").json();
        (jobs.as_array().unwrap().iter().filter(|job| job["status"] == "running").count() == 60)
            .then_some(())
    });
    let pids: Vec<_> =
        (0..60).map(|n| init.job(&format!("w{n}"))["pid"].as_i64().unwrap()).collect();
    thread::scope(|scope| {
        scope.spawn(|| renew(&init));
        for pid in pids {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        }
    });
    for client in &mut clients {
        let answer = client.receive();
        assert_eq!((answer.status, &answer.json()["lastExit"]), (201, &json!("SIGKILL")));
    }
}

#[test]
fn i10_the_program_is_the_one_that_the_path_names_now() {
    let disk = Disk::new();
    let link = disk.0.path().join("link");
    std::os::unix::fs::symlink(disk.path(), &link).unwrap();
    let mut command = Command::new(&link);
    command.args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(another_version(), &link).unwrap();
    assert!(renew(&init)["version"].as_str().unwrap().ends_with("+debug"));
}

#[test]
fn i10_a_variable_that_says_nothing_is_nothing() {
    for name in ["INIT_STATE", "INIT_STATE_CHECK"] {
        let mut command = Command::new(program("init"));
        command.args(["--listen", "127.0.0.1:0", "--", "sleep", "1000"]).env(name, "77");
        let init = Init::launch(command);
        assert_eq!(init.job("boot")["status"], "running", "{name}");
    }
}
