//! The kernel fails init: whatever runs out, init answers, reaps, and holds the same jobs after.
//!
//! `strace` makes the kernel's answers fail while requests come in; limits of the process and of
//! its file systems do it without help.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::binaries::program;
use jobinit_tests::http;
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const NOOP: &str = env!("CARGO_BIN_EXE_noop");
const NOTIFIES: &str = env!("CARGO_BIN_EXE_notifies");

/// Jobs that must be the same after the trouble as before, and their processes.
fn steady(init: &Init) -> BTreeMap<String, u64> {
    let mut jobs = BTreeMap::new();
    for n in 0..5 {
        let id = format!("steady-{n}");
        let spec = json!({"exec": "/bin/sleep", "args": ["1000"]});
        jobs.insert(id.clone(), init.launch_job(&id, &spec));
    }
    let spec = json!({
        "exec": NOTIFIES, "args": ["say=READY=1"], "ready": "notify",
        "fds": [{"name": "http", "listen": "tcp:127.0.0.1:0"}],
    });
    let pid = init.launch_job("steady-notify", &spec);
    assert_eq!(init.get("/job/steady-notify?wait=ready").json()["status"], "running");
    jobs.insert("steady-notify".into(), pid);
    jobs
}

/// Everything works again, and nothing was lost.
#[track_caller]
fn assert_sound(init: &Init, steady: &BTreeMap<String, u64>) {
    for (id, pid) in steady {
        let job = init.job(id);
        assert_eq!((&job["status"], &job["pid"]), (&json!("running"), &json!(pid)), "{job}");
        assert!(is_alive(*pid), "{id}");
    }
    let answer = init.send("PUT", "/job/after?wait=exit", &json!({"exec": NOOP}));
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    assert_eq!(answer.json()["lastExit"], 0, "{answer:?}");
    // A tree is stopped as ever.
    init.launch_job("tree", &json!({"exec": "/bin/sh", "args": ["-c", "sleep 1000 & wait"]}));
    assert_eq!(init.put("/job/tree/stop").status, 200);
    assert_eq!(init.delete("/job/tree").status, 204);
    wait::until("the dead to be reaped", || children(init).into_iter().all(is_alive).then_some(()));
}

fn children(init: &Init) -> Vec<u64> {
    let own = init.pid().to_string();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Requests of all kinds without a pause, as long as it lives. An answer that refuses is one.
struct Load {
    stop: &'static AtomicBool,
    answers: &'static AtomicUsize,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(api: SocketAddr) -> Self {
        let stop: &'static AtomicBool = Box::leak(Box::default());
        let answers: &'static AtomicUsize = Box::leak(Box::default());
        let clients = (0..3)
            .map(|n| {
                thread::spawn(move || {
                    let spec = json!({"exec": NOOP}).to_string();
                    let json = "Content-Type: application/json\r\n";
                    let job = format!("/job/load-{n}");
                    while !stop.load(Ordering::Relaxed) {
                        for (method, path, headers, body) in [
                            ("PUT", format!("{job}?wait=exit"), json, spec.as_str()),
                            ("GET", "/jobs".into(), "", ""),
                            ("DELETE", job.clone(), "", ""),
                        ] {
                            let text = format!(
                                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                                 {headers}Content-Length: {}\r\n\r\n{body}",
                                body.len()
                            );
                            if http::raw(api, text.as_bytes()).is_ok_and(|got| !got.is_empty()) {
                                answers.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                })
            })
            .collect();
        Self { stop, answers, clients }
    }

    /// Waits until so many more have been answered.
    #[track_caller]
    fn pass(&self, more: usize) {
        let goal = self.answers.load(Ordering::Relaxed) + more;
        wait::until("answers", || (self.answers.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
    }
}

/// An `strace` that makes calls of init fail, until it is dropped.
struct Fault {
    strace: Child,
}

impl Fault {
    /// In init alone.
    fn inject(init: &Init, injection: &str) -> Self {
        Self::inject_with(&[], init, injection)
    }

    /// In its children as well.
    fn inject_into_all(init: &Init, injection: &str) -> Self {
        Self::inject_with(&["-f"], init, injection)
    }

    fn inject_with(options: &[&str], init: &Init, injection: &str) -> Self {
        let call = injection.split(':').next().expect("a system call");
        let strace = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-p", &init.pid().to_string()])
            .args(options)
            .args(["-e", &format!("trace={call}"), "-e", &format!("inject={injection}")])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is there");
        let status = format!("/proc/{}/status", init.pid());
        wait::until("strace to be attached", || {
            let status = fs::read_to_string(&status).ok()?;
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
            (tracer.trim() != "0").then_some(())
        });
        Self { strace }
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.strace.id().cast_signed());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.strace.wait();
    }
}

#[test]
fn i12_a_kernel_that_fails_now_and_then_costs_no_job() {
    let init = Init::start(&[]);
    let steady = steady(&init);
    let crashing = json!({
        "exec": NOOP, "restart": {"policy": "always", "delay_ms": 5, "factor": 1.0},
    });
    init.launch_job("crashing", &crashing);
    let load = Load::start(init.api());
    for injection in [
        "clone3:error=EAGAIN:when=2+3",
        "clone3:error=ENOMEM:when=1+2",
        "accept4:error=EMFILE:when=2+4",
        "accept4:error=ENOBUFS:when=2+4",
        "accept4:error=ECONNABORTED:when=1+2",
        "accept4:error=EPERM:when=1+3",
        "epoll_ctl:error=ENOMEM:when=2+3",
        "epoll_ctl:error=ENOSPC:when=1+2",
        // An end, because whom `strace` leaves in the middle of this gets ENOSYS instead.
        "epoll_wait:error=EINTR:when=2..32+3",
        "openat:error=EMFILE:when=1+2",
        "openat:error=ENFILE:when=3+4",
        "read:error=EIO:when=5+20",
        "waitid:error=EINTR:when=1+2",
        "waitid:error=ENOMEM:when=3+20",
        "mkdir:error=ENOSPC:when=1+1",
        "socket:error=EMFILE:when=1+2",
        "recvfrom:error=ENOMEM:when=2+5",
        "writev:error=ENOBUFS:when=2+5",
        "futex:error=EINTR:when=1+2",
        "fcntl:error=EMFILE:when=1+2",
        "pipe2:error=ENFILE:when=1+1",
        "brk:error=ENOMEM:when=1+1",
        "mmap:error=ENOMEM:when=1+2",
        "kill:error=EPERM:when=1+3",
    ] {
        eprintln!("{injection}");
        let fault = Fault::inject(&init, injection);
        load.pass(40);
        drop(fault);
        load.pass(10);
    }
    load.end();
    assert_sound(&init, &steady);
    let before = init.job("crashing")["respawn"].as_u64().unwrap();
    wait::until("it to be restarted as before", || {
        (init.job("crashing")["respawn"].as_u64()? > before + 2).then_some(())
    });
}

#[test]
fn i12_a_program_that_is_slow_to_load_keeps_nobody_waiting() {
    let init = Init::start(&[]);
    let sleep = json!({"exec": "/bin/sleep", "args": ["1000"]});
    init.launch_job("fast", &sleep);
    let fault = Fault::inject_into_all(&init, "execve:delay_enter=1s");
    let began = Instant::now();
    thread::scope(|scope| {
        let mut starts = Vec::new();
        for n in 0..10 {
            let (init, sleep) = (&init, &sleep);
            starts.push(scope.spawn(move || init.send("PUT", &format!("/job/slow-{n}"), sleep)));
        }
        wait::until("all to be on their way", || (children(&init).len() > 10).then_some(()));
        // A job that has never been started is not there yet, and is its starter's already.
        assert_eq!(init.get("/job/slow-0").status, 404);
        assert_eq!(init.get("/jobs").json().as_array().unwrap().len(), 1);
        let other = init.send("PUT", "/job/slow-0", &json!({"exec": NOOP}));
        assert_eq!(other.json()["error"], "other_spec", "{other:?}");
        assert_eq!(init.delete("/job/slow-0").json()["error"], "running");
        // What is asked of it meanwhile is done when it is there.
        let stop = scope.spawn(|| init.put("/job/slow-1/stop"));
        let restart = scope.spawn(|| init.put("/job/slow-2/restart"));
        assert_eq!(init.job("fast")["status"], "running");
        let answered = began.elapsed();
        assert!(answered < Duration::from_secs(1), "others had to wait: {answered:?}");
        for start in starts {
            let answer = start.join().unwrap();
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(stop.join().unwrap().json()["status"], "success");
        assert_eq!(restart.join().unwrap().json()["status"], "running");
    });
    // One after the other they would have taken ten times as long, and the restarted one twice.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(fault);
    for n in (0..10).filter(|n| *n != 1) {
        assert_eq!(init.job(&format!("slow-{n}"))["status"], "running", "{n}");
    }
    assert_eq!(init.job("slow-1")["status"], "success");
}

#[test]
fn i12_an_end_waits_for_programs_that_are_still_loading() {
    let mut init = Init::start(&[]);
    let spec = json!({"exec": "/bin/sleep", "args": ["1000"],
        "restart": {"policy": "always", "delay_ms": 0}});
    let pid = init.launch_job("again", &spec);
    let fault = Fault::inject_into_all(&init, "execve:delay_enter=500ms");
    // On its way back while init is told to end.
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    wait::until("it to be started again", || {
        let job = init.job("again");
        (job["status"] == "starting" && job["pid"].is_null()).then_some(())
    });
    let children = children(&init);
    assert_eq!(children.len(), 1, "{children:?}");
    init.signal(Signal::SIGTERM);
    let began = Instant::now();
    let status = init.wait_end();
    drop(fault);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(status.code().is_some(), "{status:?}");
    assert!(!is_alive(children[0]), "what was on its way has outlived init");
}

#[test]
fn i12_without_descriptors_init_still_answers() {
    let mut command = Command::new("prlimit");
    command.arg("--nofile=160:160").arg(program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    let steady = steady(&init);
    let load = Load::start(init.api());
    // Jobs that each keep a descriptor, until there are as many as there may be.
    let mut refused = None;
    for n in 0..200 {
        let spec = json!({"exec": NOTIFIES, "ready": "notify"});
        let answer = init.send("PUT", &format!("/job/n-{n}"), &spec);
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a bound is reached");
    assert_eq!((refused.status, &refused.json()["errno"]), (503, &json!("EMFILE")), "{refused:?}");
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", init.pid())).unwrap().count();
    assert!(descriptors() < 130, "{} of 160: too few are left to answer", descriptors());
    // And clients that say nothing, as many as are let in.
    let before = descriptors();
    let silent: Vec<_> = (0..400).filter_map(|_| TcpStream::connect(init.api()).ok()).collect();
    wait::until("silent clients to be let in", || (descriptors() > before + 20).then_some(()));
    drop(silent);
    load.pass(20);
    load.end();
    assert_sound(&init, &steady);
}

#[test]
fn i12_without_address_space_init_refuses_and_goes_on() {
    let mut command = Command::new("prlimit");
    command.arg("--as=48000000:").arg(program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    let steady = steady(&init);
    let mut refused = None;
    let envs: BTreeMap<_, _> = (0..20).map(|n| (format!("V{n}"), "x".repeat(10_000))).collect();
    for n in 0..2000 {
        let spec = json!({"exec": "/bin/true", "envs": envs, "rlimits": {"as": "unlimited"}});
        let answer = init.send("PUT", &format!("/job/big-{n}?wait=exit"), &spec);
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a bound is reached");
    assert_eq!(refused.status, 503, "{refused:?}");
    for (id, pid) in &steady {
        assert_eq!(init.job(id)["pid"], *pid, "{id}");
    }
    for n in 0..2000 {
        if init.delete(&format!("/job/big-{n}")).status != 204 {
            break;
        }
    }
    assert_sound(&init, &steady);
}

#[test]
fn i12_without_processes_init_refuses_and_goes_on() {
    // The bound on processes is a user's own, and not root's: init runs as somebody.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "54321", "--regid", "54321", "--clear-groups"]);
    command.args(["prlimit", "--nproc=20:20"]);
    command.arg(program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    let mut jobs = BTreeMap::new();
    let refused = (0..40).find_map(|n| {
        let (id, spec) = (format!("j-{n}"), json!({"exec": "/bin/sleep", "args": ["1000"]}));
        let answer = init.send("PUT", &format!("/job/{id}"), &spec);
        if answer.status == 201 {
            jobs.insert(id, answer.json()["pid"].as_u64()?);
            return None;
        }
        Some(answer)
    });
    let refused = refused.expect("a bound is reached");
    let body = refused.json();
    assert_eq!((refused.status, &body["errno"]), (503, &json!("EAGAIN")), "{body}");
    for (id, pid) in &jobs {
        assert_eq!(init.job(id)["pid"], *pid, "{id}");
    }
    assert_eq!(init.put("/job/j-0/stop").status, 200);
    let answer = init.send("PUT", "/job/after?wait=exit", &json!({"exec": "/bin/true"}));
    assert_eq!((answer.status, &answer.json()["lastExit"]), (201, &json!(0)), "{answer:?}");
}

#[test]
fn i12_a_full_file_system_fails_a_start_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs -o size=16k,nr_inodes=4 none {path} && \
         head -c 100000 /dev/zero >{path}/full 2>/dev/null; touch {path}/a {path}/b {path}/c \
         2>/dev/null; exec \"$@\""
    );
    command.args(["-m", "sh", "-c", &script, "sh"]);
    command.arg(program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    let steady = steady(&init);
    for (change, stage) in [
        (json!({"stdout": {"file": format!("{path}/out")}}), "stdout"),
        (json!({"fds": [{"name": "s", "listen": format!("unix:{path}/sock")}]}), "listen"),
    ] {
        let mut spec = json!({"exec": "/bin/true"});
        let (key, value) = change.as_object().unwrap().iter().next().unwrap();
        spec[key] = value.clone();
        let answer = init.send("PUT", "/job/x", &spec);
        let body = answer.json();
        assert_eq!((answer.status, &body["stage"]), (503, &json!(stage)), "{body}");
        assert_eq!(body["errno"], "ENOSPC");
    }
    assert_sound(&init, &steady);
}

#[test]
fn i12_what_init_cannot_say_it_does_without() {
    // Its stderr is a pipe or a terminal that nobody reads and that is full.
    let (reader, writer) = nix::unistd::pipe().unwrap();
    speechless(writer, &reader);
    let terminal = nix::pty::openpty(None, None).unwrap();
    speechless(terminal.slave, &terminal.master);
}

#[test]
fn i12_what_init_says_while_others_fill_its_terminal_is_not_lost() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let other = File::from(terminal.slave.try_clone().unwrap());
    let (mut child, api) = saying_to(terminal.slave);
    let mut screen = File::from(terminal.master);
    let is_full = || {
        let mut ready = [PollFd::new(other.as_fd(), PollFlags::POLLOUT)];
        poll(&mut ready, PollTimeout::ZERO) == Ok(0)
    };
    assert!(!is_full());
    thread::scope(|scope| {
        let mut writer = other.try_clone().unwrap();
        let dots = vec![b'.'; 40_000];
        scope.spawn(move || writer.write_all(&dots).unwrap());
        wait::until("a full terminal", || is_full().then_some(()));
        scope.spawn(|| no_such_program(api, 1));
        // While init has something to say.
        thread::sleep(Duration::from_millis(10));
        let mut shown = Vec::new();
        while !String::from_utf8_lossy(&shown).contains("/no/such/program/1") {
            let mut ready = [PollFd::new(screen.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut ready, 1000_u16), Ok(1), "it is lost");
            let mut some = [0; 4096];
            let count = screen.read(&mut some).unwrap();
            shown.extend_from_slice(&some[..count]);
        }
    });
    assert_eq!(http::request(api, "PUT", "/job/init/stop", "", "").status, 202);
    child.wait().unwrap();
}

/// A start that fails, which is a line of the log.
fn no_such_program(api: SocketAddr, n: u32) {
    let body: Value = json!({"exec": format!("/no/such/program/{n}/{}", "x".repeat(100))});
    let headers = "Content-Type: application/json\r\n";
    let answer = http::request(api, "PUT", "/job/x", headers, &body.to_string());
    assert_eq!(answer.status, 400);
}

/// An init with this stderr, and its API.
fn saying_to(stderr: OwnedFd) -> (Child, SocketAddr) {
    let mut child = Command::new(program("init"))
        .args(["--listen", "127.0.0.1:0", "--", "sh", "-c", "echo $INIT_API; exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

fn speechless(stderr: OwnedFd, _reader: &OwnedFd) {
    let (mut child, api) = saying_to(stderr);
    let began = Instant::now();
    for n in 0..2000 {
        no_such_program(api, n);
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(http::request(api, "GET", "/job/boot", "", "").json()["status"], "running");
    assert_eq!(http::request(api, "PUT", "/job/init/stop", "", "").status, 202);
    child.wait().unwrap();
}
