//! init's own code fails, and no job notices.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::fault::Fault;
use jobinit_tests::http::Answer;
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::load::{Collector, Done, Load, counter, script, starts_and_runs};
use jobinit_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Crashes in a row that change nothing.
const FEW: usize = 3;
/// Those after which nothing is gone on with.
const MOST: usize = 6;

/// What a build for debugging does when a job of that name is to be started.
const CRASHES: [&str; 3] = ["defect-abort", "defect-overflow", "defect-memory"];
const PANICS: [&str; 3] =
    ["defect-panic-in-handler", "defect-panic-in-reactor", "defect-panic-in-core"];

/// An init that was built for debugging.
fn start_debug() -> Init {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("init");
    assert!(path.exists(), "{} is built with the tests of init", path.display());
    let mut command = Command::new(path);
    command.args(["--listen", "127.0.0.1:0", "--boot-exit", "stay", "--", "sleep", "1000"]);
    command.env_remove("RUST_BACKTRACE");
    Init::launch(command)
}

fn start() -> Init {
    Init::start(&["--boot-exit", "stay", "--", "sleep", "1000"])
}

/// An answer, if there is one: a crash may cut the request off.
fn ask(to: SocketAddr, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    Answer::parse(&bytes)
}

/// Asks until there is an answer.
#[track_caller]
fn insist(to: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    wait::until("an answer", || ask(to, method, path, body))
}

/// The crashes that init has counted, as soon as there are so many.
#[track_caller]
fn crashes(init: &Init, count: usize) {
    wait::until("init to go on", || {
        let about = ask(init.api(), "GET", "/job/init", "")?.json();
        (about["crashes"] == count).then_some(())
    });
}

/// All jobs' processes and what has become of them.
fn jobs(init: &Init) -> Vec<(String, Value, Value)> {
    let all = insist(init.api(), "GET", "/jobs", "").json();
    let one = |job: &Value| {
        (job["id"].as_str().unwrap().to_owned(), job["pid"].clone(), job["respawn"].clone())
    };
    all.as_array().unwrap().iter().map(one).collect()
}

/// The numbers that a counter has written so far, none of which may be missing.
#[track_caller]
fn count(init: &Init, job: &str) -> usize {
    let text = insist(init.api(), "GET", &format!("/job/{job}/stdout?from=0"), "").body;
    let lines: Vec<_> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
    for (line, number) in lines.iter().zip(1_usize..) {
        assert_eq!(line.trim_end(), number.to_string());
    }
    lines.len()
}

#[test]
fn i11_no_fault_costs_a_job() {
    for fault in Fault::ALL {
        let init = start();
        init.launch_job("counter", &counter());
        init.launch_job("other", &script("sleep 1000"));
        let before = jobs(&init);
        fault.strike(init.pid(), 0, || {});
        crashes(&init, 1);
        assert_eq!(jobs(&init), before, "{fault:?}");
        let so_far = count(&init, "counter");
        wait::until("it to count on", || (count(&init, "counter") > so_far + 10).then_some(()));
        init.log_line("a defect in init: it crashed by SIG");
    }
}

#[test]
fn i11_no_abort_and_no_panic_costs_a_job() {
    let init = start_debug();
    init.launch_job("counter", &counter());
    let before = jobs(&init);
    let spec = script("sleep 1000").to_string();
    for name in PANICS {
        // That request is told; another one on another connection is served.
        let answer = insist(init.api(), "PUT", &format!("/job/{name}"), &spec);
        assert_eq!((answer.status, &answer.json()["error"]), (500, &json!("defect")), "{answer:?}");
        assert_eq!(jobs(&init), before, "{name}");
    }
    crashes(&init, 0);
    for (name, so_many) in CRASHES.iter().zip(1..) {
        assert!(ask(init.api(), "PUT", &format!("/job/{name}"), &spec).is_none(), "cut off");
        crashes(&init, so_many);
        assert_eq!(jobs(&init), before, "{name}");
    }
    assert!(count(&init, "counter") > 0);
}

fn has_some(got: &Collector) -> bool {
    got.lines("counter") > 10 && got.lines("flood") > 100
}

/// Reads the output of all jobs, and goes on where it was when it is cut off; until it is to stop, and there was some.
fn collect(api: SocketAddr, stop: &AtomicBool) -> Collector {
    let mut collector = Collector::default();
    let begun = Instant::now();
    let goes_on = |got: &Collector| {
        !stop.load(Ordering::Relaxed) || (!has_some(got) && begun.elapsed() < wait::PATIENCE)
    };
    while goes_on(&collector) {
        let Ok(mut stream) = TcpStream::connect(api) else { continue };
        stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        let head = format!("GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n", collector.path());
        if stream.write_all(head.as_bytes()).is_err() {
            continue;
        }
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        for line in lines.skip_while(|line| !line.is_empty()).skip(1) {
            // The last one may be cut off.
            let Ok(event) = serde_json::from_str(&line) else { break };
            collector.take(&event);
            if !goes_on(&collector) {
                break;
            }
        }
    }
    collector
}

/// Requests, followers, floods, restarts and exits; meanwhile init crashes as often as `crash` is called.
fn crash_under_load(init: &Init, crash: impl Fn(usize)) {
    let api = init.api();
    let load = Load::start(init, env!("CARGO_BIN_EXE_floods"));
    let done = AtomicBool::new(false);
    let goes_on = || !done.load(Ordering::Relaxed);

    let got = thread::scope(|scope| {
        scope.spawn(|| {
            while goes_on() {
                if let Some(answer) = ask(api, "GET", "/job/counter", "") {
                    assert_eq!((answer.status, &answer.json()["pid"]), (200, load.counter()));
                }
            }
        });
        // An end is seen, whether somebody is there to be told or not.
        scope.spawn(|| {
            for round in 0_u32.. {
                let (job, code) = (format!("/job/short-{round}"), round % 200);
                let spec = script(&format!("sleep 0.01; exit {code}")).to_string();
                let told = ask(api, "PUT", &format!("{job}?wait=exit"), &spec);
                let known = insist(api, "GET", &format!("{job}?wait=exit"), "");
                if let Some(told) = told {
                    assert_eq!(told.status, 201, "{told:?}");
                    assert_eq!(told.json()["lastExit"], code);
                    assert_eq!(known.status, 200, "{known:?}");
                }
                if known.status == 200 {
                    assert_eq!(known.json()["lastExit"], code, "{known:?}");
                }
                insist(api, "DELETE", &job, "");
                if !goes_on() {
                    return;
                }
            }
        });
        let collector = scope.spawn(|| collect(api, &done));
        // Also when this ends by a panic.
        let done = Done(&done);
        for round in 0..FEW {
            thread::sleep(Duration::from_millis(100));
            crash(round);
            crashes(init, round + 1);
        }
        thread::sleep(Duration::from_millis(100));
        drop(done);
        collector.join().unwrap()
    });

    load.check(init);
    assert!(has_some(&got));
    // A run that has just begun has not written yet; and each crash may have interrupted a start.
    wait::until("as many runs as starts", || {
        let (starts, runs) = starts_and_runs(init);
        (runs..=runs + FEW as u64).contains(&starts).then_some(())
    });
}

#[test]
fn i11_a_panic_in_the_middle_leaves_nothing_undone() {
    let init = start_debug();
    // Its process was never made, so the job is none.
    let spec = script("sleep 1000").to_string();
    let answer = insist(init.api(), "PUT", "/job/defect-panic-in-effect", &spec);
    assert_eq!((answer.status, &answer.json()["error"]), (500, &json!("defect")), "{answer:?}");
    assert_eq!(init.get("/job/defect-panic-in-effect").status, 404);
    crashes(&init, 0);
}

#[test]
fn i11_a_defect_that_comes_back_is_left_alone_in_the_end() {
    let init = start_debug();
    let other = init.launch_job("other", &counter());
    let mut again = script("exit 1");
    again["restart"] = json!({"policy": "always", "delay_ms": 10});
    init.launch_job("defect-panic-in-respawn", &again);
    // From the fourth crash on no job is started by its policy for a while.
    crashes(&init, FEW + 1);
    let job = insist(init.api(), "GET", "/job/defect-panic-in-respawn", "").json();
    assert_eq!(job["status"], "backoff", "{job}");
    assert_eq!(init.delete("/job/defect-panic-in-respawn").status, 204);
    assert_eq!(init.job("other")["pid"], other);
    crashes(&init, FEW + 1);
}

#[test]
fn i11_faults_under_load() {
    for round in 0..17 {
        let init = start();
        crash_under_load(&init, |crash| {
            let steps = 500 + 37 * round + 11 * crash;
            Fault::ALL[(round + crash) % Fault::ALL.len()].strike(init.pid(), steps, || {});
        });
    }
}

#[test]
fn i11_aborts_under_load() {
    for round in 0..17 {
        let init = start_debug();
        let spec = script("sleep 1000").to_string();
        crash_under_load(&init, |crash| {
            for panic in PANICS {
                insist(init.api(), "PUT", &format!("/job/{panic}"), &spec);
            }
            let name = CRASHES[(round + crash) % CRASHES.len()];
            assert!(ask(init.api(), "PUT", &format!("/job/{name}"), &spec).is_none(), "cut off");
        });
    }
}

#[test]
fn i11_what_happens_while_init_crashes_is_seen() {
    let init = start();
    let ends = init.launch_job("ends", &script("sleep 1000"));
    let mut again = script("sleep 1000");
    again["restart"] = json!({"policy": "always", "delay_ms": 10});
    let restarts = init.launch_job("restarts", &again);
    let file = tempfile::tempdir().unwrap();
    let now = file.path().join("now");
    init.launch_job(
        "ready",
        &json!({"exec": env!("CARGO_BIN_EXE_notifies"), "ready": "notify",
        "args": [format!("wait={}", now.display()), "say=READY=1\\nSTATUS=heard"]}),
    );
    assert_eq!(init.job("ready")["status"], "starting");
    Fault::Jump.strike(init.pid(), 0, || {
        for (pid, signal) in [(ends, Signal::SIGUSR1), (restarts, Signal::SIGKILL)] {
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
        }
        std::fs::write(&now, "").unwrap();
        wait::until("their ends", || (!is_alive(ends) && !is_alive(restarts)).then_some(()));
    });
    crashes(&init, 1);
    wait::until("the end", || (init.job("ends")["status"] == "failed").then_some(()));
    assert_eq!(init.job("ends")["lastExit"], "SIGUSR1");
    wait::until("the restart", || (init.job("restarts")["respawn"] == 1).then_some(()));
    wait::until("the message", || (init.job("ready")["statusText"] == "heard").then_some(()));
    assert_eq!(init.job("ready")["status"], "running");
}

#[test]
fn i11_a_signal_that_is_sent_is_no_crash() {
    let mut init =
        Init::start(&["--", "sh", "-c", "trap 'exit 7' SEGV; while :; do sleep 0.01; done"]);
    wait::until("boot to trap it", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", init.job("boot")["pid"]));
        let caught = status
            .ok()?
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok())?;
        (caught & 1 << 10 != 0).then_some(())
    });
    kill(init.pid(), Signal::SIGSEGV).unwrap();
    assert_eq!(init.wait_end().code(), Some(7));
}

#[test]
fn i11_a_storm_of_signals_is_no_crash() {
    let init = Init::start(&["--", "sh", "-c", "trap '' SEGV BUS ABRT; while :; do sleep 1; done"]);
    let boot = init.job("boot")["pid"].clone();
    wait::until("boot to ignore them", || {
        let status = std::fs::read_to_string(format!("/proc/{boot}/status")).ok()?;
        let ignored = status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok())?;
        (ignored & 1 << 10 != 0).then_some(())
    });
    thread::scope(|scope| {
        for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGABRT] {
            let pid = init.pid();
            scope.spawn(move || (0..20_000).for_each(|_| kill(pid, signal).unwrap()));
        }
    });
    crashes(&init, 0);
    assert_eq!(init.job("boot")["pid"], boot);
}

#[test]
fn i11_whom_init_has_decided_to_stop_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let folder = folder.path().join(round.to_string());
        std::fs::create_dir(&folder).unwrap();
        let mut init = Init::start(&["--", "sleep", "1000"]);
        for n in 0..30 {
            let told = folder.join(n.to_string());
            let trap = format!("trap 'echo > {}; exit 0' TERM", told.display());
            let mut spec = script(&format!("{trap}; echo; sleep 1000 & wait"));
            spec["stdout"] = json!("log");
            init.launch_job(&format!("j{n}"), &spec);
        }
        for n in 0..30 {
            wait::until("the trap", || {
                (!init.get(&format!("/job/j{n}/stdout")).body.is_empty()).then_some(())
            });
        }
        init.signal(Signal::SIGTERM);
        // Wherever it is then.
        thread::sleep(Duration::from_millis(2 * round));
        Fault::Jump.may_strike(init.pid(), 300, || {});
        assert_eq!(init.wait_end().code(), Some(143), "boot's");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 30, "round {round}");
    }
}

#[test]
fn i11_a_row_of_crashes_ends_in_a_usable_api() {
    let init = start();
    let job = init.launch_job("job", &script("sleep 1000"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    // They would be ended, or held up, if nobody had the other ends any more.
    let mut writes =
        script(&format!("while echo {}; do echo >> {}; done", "x".repeat(200), file.display()));
    writes["stdout"] = json!("log");
    let writes = init.launch_job("writes", &writes);
    let mut terminal = script("cat");
    terminal["tty"] = json!(true);
    let terminal = init.launch_job("terminal", &terminal);
    let mut again = script("sleep 1000");
    again["restart"] = json!({"policy": "always", "delay_ms": 10});
    let pid = init.launch_job("again", &again);
    for so_many in 1..=MOST {
        Fault::Jump.strike(init.pid(), 0, || {});
        crashes(&init, so_many);
    }
    assert_eq!(init.job("job")["pid"], job);
    // It is no time to start anything; who asks for it gets it.
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    wait::until("the end", || (init.job("again")["status"] == "backoff").then_some(()));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(init.job("again")["status"], "backoff");
    assert_eq!(init.put("/job/again/start").status, 200);
    Fault::Jump.strike(init.pid(), 0, || {});
    init.log_line("7 in a row, and what it knew is lost");
    let all = insist(init.api(), "GET", "/jobs", "").json();
    assert_eq!(all, json!([]), "nothing is gone on with");
    assert!([job, writes, terminal].into_iter().all(is_alive), "but nobody has been ended");
    let written = || std::fs::metadata(&file).unwrap().len();
    let before = written();
    wait::until("it to write on", || (written() > before + 1000).then_some(()));
    assert_eq!(init.send("PUT", "/job/job", &json!({"adopt": job})).status, 201);
}

/// What init has noted of itself, in files in its memory.
fn notes(init: &Init) -> impl Iterator<Item = String> {
    let open = std::fs::read_dir(format!("/proc/{}/fd", init.pid())).unwrap();
    let paths = open.filter_map(|entry| Some(entry.ok()?.path()));
    let is_note = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|file| file.to_string_lossy().contains("init-state"))
    };
    let notes = paths.filter(is_note).filter_map(|path| std::fs::read_to_string(path).ok());
    // One that is being written says that it is nothing.
    notes.filter(|note| !note.starts_with(&format!("jobinit-state 1 {:020}", 0)))
}

#[test]
fn i11_what_cannot_be_written_down_is_what_it_was_a_while_ago() {
    let init = start();
    let job = init.launch_job("counter", &counter());
    wait::until("a note of it", || notes(&init).any(|note| note.contains("counter")).then_some(()));
    // It may write no file from now on.
    let pid = init.pid().to_string();
    let limited = Command::new("prlimit").args(["--fsize=0:0", "--pid", &pid]).status().unwrap();
    assert!(limited.success());
    let before = jobs(&init);
    Fault::Jump.strike(init.pid(), 0, || {});
    init.log_line("it goes on with what it knew some time before");
    assert_eq!(jobs(&init), before);
    assert!(is_alive(job));
    let more = init.get("/job/counter/stdout").body;
    wait::until("more of it", || (init.get("/job/counter/stdout").body != more).then_some(()));
}

#[test]
fn i11_as_pid_1() {
    let init = Init::start_as_pid_1(&["--", "sleep", "1000"]);
    let job = init.launch_job("job", &script("sleep 1000"));
    let unshare = init.pid();
    let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
    let first = Pid::from_raw(children.unwrap().trim().parse().unwrap());
    Fault::Jump.strike(first, 0, || {});
    crashes(&init, 1);
    assert_eq!(init.job("job")["pid"], job);
    assert_eq!(init.get("/job/init").json()["pid"], 1);
}
