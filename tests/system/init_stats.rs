//! `GET /job/{id}/stats` and `GET /jobs/stats`: what jobs use, near the kernel's own figures.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::init::Init;
use jobinit_tests::outside::Outside;
use jobinit_tests::wait;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn python(script: &str, args: &[&str]) -> Value {
    let args: Vec<_> = ["-c", script].into_iter().chain(args.iter().copied()).collect();
    json!({"exec": "python3", "args": args, "envs": {"PATH": std::env::var("PATH").unwrap()}})
}

#[track_caller]
fn stats(init: &Init, path: &str) -> Value {
    let answer = init.get(path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Processor time in microseconds.
fn time(stats: &Value) -> u64 {
    number(&stats["cpu"]["userUs"]) + number(&stats["cpu"]["systemUs"])
}

/// What the kernel says that a process and the children it has waited for have used, in
/// microseconds.
fn time_of(pid: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(4);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
    ticks * 1_000_000 / u64::try_from(a_second).unwrap()
}

/// Both kinds: with control groups, where there are any, and without.
fn inits() -> [Init; 2] {
    [Init::start(&[]), Init::start_without_cgroups(&[])]
}

fn wait_for(path: &Path) {
    wait::until("the job to be so far", || path.exists().then_some(()));
}

fn has_groups() -> bool {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .any(|mount| Path::new(mount).join("cgroup.procs").exists())
}

#[test]
fn z05_processor_time_is_the_kernels() {
    for (init, source) in inits().iter().zip(["cgroup", "processes"]) {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done");
        let script = "import sys, time\n\
            while time.process_time() < 0.3: pass\n\
            open(sys.argv[1], 'w'); time.sleep(600)";
        let pid = init.launch_job("web", &python(script, &[done.to_str().unwrap()]));
        wait_for(&done);
        let stats = stats(init, "/job/web/stats");
        if has_groups() {
            assert_eq!(stats["cpu"]["source"], source);
        }
        let (told, real) = (time(&stats), time_of(pid));
        // Within a tick each for both times of both.
        assert!(told.abs_diff(real) <= 40_000, "told {told}, real {real}");
        assert!(told >= 280_000, "{stats}");
    }
}

#[test]
fn z05_what_children_have_used_counts() {
    for init in inits() {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done");
        // One has ended and was waited for; one in a session of its own lives.
        let script = "import os, sys, time\n\
            def burn():\n\
            \x20   while time.process_time() < 0.2: pass\n\
            if os.fork() == 0: burn(); os._exit(0)\n\
            os.wait()\n\
            if os.fork() == 0:\n\
            \x20   os.setsid(); burn(); open(sys.argv[1], 'w'); time.sleep(600)\n\
            time.sleep(600)";
        init.launch_job("web", &python(script, &[done.to_str().unwrap()]));
        wait_for(&done);
        let stats = stats(&init, "/job/web/stats");
        assert!((370_000..600_000).contains(&time(&stats)), "{stats}");
        assert_eq!((number(&stats["processes"]), number(&stats["threads"])), (2, 2));
    }
}

#[test]
fn z05_memory_is_what_is_touched() {
    for init in inits() {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done");
        let script = "import sys, time\n\
            much = bytearray(50 << 20)\n\
            much[::4096] = b'x' * len(much[::4096])\n\
            open(sys.argv[1], 'w'); time.sleep(600)";
        let pid = init.launch_job("web", &python(script, &[done.to_str().unwrap()]));
        init.launch_job("idle", &json!({"exec": "/bin/sleep", "args": ["600"]}));
        wait_for(&done);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let real = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
        let memory = &stats(&init, "/job/web/stats?pss")["memory"];
        let told = number(&memory["currentBytes"]);
        assert!(told > 50 * MIB && told.abs_diff(real) < 2 * MIB, "told {told}, real {real}");
        let pss = number(&memory["pssBytes"]);
        assert!(pss > 50 * MIB && pss <= told + MIB, "pss {pss}, resident {told}");
        let idle = init.get("/job/idle/stats").json();
        assert!(number(&idle["memory"]["currentBytes"]) < 10 * MIB);
        assert_eq!(idle["memory"]["pssBytes"], Value::Null, "only who asks for it pays for it");
    }
}

#[test]
fn z05_bytes_and_descriptors_are_the_kernels() {
    for init in inits() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let done = folder.path().join("done");
        let script = "import os, sys, time\n\
            held = [open('/dev/null') for _ in range(40)]\n\
            with open(sys.argv[1] + '.data', 'wb') as file:\n\
            \x20   file.write(b'x' * (8 << 20)); file.flush(); os.fsync(file.fileno())\n\
            open(sys.argv[1], 'w').close(); time.sleep(600)";
        let pid = init.launch_job("web", &python(script, &[done.to_str().unwrap()]));
        wait_for(&done);
        let told = stats(&init, "/job/web/stats");
        let real = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        for (name, place) in [("read_bytes: ", "readBytes"), ("write_bytes: ", "writtenBytes")] {
            let line = real.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert_eq!(number(&told["io"][place]), line.parse::<u64>().unwrap(), "{told}");
        }
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
        assert!(open >= 43 && number(&told["fds"]) == open, "{open}: {told}");
    }
}

#[test]
fn z05_a_run_in_a_group_that_was_anothers_begins_at_nothing() {
    let init = Init::start(&[]);
    // From the first question on it is known what earlier runs have used.
    assert_eq!(stats(&init, "/jobs/stats"), json!([]));
    let group = |pid: u64| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let first = init.launch_job("first", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    let first = group(first);
    stats(&init, "/job/first/stats");
    init.put("/job/first/stop");
    let script = "import time\nwhile time.process_time() < 0.3: pass";
    assert_eq!(init.send("PUT", "/job/burns?wait=exit", &python(script, &[])).status, 201);
    let pid = init.launch_job("after", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    let after = stats(&init, "/job/after/stats");
    if has_groups() {
        assert_eq!(after["cpu"]["source"], "cgroup");
        assert_eq!(group(pid), first, "the group is used again");
    }
    assert!(time(&after) < 100_000, "{after}");
}

#[test]
fn z05_a_job_without_processes_has_no_figures() {
    let init = Init::start(&[]);
    assert_eq!(init.get("/job/nosuch/stats").status, 404);
    init.launch_job("web", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    init.put("/job/web/stop");
    let mut fails = json!({"exec": "/bin/false"});
    fails["restart"] = json!({"policy": "always", "delay_ms": 20_000});
    init.launch_job("waits", &fails);
    init.wait_for("waits", "backoff");
    for id in ["web", "waits"] {
        let answer = init.get(&format!("/job/{id}/stats"));
        assert_eq!((answer.status, &answer.json()["error"]), (409, &json!("dead")));
        assert!(answer.body.contains("has no process; start it first"), "{answer:?}");
    }
    assert_eq!(stats(&init, "/jobs/stats"), json!([]));
    assert_eq!(init.get("/job/web/stats?pss=maybe").status, 400);
    assert_eq!(init.get("/job/init/stats").status, 409);
}

#[test]
fn z05_boot_and_its_children_have_figures_too() {
    let init = Init::start(&["--", "sh", "-c", "sleep 600 & setsid sleep 600 & wait"]);
    init.launch_job("web", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    // They come one after the other, and so do their pages.
    let all = wait::until("all to be there", || {
        let all = stats(&init, "/jobs/stats?pss");
        let is_there = all[0]["processes"] == 3
            && all[0]["memory"]["pssBytes"].as_u64() > Some(30_000)
            && all[1]["memory"]["pssBytes"].as_u64() > Some(10_000);
        is_there.then_some(all)
    });
    assert_eq!(
        (&all[0]["id"], &all[1]["id"], &all[2]),
        (&json!("boot"), &json!("web"), &json!(null))
    );
    assert_eq!(all[0]["cpu"]["source"], "processes", "it stays in init's own group");
    assert_eq!((&all[0]["threads"], &all[1]["processes"]), (&json!(3), &json!(1)));
}

#[test]
fn z05_a_process_that_was_taken_over_has_figures_with_its_children() {
    let init = Init::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let up = folder.path().join("up");
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; sleep 600 & touch $0; wait";
    let outside = Outside::shell(script, &[up.to_str().unwrap()]);
    let _stranger = Outside::shell("sleep 600 & wait", &[]);
    wait_for(&up);
    let answer = init.send("PUT", "/job/web", &json!({"adopt": outside.pid()}));
    assert_eq!(answer.status, 201, "{answer:?}");
    let stats = stats(&init, "/job/web/stats");
    assert_eq!((number(&stats["processes"]), &stats["cpu"]["source"]), (2, &json!("processes")));
    let (told, real) = (time(&stats), time_of(outside.pid()));
    assert!(told > 10_000 && told.abs_diff(real) <= 20_000, "told {told}, real {real}");
}

/// What init itself has used, in microseconds.
fn used(init: &Init) -> u64 {
    let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", init.pid())).unwrap();
    schedstat.split(' ').next().unwrap().parse::<u64>().unwrap() / 1000
}

#[test]
fn z05_a_thousand_jobs_are_told_at_once_and_hold_nobody_up() {
    // Without groups the end of as many would take longer than a test has.
    for (init, (kind, jobs)) in inits().iter().zip([("with groups", 1000), ("without", 200)]) {
        let spec = json!({"exec": "/bin/sleep", "args": ["600"]});
        for number in 0..jobs {
            init.launch_job(&format!("job.{number}"), &spec);
        }
        wait::until("the memory of all to be there", || {
            let has_memory = |job: &Value| number(&job["memory"]["currentBytes"]) > 1_000_000;
            let last = stats(init, &format!("/job/job.{}/stats", jobs - 1));
            let all = || stats(init, "/jobs/stats").as_array().unwrap().iter().all(has_memory);
            (has_memory(&last) && all()).then_some(())
        });
        let before = used(init);
        let all = stats(init, "/jobs/stats");
        let cost = used(init) - before;
        eprintln!("{jobs} jobs {kind}: {cost} µs of init's processor time");
        let all = all.as_array().unwrap();
        assert_eq!(all.len(), jobs);
        for job in all {
            assert_eq!((&job["processes"], &job["threads"]), (&json!(1), &json!(1)), "{job}");
            assert!(number(&job["memory"]["currentBytes"]) > 100_000, "{job}");
            assert_eq!(number(&job["fds"]), 3, "{job}");
            assert!(time(job) < 1_000_000, "{job}");
        }
        // Others are answered in between: many questions in the time of one.
        let least = jobs / 100;
        thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let begun = Instant::now();
                stats(init, "/jobs/stats?pss");
                begun.elapsed()
            });
            let mut answered = 0;
            while !reading.is_finished() {
                assert_eq!(init.get("/job/job.7").status, 200);
                answered += 1;
            }
            let took = reading.join().unwrap();
            eprintln!("{kind}: {answered} others answered within {took:?}");
            assert!(answered > least, "{answered} within {took:?}");
        });
    }
}

#[test]
fn z05_figures_of_jobs_that_come_and_go_are_never_anothers() {
    let init = Init::start(&[]);
    for number in 0..50 {
        let spec = json!({"exec": "/bin/sleep", "args": ["600"]});
        init.launch_job(&format!("stays.{number}"), &spec);
    }
    let until = Instant::now() + Duration::from_secs(1);
    thread::scope(|scope| {
        for client in 0..3 {
            let init = &init;
            scope.spawn(move || {
                while Instant::now() < until {
                    let path = format!("/job/goes.{client}?wait=exit");
                    init.send("PUT", &path, &json!({"exec": "/bin/true"}));
                }
            });
        }
        while Instant::now() < until {
            let all = stats(&init, "/jobs/stats");
            let staying = all.as_array().unwrap().iter();
            let staying = staying.filter(|job| job["id"].as_str().unwrap().starts_with("stays."));
            assert_eq!(staying.filter(|job| job["processes"] == 1).count(), 50);
            // A job that is looked at has figures, or has ended.
            let one = init.get("/job/goes.0/stats");
            assert!([200, 404, 409].contains(&one.status), "{one:?}");
        }
    });
    // Who hangs up does not keep others from asking.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(init.api()).unwrap();
        write!(stream, "GET /jobs/stats?pss HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    assert!(stats(&init, "/jobs/stats").as_array().unwrap().len() >= 50);
}
