//! Taking over a process that init has not started: its end is seen, it is stopped and started again
//! as it was, and nobody else is ever signalled.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use jobinit_tests::http::{Answer, Client};
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::outside::Outside;
use jobinit_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Has `job` begin with a process. Answers what init shows.
#[track_caller]
fn adopt(init: &Init, job: &str, pid: u64, changes: &Value) -> Value {
    let mut spec = json!({"adopt": pid});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let answer = init.send("PUT", &format!("/job/{job}"), &spec);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[track_caller]
fn assert_refused(init: &Init, pid: u64, status: u16, text: &str) {
    let answer = init.send("PUT", "/job/refused", &json!({"adopt": pid}));
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(answer.status == status && message.contains(text), "{pid}: {answer:?}");
    assert_eq!(init.get("/job/refused").status, 404, "and leaves no job");
}

fn proc(pid: u64, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

fn os(pid: u64) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// A job that runs again, with another process.
#[track_caller]
fn wait_for_another(init: &Init, job: &str, pid: u64) -> u64 {
    wait::until("another process", || {
        let shown = init.job(job);
        let new = shown["pid"].as_u64().filter(|new| *new != pid && shown["status"] == "running");
        assert!(!is_alive(pid) || new.is_none(), "never two");
        new
    })
}

#[test]
fn z08_it_is_started_again_as_it_was() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let folder = folder.path().canonicalize().unwrap();
    let mut command = Command::new("/bin/bash");
    command.args(["-c", "exec -a snooze sleep 1000"]).current_dir(&folder);
    let outside = Outside::run(command.env_clear().env("A", "1=2").env("NOTIFY_SOCKET", "@x"));
    let pid = outside.pid();
    wait::until("its program", || proc(pid, "cmdline").starts_with("snooze").then_some(()));
    let job = adopt(&init, "a", pid, &json!({"restart": {"policy": "always", "delay_ms": 10}}));
    assert_eq!((&job["status"], &job["pid"]), (&json!("running"), &json!(pid)), "{job}");
    assert_eq!(job["why"], "adopted on request");
    let spec = &job["spec"];
    assert_eq!((&spec["adopt"], &spec["arg0"]), (&json!(pid), &json!("snooze")), "{job}");
    assert_eq!((&spec["args"], &spec["cwd"]), (&json!(["1000"]), &json!(folder)), "{job}");
    assert_eq!((&spec["envs"]["A"], spec["envs"].get("NOTIFY_SOCKET")), (&json!("1=2"), None));
    outside.kill();
    let new = wait_for_another(&init, "a", pid);
    let job = init.job("a");
    assert_eq!((&job["respawn"], &job["lastExit"]), (&json!(1), &json!("SIGKILL")), "{job}");
    assert_eq!(proc(new, "cmdline"), "snooze 1000");
    assert!(proc(new, "environ").contains("A=1=2"), "{}", proc(new, "environ"));
    assert_eq!(fs::read_link(format!("/proc/{new}/cwd")).unwrap(), folder);
    let exe = fs::read_link(format!("/proc/{new}/exe")).unwrap();
    assert_eq!(&json!(exe), &spec["exec"]);
    // From now on it is a job like any other.
    assert_eq!(init.put("/job/a/sig/KILL").status, 204);
    let third = wait_for_another(&init, "a", new);
    assert_eq!(init.put("/job/a/stop").json()["lastExit"], "SIGTERM");
    assert!(!is_alive(third));
}

#[test]
fn z08_the_same_adoption_is_the_same_job() {
    let init = Init::start(&[]);
    let outside = Outside::shell("exec sleep 1000", &[]);
    let pid = outside.pid();
    let restart = json!({"restart": {"policy": "always", "delay_ms": 10}});
    adopt(&init, "a", pid, &restart);
    let mut spec = json!({"adopt": pid});
    assert_eq!(init.send("PUT", "/job/a", &spec).json()["error"], "other_spec");
    spec["restart"] = restart["restart"].clone();
    assert_eq!(init.send("PUT", "/job/a", &spec).status, 200);
    outside.kill();
    let new = wait_for_another(&init, "a", pid);
    let answer = init.send("PUT", "/job/a", &spec);
    assert_eq!((answer.status, &answer.json()["pid"]), (200, &json!(new)), "{answer:?}");
}

#[test]
fn z08_its_end_is_seen_with_its_code() {
    let init = Init::start(&[]);
    // One that waits to be reaped; and one whose parent reaps it at once, where the kernel tells.
    let folder = tempfile::tempdir().unwrap();
    for reaps in [false, true] {
        let fifo = folder.path().join(if reaps { "b" } else { "a" });
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut outside = Outside::shell("read x <$0; exit 7", &[fifo.to_str().unwrap()]);
        let name = if reaps { "reaped" } else { "zombie" };
        adopt(&init, name, outside.pid(), &json!({}));
        fs::write(&fifo, "\n").unwrap();
        if reaps {
            assert_eq!(outside.reap().code(), Some(7));
        }
        let job = init.get(&format!("/job/{name}?wait=exit")).json();
        assert_eq!(job["status"], "failed", "{job}");
        if reaps && job["lastExit"].is_null() {
            let why = "ended; it was not init's child, so how is not known";
            assert_eq!(job["why"], why, "{job}");
        } else {
            assert_eq!(job["lastExit"], 7, "{job}");
        }
    }
}

#[test]
fn z08_a_script_is_started_again_by_its_interpreter() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let (script, file) = (folder.path().join("script.py"), folder.path().join("pids"));
    let text = "#!/usr/bin/env python3\nimport os, sys, time\n\
                open(sys.argv[1], 'a').write(f'{os.getpid()} {os.environ[\"X\"]}\\n')\n\
                time.sleep(1000)\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let outside = Outside::run(Command::new(&script).arg(&file).env("X", "y z"));
    let pid = outside.pid();
    let lines = |count: usize| {
        wait::until("the script", || {
            let text = fs::read_to_string(&file).ok()?;
            (text.lines().count() == count && text.ends_with('\n')).then_some(text)
        })
    };
    assert_eq!(lines(1), format!("{pid} y z\n"));
    adopt(&init, "script", pid, &json!({}));
    let answer = init.put("/job/script/restart");
    let new = answer.json()["pid"].as_u64().unwrap_or_else(|| panic!("{answer:?}"));
    assert!(!is_alive(pid), "never two");
    assert_eq!(lines(2), format!("{pid} y z\n{new} y z\n"));
}

#[test]
fn z08_its_stop_ends_its_descendants_and_nobody_beside_it() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let file = folder.path().join("pids");
    // All of one session and process group, as a script's are; the adopted one in the middle.
    let script = "sleep 1001 & echo $! >>$0; \
                  sh -c 'sleep 1002 & echo $! >>$0; setsid sleep 1003 & echo $! >>$0; wait' $0 & \
                  echo $! >>$0; wait";
    let outside = Outside::shell(script, &[file.to_str().unwrap()]);
    let pids = wait::until("all five", || {
        let text = fs::read_to_string(&file).ok()?;
        let pids: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 4).then_some(pids)
    });
    let of = |words: &str| {
        wait::until(words, || pids.iter().copied().find(|pid| proc(*pid, "cmdline") == words))
    };
    let (beside, below, apart) = (of("sleep 1001"), of("sleep 1002"), of("sleep 1003"));
    let main = pids.iter().copied().find(|pid| ![beside, below, apart].contains(pid)).unwrap();
    adopt(&init, "a", main, &json!({}));
    let job = init.put("/job/a/stop").json();
    assert_eq!((&job["status"], &job["lastExit"]), (&json!("success"), &json!("SIGTERM")), "{job}");
    assert!(!is_alive(main) && !is_alive(below) && !is_alive(apart));
    assert!(is_alive(beside) && is_alive(outside.pid()));
}

#[test]
fn z08_the_rest_of_a_pipe_and_its_shell_are_not_its() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let file = folder.path().join("pids");
    // With job control, as at a terminal: the adopted one leads the group of the whole pipe.
    let script = "set -m; sleep 1000 | sleep 1001 & sleep 0.2; jobs -p >$0; wait";
    let outside = Outside::run(Command::new("/bin/bash").args(["-c", script]).arg(&file));
    let leader: u64 =
        wait::until("the pipe", || fs::read_to_string(&file).ok()?.trim().parse().ok());
    let stat = |pid: u64| -> Option<(u64, u64)> {
        let stat = proc(pid, "stat");
        let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some((fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?))
    };
    let end = wait::until("its other end", || {
        let pids =
            fs::read_dir("/proc").ok()?.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.into_iter().find(|pid| *pid != leader && stat(*pid).is_some_and(|s| s.1 == leader))
    });
    adopt(&init, "a", leader, &json!({"stop": {"timeout_ms": 300}}));
    assert_eq!(init.put("/job/a/stop").status, 200);
    assert!(!is_alive(leader));
    assert!(is_alive(end) && is_alive(outside.pid()));
    kill(os(end), Signal::SIGKILL).unwrap();
}

#[test]
fn z08_who_ignores_the_signal_is_killed_with_all_that_forks_on() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let file = folder.path().join("up");
    // It leads a session, and its children are orphans in no time.
    let script = "trap '' TERM; echo $$ >$0; f() { while :; do (sleep 0.02 &); sleep 0.01; done; }; \
                  f & f & wait";
    let words = [file.to_str().unwrap(), script];
    let _outside = Outside::shell("setsid bash -c \"$1\" $0 & wait", &words);
    let main: u64 = wait::until("its trap", || fs::read_to_string(&file).ok()?.trim().parse().ok());
    adopt(&init, "a", main, &json!({"stop": {"timeout_ms": 100}}));
    let job = init.put("/job/a/stop").json();
    assert_eq!((&job["status"], &job["lastExit"]), (&json!("success"), &json!("SIGKILL")), "{job}");
    let of_session = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u64 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = proc(pid, "stat");
        let session = stat.rsplit_once(") ")?.1.split(' ').nth(3)?.to_owned();
        (session == main.to_string() && is_alive(pid)).then_some(pid)
    });
    assert_eq!(of_session.collect::<Vec<_>>(), [0; 0]);
}

#[test]
fn z08_what_cannot_be_a_job_is_refused() {
    let init = Init::start(&["--", "/bin/sh", "-c", "sleep 1000 & wait"]);
    let own = u64::from(init.pid().as_raw().unsigned_abs());
    assert_refused(&init, own, 409, "is init itself");
    assert_refused(&init, 1, 409, "process 1 cannot be a job");
    assert_refused(&init, std::process::id().into(), 409, "an ancestor of init");
    assert_refused(&init, 99_999_999, 409, "there is no process 99999999");
    assert_refused(&init, 0, 400, "adopt: it must be the number of a process");
    assert_refused(&init, u64::from(u32::MAX), 400, "the number of a process");
    if proc(2, "comm") == "kthreadd" {
        assert_refused(&init, 2, 409, "a thread of the kernel");
    }
    let boot = init.job("boot")["pid"].as_u64().unwrap();
    assert_refused(&init, boot, 409, "is of job `boot` already");
    let child = wait::until("boot's child", || {
        proc(boot, &format!("task/{boot}/children")).split(' ').next()?.parse().ok()
    });
    assert_refused(&init, child, 409, "is of job `boot` already");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let spec = json!({"exec": env!("CARGO_BIN_EXE_escapes"), "args": [file, "orphan"]});
    init.launch_job("escapes", &spec);
    let orphan = wait::until("the escape", || fs::read_to_string(&file).ok()?.parse().ok());
    assert_refused(&init, orphan, 409, "is of job `escapes` already");
    // A thread of this test's.
    let (sender, numbers) = std::sync::mpsc::channel();
    let (_keep, end) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        sender.send(nix::unistd::gettid()).unwrap();
        let _ = end.recv();
    });
    let thread = numbers.recv().unwrap();
    let text = format!("is a thread of process {}", std::process::id());
    assert_refused(&init, u64::from(thread.as_raw().unsigned_abs()), 409, &text);
    // One that has ended, and waits for its parent.
    let outside = Outside::shell("exit 0", &[]);
    wait::until("its end", || proc(outside.pid(), "stat").contains(") Z ").then_some(()));
    assert_refused(&init, outside.pid(), 409, "there is no process");
    let answer = init.send("PUT", "/job/x", &json!({"args": ["1"]}));
    assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("exec")), "{answer:?}");
}

#[test]
fn z08_jobs_do_not_lie_within_each_other() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let file = folder.path().join("pid");
    let outside = Outside::shell("sleep 1000 & echo $! >$0; wait", &[file.to_str().unwrap()]);
    let child: u64 =
        wait::until("the child", || fs::read_to_string(&file).ok()?.trim().parse().ok());
    adopt(&init, "child", child, &json!({}));
    assert_refused(&init, outside.pid(), 409, "job `child` is of the tree of process");
    assert_eq!(init.put("/job/child/detach").status, 200);
    assert!(is_alive(child));
    adopt(&init, "parent", outside.pid(), &json!({}));
    assert_refused(&init, child, 409, "is of job `parent` already");
    assert_refused(&init, outside.pid(), 409, "is of job `parent` already");
}

#[test]
fn z08_a_detached_stranger_outlives_init_too() {
    let mut init = Init::start(&[]);
    let outside = Outside::shell("exec sleep 1000", &[]);
    adopt(&init, "a", outside.pid(), &json!({}));
    let other = Outside::shell("exec sleep 1000", &[]);
    adopt(&init, "b", other.pid(), &json!({}));
    let job = init.put("/job/a/detach").json();
    assert_eq!(job["pid"], outside.pid(), "{job}");
    init.put("/job/init/stop");
    init.wait_end();
    assert_eq!((is_alive(outside.pid()), is_alive(other.pid())), (true, false));
}

#[test]
fn z08_who_it_was_is_who_it_is() {
    let init = Init::start(&[]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "12345", "--regid", "12346", "--groups", "5,7", "--no-new-privs"]);
    let outside = Outside::run(command.args(["sh", "-c", "umask 027; exec sleep 1000"]));
    let pid = outside.pid();
    wait::until("its program", || proc(pid, "cmdline").starts_with("sleep").then_some(()));
    adopt(&init, "a", pid, &json!({}));
    let new = init.put("/job/a/restart").json()["pid"].as_u64().unwrap();
    let status = fs::read_to_string(format!("/proc/{new}/status")).unwrap();
    for line in [
        "Uid:\t12345\t12345\t12345\t12345",
        "Gid:\t12346\t12346\t12346\t12346",
        "Groups:\t5 7",
        "Umask:\t0027",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line:?} in {status}");
    }
}

#[test]
fn z08_init_that_may_not_signal_it_says_whose_it_is() {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "12345", "--regid", "12345", "--clear-groups"]);
    command.arg(jobinit_tests::binaries::program("init")).args(["--listen", "127.0.0.1:0"]);
    let init = Init::launch(command);
    let outside = Outside::shell("exec sleep 1000", &[]);
    let text = "belongs to user 0; init runs as user 12345 and may not signal it";
    assert_refused(&init, outside.pid(), 403, text);
    // Its own user's are no trouble.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "12345", "--regid", "12345", "--clear-groups", "sleep", "1000"]);
    let own = Outside::run(&mut command);
    wait::until("its program", || proc(own.pid(), "cmdline").starts_with("sleep").then_some(()));
    adopt(&init, "own", own.pid(), &json!({}));
    assert_eq!(init.put("/job/init/restart").status, 200);
    assert_eq!(init.job("own")["pid"], own.pid());
    assert_refused(&init, outside.pid(), 403, text);
    let answer = init.put("/job/own/restart");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!is_alive(own.pid()));
}

#[test]
fn z08_a_program_that_was_deleted_is_said_to_be() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let program = folder.path().canonicalize().unwrap().join("snooze");
    fs::copy("/bin/sleep", &program).unwrap();
    let outside = Outside::run(Command::new(&program).arg("1000"));
    wait::until("its program", || {
        (fs::read_link(format!("/proc/{}/exe", outside.pid())).ok()? == program).then_some(())
    });
    fs::remove_file(&program).unwrap();
    let job = adopt(&init, "a", outside.pid(), &json!({}));
    assert_eq!(job["spec"]["exec"], json!(program));
    let answer = init.put("/job/a/restart");
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("snooze (deleted)`: exec failed"), "{message}");
    assert!(message.contains("already deleted from the disk when it was adopted"), "{message}");
    // A new version of it is started.
    fs::copy("/bin/sleep", &program).unwrap();
    let answer = init.put("/job/a/start");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn z08_what_the_spec_says_is_not_read() {
    let init = Init::start(&[]);
    let outside = Outside::shell("exec sleep 1000", &[]);
    let changes = json!({
        "exec": "/bin/sh", "args": ["-c", "exec sleep 2000"], "cwd": "/tmp",
        "envs": {"PATH": "/usr/bin:/bin"}, "user": 12345, "group": 12345, "ready": "notify",
    });
    let job = adopt(&init, "a", outside.pid(), &changes);
    for (field, value) in changes.as_object().unwrap() {
        assert_eq!(&job["spec"][field], value, "{job}");
    }
    // What says that it is ready is only the next one's to say.
    assert_eq!(job["status"], "running");
    assert_eq!(job["spec"].get("arg0"), None);
    // A process that JSON cannot hold needs to be told.
    let raw = Outside::run(Command::new("/bin/sh").args(["-c", "sleep 1000; :"]).arg({
        use std::os::unix::ffi::OsStringExt;
        std::ffi::OsString::from_vec(vec![0xff, 0xfe])
    }));
    assert_refused(&init, raw.pid(), 409, "the args of process");
    adopt(&init, "raw", raw.pid(), &json!({"exec": "/bin/true"}));
}

#[test]
fn z08_of_many_who_want_a_process_one_gets_it() {
    let init = Init::start(&[]);
    let outside = Outside::shell("exec sleep 1000", &[]);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (init, outside) = (&init, &outside);
            scope.spawn(move || {
                let spec = json!({"adopt": outside.pid()});
                let answer = init.send("PUT", &format!("/job/a{n}"), &spec);
                assert!([201, 409, 503].contains(&answer.status), "{answer:?}");
            });
        }
    });
    let jobs = init.get("/jobs").json();
    assert_eq!(jobs.as_array().unwrap().len(), 1, "one of them has it: {jobs}");
}

#[test]
fn z08_init_ends_its_jobs_whoever_has_started_them() {
    let mut init = Init::start(&[]);
    let outside = Outside::shell("trap '' TERM; while :; do sleep 0.05; done", &[]);
    wait::until("its trap", || {
        let status = proc(outside.pid(), "status");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"))?.to_owned();
        (u64::from_str_radix(ignored.trim(), 16).ok()? & 1 << 14 != 0).then_some(())
    });
    adopt(&init, "a", outside.pid(), &json!({"stop": {"timeout_ms": 200}}));
    let began = Instant::now();
    init.put("/job/init/stop");
    init.wait_end();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!is_alive(outside.pid()));
}

#[test]
fn z08_a_process_whose_first_thread_has_ended_is_ended_with_the_others() {
    let (init, folder) = (Init::start(&[]), tempfile::tempdir().unwrap());
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = "import ctypes, sys, threading, time\n\
                  threading.Thread(target=time.sleep, args=(1000,)).start()\n\
                  open(sys.argv[1]).read()\n\
                  ctypes.CDLL(None).pthread_exit(0)";
    let outside = Outside::run(Command::new("python3").args(["-c", script]).arg(&fifo));
    let opened = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    adopt(&init, "a", outside.pid(), &json!({}));
    drop(opened);
    wait::until("its first thread's end", || {
        proc(outside.pid(), "stat").contains(") Z ").then_some(())
    });
    assert_eq!(init.job("a")["status"], "running");
    let job = init.put("/job/a/stop").json();
    assert_eq!((&job["status"], &job["lastExit"]), (&json!("success"), &json!("SIGTERM")), "{job}");
}

/// An init that is PID 1, and how to run something in its pid namespace that is not its child.
struct Namespace {
    init: Init,
    first: u64,
}

impl Namespace {
    fn new() -> Self {
        let init = Init::start_as_pid_1(&[]);
        let unshare = u64::from(init.pid().as_raw().unsigned_abs());
        let first = wait::until("PID 1", || {
            proc(unshare, &format!("task/{unshare}/children")).split(' ').next()?.parse().ok()
        });
        Self { init, first }
    }

    /// Its number outside and inside.
    fn run(&self, words: &[&str]) -> (Outside, u64, u64) {
        let target = self.first.to_string();
        let outside =
            Outside::run(Command::new("nsenter").args(["-m", "-p", "-t", &target]).args(words));
        let pid = wait::until("the one inside", || {
            let children = proc(outside.pid(), &format!("task/{}/children", outside.pid()));
            let pid: u64 = children.split(' ').next()?.parse().ok()?;
            proc(pid, "cmdline").starts_with(words[0]).then_some(pid)
        });
        let status = proc(pid, "status");
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
        let inside = inside.split_whitespace().next_back().unwrap().parse().unwrap();
        (outside, pid, inside)
    }

    /// Has the next process get this number.
    fn choose(&self, pid: u64) -> bool {
        let script = format!("echo {} >/proc/sys/kernel/ns_last_pid", pid - 1);
        let target = self.first.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-m", "-p", "-t", &target, "sh", "-c", &script]);
        command.status().is_ok_and(|status| status.success())
    }

    /// Has init answer a request that came before it could see what happened then. What init is told
    /// first, it does first.
    #[track_caller]
    fn ask_before(&self, path: &str, spec: &str, happens: impl FnOnce()) -> Answer {
        let mut client = Client::connect(self.init.api());
        // A connection that init knows already.
        client.ask("GET", "/jobs", "");
        kill(os(self.first), Signal::SIGSTOP).unwrap();
        wait::until("init's stop", || proc(self.first, "stat").contains(") T ").then_some(()));
        client.send("PUT", path, spec);
        happens();
        kill(os(self.first), Signal::SIGCONT).unwrap();
        client.receive()
    }
}

#[test]
fn i09_a_number_that_is_used_again_means_nobody() {
    for (path, status) in [("sig/KILL", 409), ("stop", 200), ("restart", 200)] {
        let space = Namespace::new();
        let (mut first, outer, inner) = space.run(&["sleep", "1000"]);
        adopt(&space.init, "a", inner, &json!({}));
        let mut stranger = None;
        let answer = space.ask_before(&format!("/job/a/{path}"), "", || {
            kill(os(outer), Signal::SIGKILL).unwrap();
            first.reap();
            assert!(space.choose(inner), "ns_last_pid can be written");
            let (outside, pid, number) = space.run(&["sleep", "2000"]);
            assert_eq!(number, inner, "it has the same number");
            stranger = Some((outside, pid));
        });
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let (_outside, pid) = stranger.unwrap();
        space.init.get("/jobs");
        assert!(is_alive(pid), "{path}: a stranger was signalled");
        assert_ne!(space.init.job("a")["pid"], inner);
    }
}

#[test]
fn i09_a_job_that_gets_the_number_of_one_that_ended_is_not_lost() {
    let space = Namespace::new();
    let (mut first, outer, inner) = space.run(&["sleep", "1000"]);
    adopt(&space.init, "a", inner, &json!({}));
    let spec = r#"{"exec": "/bin/sleep", "args": ["1000"]}"#;
    let answer = space.ask_before("/job/b", spec, || {
        kill(os(outer), Signal::SIGKILL).unwrap();
        first.reap();
        assert!(space.choose(inner), "ns_last_pid can be written");
    });
    assert_eq!((answer.status, &answer.json()["pid"]), (201, &json!(inner)), "{answer:?}");
    let job = space.init.get("/job/a?wait=exit").json();
    assert_eq!(job["status"], "failed", "{job}");
    assert_eq!(space.init.job("b")["status"], "running");
    assert_eq!(space.init.put("/job/b/stop").json()["lastExit"], "SIGTERM");
}
