//! What jobs write, as init keeps it and tells it.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use jobinit_tests::http::{self, Follower};
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::wait;
use serde_json::{Value, json};

const FLOODS: &str = env!("CARGO_BIN_EXE_floods");

fn script(script: &str) -> Value {
    json!({
        "exec": "/bin/sh",
        "args": ["-c", script],
        "envs": {"PATH": "/usr/bin:/bin"},
        "stdout": "log",
        "stderr": "log",
    })
}

/// One that reads what it is told.
fn gated(text: &str) -> Value {
    let mut spec = script(text);
    spec["stdin"] = json!("pipe");
    spec
}

fn lines(count: u32, line: impl Fn(u32) -> String) -> String {
    (0..count).map(line).collect()
}

#[test]
fn z06_stdout_and_stderr_are_kept_apart() {
    let init = Init::start(&[]);
    let spec = script("echo out; echo err >&2; echo more");
    assert_eq!(init.send("PUT", "/job/a?wait=exit", &spec).status, 201);
    assert_eq!(init.get("/job/a/stdout").body, "out\nmore\n");
    assert_eq!(init.get("/job/a/stderr").body, "err\n");
}

#[test]
fn z06_a_job_that_has_ended_has_said_everything() {
    let init = Init::start(&[]);
    for round in 0..50 {
        // More than a pipe takes: some of it is still in there when the process ends.
        let spec = json!({"exec": FLOODS, "args": ["60000"], "stdout": "log"});
        assert_eq!(init.send("PUT", &format!("/job/f{round}?wait=exit"), &spec).status, 201);
        let answer = init.get(&format!("/job/f{round}/stdout"));
        assert_eq!(answer.body.len(), 60_000);
        assert!(answer.body.ends_with(&format!("{:099}\n", 599)), "round {round}");
    }
}

#[test]
fn z06_of_a_flood_the_newest_bytes_stay_and_memory_is_bounded() {
    let init = Init::start(&[]);
    let spec = json!({"exec": FLOODS, "args": ["100000000"], "stdout": "log"});
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &spec).status, 201);
    let answer = init.get("/job/f/stdout");
    assert_eq!(answer.body.len(), 65_536);
    assert!(answer.body.ends_with(&format!("{:099}\n", 999_999)));
    assert_eq!(answer.header("output-start"), Some("99934464"));
    assert_eq!(answer.header("output-end"), Some("100000000"));
    assert!(memory(&init) < 16 * 1024, "{} KiB", memory(&init));
}

/// KiB of init's that are in memory.
fn memory(init: &Init) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", init.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn z06_of_many_jobs_large_rings_memory_is_bounded_and_nobody_waits() {
    const ALL: u64 = 256 * 1024 * 1024;
    let init = Init::start(&[]);
    let put = |job: &str| {
        let mut spec = script(&format!("head -c 17000000 /dev/zero; echo; echo last of {job}"));
        spec["log"] = json!({"bytes": 16_777_216});
        assert_eq!(init.send("PUT", &format!("/job/{job}?wait=exit"), &spec).status, 201);
        let answer = init.get(&format!("/job/{job}/stdout?tail=1"));
        let last = format!("last of {job}\n");
        assert_eq!(answer.body, last);
        let offset = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
        assert_eq!(offset("output-end"), 17_000_001 + last.len() as u64, "all of it was read");
        offset("output-end") - offset("output-start")
    };
    let jobs: Vec<_> = (0..20).map(|job| format!("j{job}")).collect();
    let kept: Vec<_> = jobs.iter().map(|job| put(job)).collect();
    let sum: u64 = kept.iter().sum();
    assert!(kept[0] == 16_777_216 && kept[19] == 4096, "{kept:?}");
    assert!(sum <= ALL && sum > ALL / 2, "{kept:?}");
    // Its own program and heap, and what it takes to copy a ring into a larger one.
    assert!(memory(&init) < (ALL >> 10) + 32 * 1024, "{} KiB", memory(&init));
    for job in &jobs {
        assert_eq!(init.delete(&format!("/job/{job}")).status, 204);
    }
    assert!(memory(&init) < 32 * 1024, "{} KiB", memory(&init));
    assert_eq!(put("again"), 16_777_216, "there is room again");
}

#[test]
fn z06_odd_bytes_and_long_lines_come_through() {
    let init = Init::start(&[]);
    let mut spec = script("printf 'a\\000b\\377c\\n'; head -c 10000000 /dev/zero | tr '\\0' x");
    spec["log"] = json!({"bytes": 16_777_216});
    assert_eq!(init.send("PUT", "/job/odd?wait=exit", &spec).status, 201);
    let ask = format!("GET /job/odd/stdout HTTP/1.0\r\nHost: {}\r\n\r\n", init.api());
    let raw = http::raw(init.api(), ask.as_bytes()).unwrap();
    let body = raw.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(&raw[body..body + 6], b"a\0b\xffc\n");
    assert_eq!(raw.len() - body, 10_000_006);
    let mut lines = Follower::start(init.api(), "/job/odd/stdout?format=json");
    let first = lines.json().unwrap();
    assert_eq!((&first["offset"], &first["text"]), (&json!(0), &json!("a\0b\u{fffd}c")));
    let mut next = 6;
    while let Some(part) = lines.json() {
        assert_eq!(part["offset"], next);
        next += part["text"].as_str().unwrap().len();
        assert_eq!(part["partial"], true, "the line has no end");
    }
    assert_eq!(next, 10_000_006);
}

#[test]
fn z06_a_stream_goes_on_over_restarts() {
    let init = Init::start(&[]);
    let mut spec = script("echo run; exit 1");
    spec["restart"] = json!({"policy": "on-failure", "delay_ms": 0, "limit": 2});
    assert_eq!(init.send("PUT", "/job/r?wait=exit", &spec).status, 201);
    assert_eq!(init.get("/job/r/stdout").body, "run\nrun\nrun\n");
    assert_eq!(init.put("/job/r/restart").status, 200);
    init.wait_for("r", "failed");
    let answer = init.get("/job/r/stdout?from=12");
    assert!(answer.body.starts_with("run\n"), "{answer:?}");
    assert_eq!(init.delete("/job/r").status, 204);
    assert_eq!(init.get("/job/r/stdout").status, 404);
}

#[test]
fn z06_a_ring_that_may_be_no_more_so_large_is_no_more_so_large() {
    let init = Init::start(&[]);
    let spec = |bytes: u32| json!({"exec": FLOODS, "args": ["100000"], "stdout": "log", "log": {"bytes": bytes}});
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &spec(65_536)).status, 201);
    assert_eq!(init.get("/job/f/stdout").header("output-start"), Some("34464"));
    // The first bytes go at once, though nobody writes any more.
    let mut silent = spec(8192);
    silent["exec"] = json!("true");
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &silent).status, 201);
    let answer = init.get("/job/f/stdout?from=0");
    assert_eq!(answer.header("output-start"), Some("91808"), "{answer:?}");
    assert!(answer.body.ends_with(&format!("{:099}\n", 999)));
    let missed = Follower::start(init.api(), "/job/f/stdout?from=0&format=json").json().unwrap();
    assert_eq!(missed, json!({"missed": 91_808, "offset": 91_808}));
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &spec(4096)).status, 201);
    let answer = init.get("/job/f/stdout");
    assert_eq!((answer.body.len(), answer.header("output-end")), (4096, Some("200000")));
}

#[test]
fn b22_a_smaller_ring_takes_nothing_from_who_is_waited_for() {
    let init = Init::start(&[]);
    let spec = |bytes: u32| {
        let log = json!({"bytes": bytes, "when_full": "wait"});
        json!({"exec": FLOODS, "args": ["60000"], "stdout": "log", "log": log})
    };
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &spec(65_536)).status, 201);
    init.launch_job("f", &spec(4096));
    let all = Follower::start(init.api(), "/job/f/stdout?follow").rest();
    let once = lines(600, |line| format!("{line:099}\n"));
    assert!(all == [once.as_str(), &once].concat(), "not a byte is missed: {}", all.len());
    init.wait_for("f", "success");
    assert_eq!(init.get("/job/f/stdout").body.len(), 4096);
}

#[test]
fn b22_what_a_job_writes_is_there_as_it_writes_it() {
    let init = Init::start(&[]);
    let mut spec = script("while read word; do echo \"$word\"; done");
    spec["stdin"] = json!("pipe");
    init.launch_job("e", &spec);
    let mut follower = Follower::start(init.api(), "/job/e/stdout?follow");
    for word in ["one", "two", "three"] {
        http::request(init.api(), "PUT", "/job/e/stdin", "", &format!("{word}\n"));
        assert_eq!(follower.line(), format!("{word}\n"));
    }
    http::request(init.api(), "PUT", "/job/e/stdin?close", "", "last\n");
    assert_eq!(follower.rest(), "last\n", "and then the answer ends with the job");
}

#[test]
fn b22_a_follower_that_goes_away_harms_nothing() {
    let init = Init::start(&[]);
    let pid = init.launch_job("f", &json!({"exec": FLOODS, "args": ["0"], "stdout": "log"}));
    for _ in 0..20 {
        let mut follower = Follower::start(init.api(), "/job/f/stdout?follow");
        follower.line();
    }
    assert!(is_alive(pid));
    let before = init.get("/job/f/stdout").header("output-end").unwrap().to_owned();
    wait::until("it to write on", || {
        let now = init.get("/job/f/stdout").header("output-end").unwrap().to_owned();
        (now != before).then_some(())
    });
}

#[test]
fn b22_a_slow_reader_holds_nobody_up_and_is_told_what_it_missed() {
    let init = Init::start(&[]);
    let gate = gated(&format!("read go; exec {FLOODS} 50000000"));
    init.launch_job("f", &gate);
    let mut follower = Follower::start(init.api(), "/job/f/stdout?follow&format=json");
    http::request(init.api(), "PUT", "/job/f/stdin", "", "go\n");
    // It reads nothing, and the job ends all the same.
    init.wait_for("f", "success");
    let (mut next, mut missed) = (0, 0);
    while let Some(line) = follower.json() {
        if let Some(count) = line["missed"].as_u64() {
            assert_eq!(line["offset"].as_u64().unwrap(), next + count);
            (next, missed) = (next + count, missed + count);
        } else {
            assert_eq!(line["offset"].as_u64().unwrap(), next, "{line}");
            let partial = u64::from(line["partial"] != true);
            next += line["text"].as_str().unwrap().len() as u64 + partial;
        }
    }
    assert_eq!(next, 50_000_000, "what came and what was missed is all there was");
    assert!(missed > 0);
}

#[test]
fn b22_a_job_may_ask_to_wait_for_its_reader() {
    let init = Init::start(&[]);
    let spec = json!({
        "exec": FLOODS,
        "args": ["5000000"],
        "stdout": "log",
        "log": {"bytes": 8192, "when_full": "wait"},
    });
    init.launch_job("f", &spec);
    // What is kept and what the pipe takes, and no more, until somebody follows.
    let kept = wait::until("what is kept to be full", || {
        let end = init.get("/job/f/stdout").header("output-end").unwrap().to_owned();
        (end == "8192").then_some(end)
    });
    assert_eq!(kept, "8192");
    assert_eq!(init.job("f")["status"], "running");
    let all = Follower::start(init.api(), "/job/f/stdout?follow").rest();
    let expected = lines(50_000, |line| format!("{line:099}\n"));
    assert!(all == expected, "not a byte is missed: {} of {}", all.len(), expected.len());
    init.wait_for("f", "success");
}

#[test]
fn b22_only_who_follows_lets_a_job_go_on() {
    let init = Init::start(&[]);
    let spec = json!({
        "exec": FLOODS,
        "args": ["100000"],
        "stdout": "log",
        "log": {"bytes": 8192, "when_full": "wait"},
    });
    init.launch_job("f", &spec);
    let end = || init.get("/job/f/stdout").header("output-end").unwrap().to_owned();
    wait::until("what is kept to be full", || (end() == "8192").then_some(()));
    let life = Follower::start(init.api(), "/jobs/output").json().unwrap();
    let life = life["life"].as_str().unwrap();
    for path in [
        "/job/f/stdout".to_owned(),
        "/job/f/stdout?from=8192".to_owned(),
        "/job/f/stdout?from=8000&format=json".to_owned(),
        "/job/f/stdout?format=json".to_owned(),
        "/jobs/output".to_owned(),
        format!("/jobs/output?from={life}:8192"),
    ] {
        assert_eq!(init.get(&path).status, 200, "{path}");
    }
    // Whoever follows all jobs from there on has read what there was.
    assert_eq!(end(), "8192");
    drop(Follower::start(init.api(), &format!("/jobs/output?follow&from={life}:8192")));
    wait::until("it to go on", || (end() != "8192").then_some(()));
}

#[test]
fn b22_who_asks_for_what_is_gone_is_told_so_however_little_there_is() {
    let init = Init::start(&[]);
    let spec = json!({"exec": FLOODS, "args": ["10000"], "stdout": "log", "log": {"bytes": 4096}});
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &spec).status, 201);
    let kept = init.get("/job/f/stdout").body;
    assert_eq!(kept.len(), 4096, "who does not say from where misses nothing");
    let missed = format!("\n[init: 5804 bytes were not kept]\n{kept}");
    for path in ["/job/f/stdout?from=100", "/job/f/stdout?from=100&follow"] {
        let answer = init.get(path);
        assert_eq!(
            (answer.header("output-from"), &*answer.body),
            (Some("100"), &*missed),
            "{path}"
        );
    }
    assert_eq!(init.get("/job/f/stdout?from=5904").body, kept);
    assert_eq!(init.get("/job/f/stdout?from=10000").body, "");
}

#[test]
fn b22_ranges_are_answered_as_http_has_them() {
    let init = Init::start(&[]);
    let spec = json!({"exec": FLOODS, "args": ["10000"], "stdout": "log", "log": {"bytes": 4096}});
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &spec).status, 201);
    let ask = |range: &str| {
        let header = format!("Range: bytes={range}\r\n");
        http::request(init.api(), "GET", "/job/f/stdout", &header, "")
    };
    for (range, status, content_range, length) in [
        ("9999-", 206, "bytes 9999-9999/10000", 1),
        ("9990-20000", 206, "bytes 9990-9999/10000", 10),
        ("-100", 206, "bytes 9900-9999/10000", 100),
        ("-20000", 206, "bytes 5904-9999/10000", 4096),
        ("5904-5904", 206, "bytes 5904-5904/10000", 1),
    ] {
        let answer = ask(range);
        assert_eq!(answer.status, status, "{range}: {answer:?}");
        assert_eq!(answer.header("content-range"), Some(content_range));
        assert_eq!(answer.body.len(), length, "{range}");
    }
    // Rotated out, and not there yet.
    for range in ["0-", "5903-6000", "10000-", "10000-10005"] {
        let answer = ask(range);
        assert_eq!(answer.status, 416, "{range}: {answer:?}");
        assert_eq!(answer.header("content-range"), Some("bytes */10000"));
    }
    assert_eq!(ask("x").status, 200, "what is no range is ignored");
}

/// The last chunk of an answer.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// A connection that is kept, on which something was asked.
fn ask(init: &Init, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(init.api()).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream
}

/// What comes until that is the last that has come, or to the connection's end.
fn read_to(stream: &mut TcpStream, last: &[u8]) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), [0; 16_384]);
    while !all.ends_with(last) {
        let count = stream.read(&mut some).unwrap();
        if count == 0 {
            break;
        }
        all.extend_from_slice(&some[..count]);
    }
    all
}

#[test]
fn b22_another_init_does_not_look_like_the_jobs_end() {
    let init = Init::start(&[]);
    let mut spec = script("echo before; read go; echo after");
    spec["stdin"] = json!("pipe");
    let pid = init.launch_job("j", &spec);
    for format in ["text", "json"] {
        let mut stream = ask(&init, &format!("/job/j/stdout?follow&format={format}"));
        let end: &[u8] = if format == "text" { b"before\n\r\n" } else { b"}\n\r\n" };
        read_to(&mut stream, end);
        assert_eq!(init.put("/job/init/restart").status, 200);
        let rest = read_to(&mut stream, END);
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(init.job("j")["pid"], pid);
    let mut stream = ask(&init, "/job/j/stdout?follow&from=7");
    http::request(init.api(), "PUT", "/job/j/stdin", "", "go\n");
    let got = read_to(&mut stream, END);
    let text = String::from_utf8_lossy(&got);
    assert!(text.contains("output-from: 7\r\n") && text.contains("after\n"), "{text}");
    assert!(got.ends_with(END), "the job has ended: {text}");
}

#[test]
fn b22_what_has_an_end_comes_to_it_though_init_becomes_another_one() {
    let init = Init::start(&[]);
    let spec = json!({
        "exec": FLOODS,
        "args": ["10000000"],
        "stdout": "log",
        "log": {"bytes": 16_777_216},
    });
    assert_eq!(init.send("PUT", "/job/f?wait=exit", &spec).status, 201);
    let mut stream = ask(&init, "/job/f/stdout");
    std::thread::scope(|scope| {
        let renewed = scope.spawn(|| init.put("/job/init/restart"));
        let got = read_to(&mut stream, END);
        assert!(got.ends_with(END) && got.len() > 10_000_000, "{}", got.len());
        assert_eq!(renewed.join().unwrap().status, 200);
    });
}

#[test]
fn b22_what_is_not_kept_is_said() {
    let init = Init::start(&[]);
    init.launch_job("silent", &json!({"exec": "sleep", "args": ["60"]}));
    let answer = init.get("/job/silent/stdout");
    assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("not_kept")), "{answer:?}");
    assert_eq!(init.get("/job/nobody/stdout").json()["error"], "unknown_job");
    for query in ["from=x", "tail=-1", "format=xml", "follow=perhaps", "from=1&tail=1", "what"] {
        let answer = init.get(&format!("/job/silent/stdout?{query}"));
        assert_eq!(answer.json()["error"], "bad_query", "{query}: {answer:?}");
    }
}

/// Follows all output, and goes away and comes back again and again: each byte comes once.
#[test]
fn o12_a_collector_that_comes_back_gets_each_byte_once() {
    let init = Init::start(&[]);
    let jobs = 5;
    for job in 0..jobs {
        let script =
            "i=0; while [ $i -lt 400 ]; do echo line $i; echo err $i >&2; i=$((i+1)); done";
        init.launch_job(&format!("j{job}"), &self::script(script));
    }
    let mut got: HashMap<(String, String), String> = HashMap::new();
    let (mut position, mut life) = (0, "0".repeat(16));
    let by = Instant::now() + Duration::from_secs(20);
    for visit in 0.. {
        assert!(Instant::now() < by, "it comes to an end");
        let path = format!("/jobs/output?follow&from={life}:{position}");
        let mut follower = Follower::start(init.api(), &path);
        let ready = follower.json().unwrap();
        assert_eq!((&ready["event"], &ready["position"]), (&json!("ready"), &json!(position)));
        life = ready["life"].as_str().unwrap().to_owned();
        let done = |text: &String| text.ends_with(" 399\n");
        for _ in 0..=visit % 3 {
            if got.len() == 2 * jobs && got.values().all(done) {
                break;
            }
            let event = follower.json().unwrap();
            assert_eq!(event["event"], "output");
            let key = |name: &str| event[name].as_str().unwrap().to_owned();
            let stream = got.entry((key("job"), key("stream"))).or_default();
            assert_eq!(event["offset"].as_u64().unwrap(), stream.len() as u64, "{event}");
            stream.push_str(event["text"].as_str().unwrap());
            position = event["position"].as_u64().unwrap();
        }
        if got.len() == 2 * jobs && got.values().all(done) {
            break;
        }
    }
    for ((job, stream), text) in got {
        let word = if stream == "stdout" { "line" } else { "err" };
        let expected = lines(400, |i| format!("{word} {i}\n"));
        assert_eq!(text, expected, "{job} {stream}");
    }
}

#[test]
fn o12_a_collector_is_told_what_it_missed() {
    let init = Init::start(&[]);
    let gate = gated(&format!("echo first; read go; exec {FLOODS} 1000000"));
    init.launch_job("f", &gate);
    let mut follower = Follower::start(init.api(), "/jobs/output?follow");
    let life = follower.json().unwrap()["life"].as_str().unwrap().to_owned();
    assert_eq!(follower.json().unwrap()["text"], "first\n");
    drop(follower);
    http::request(init.api(), "PUT", "/job/f/stdin", "", "go\n");
    init.wait_for("f", "success");
    let mut late = Follower::start(init.api(), &format!("/jobs/output?from={life}:6"));
    assert_eq!(late.json().unwrap()["position"], 6);
    let missed = late.json().unwrap();
    let gap = json!({"event": "missed", "job": "f", "stream": "stdout", "offset": 934_470});
    assert_eq!(missed, gap);
    let mut next = 934_470;
    while let Some(event) = late.json() {
        assert_eq!(event["offset"], next);
        next += event["text"].as_str().unwrap().len();
    }
    assert_eq!(next, 1_000_006);
}

#[test]
fn o12_bytes_that_are_no_text_come_through_exactly() {
    let init = Init::start(&[]);
    assert_eq!(init.send("PUT", "/job/b?wait=exit", &script("printf '\\377\\000'")).status, 201);
    let mut all = Follower::start(init.api(), "/jobs/output");
    all.json();
    let event = all.json().unwrap();
    assert_eq!((&event["base64"], event.get("text")), (&json!("/wA="), None));
}

#[test]
fn o12_last_words_of_a_cleared_job_can_be_collected() {
    let init = Init::start(&[]);
    assert_eq!(init.send("PUT", "/job/gone?wait=exit", &script("echo last words")).status, 201);
    assert_eq!(init.delete("/job/gone").status, 204);
    assert_eq!(init.send("PUT", "/job/gone?wait=exit", &script("echo another")).status, 201);
    let all = init.get("/jobs/output").body;
    assert!(all.contains("last words") && all.contains("another"), "{all}");
    assert_eq!(init.get("/job/gone/stdout").body, "another\n");
}

#[test]
fn o12_what_a_cleared_job_has_said_goes_with_4_mib_of_later_ones() {
    let init = Init::start(&[]);
    assert_eq!(init.send("PUT", "/job/gone?wait=exit", &script("echo last words")).status, 201);
    assert_eq!(init.delete("/job/gone").status, 204);
    let mut spec = script("head -c 1048576 /dev/zero");
    spec["log"] = json!({"bytes": 1_048_576});
    for later in 1..=4 {
        assert_eq!(init.send("PUT", "/job/later?wait=exit", &spec).status, 201);
        assert_eq!(init.delete("/job/later").status, 204);
        let is_there = init.get("/jobs/output").body.contains("last words");
        assert_eq!(is_there, later < 4, "{later} MiB");
    }
}

#[test]
fn o12_what_a_cleared_job_has_said_takes_no_more_room_than_it_is_long() {
    let init = Init::start(&[]);
    assert_eq!(init.send("PUT", "/job/gone?wait=exit", &script("echo last words")).status, 201);
    assert_eq!(init.delete("/job/gone").status, 204);
    let clear = |bytes: &str| {
        let mut spec =
            script(&format!("head -c {bytes} /dev/zero; echo end of {bytes}; echo oh >&2"));
        spec["log"] = json!({"bytes": 16_777_216});
        assert_eq!(init.send("PUT", "/job/later?wait=exit", &spec).status, 201);
        assert_eq!(init.delete("/job/later").status, 204);
    };
    // For which there is a ring of 4 MiB.
    clear("2000000");
    let all = init.get("/jobs/output").body;
    assert!(all.contains("last words") && all.contains("end of 2000000"));
    assert!(all.len() > 2_000_000, "{}", all.len());
    // More than all may have together.
    clear("16000000");
    let all = init.get("/jobs/output").body;
    assert!(all.contains("end of 16000000") && all.contains("oh\\n"));
    assert!(all.len() > 4_000_000 && all.contains("end of 2000000"), "{}", all.len());
}

#[test]
fn o12_who_comes_back_too_late_is_told_of_cleared_jobs() {
    let init = Init::start(&[]);
    let mut gate = gated(&format!("echo first; read go; exec {FLOODS} 1000000"));
    gate["log"] = json!({"bytes": 1_048_576});
    init.launch_job("half", &gate);
    let mut follower = Follower::start(init.api(), "/jobs/output?follow");
    let life = follower.json().unwrap()["life"].as_str().unwrap().to_owned();
    assert_eq!(follower.json().unwrap()["text"], "first\n");
    drop(follower);
    http::request(init.api(), "PUT", "/job/half/stdin", "", "go\n");
    init.wait_for("half", "success");
    let flood = json!({
        "exec": FLOODS,
        "args": ["1000000"],
        "stdout": "log",
        "log": {"bytes": 1_048_576},
    });
    assert_eq!(init.send("PUT", "/job/whole?wait=exit", &flood).status, 201);
    for job in ["half", "whole"] {
        assert_eq!(init.delete(&format!("/job/{job}")).status, 204);
    }
    // These take the place of both.
    for job in 0..4 {
        assert_eq!(init.send("PUT", &format!("/job/f{job}?wait=exit"), &flood).status, 201);
        assert_eq!(init.delete(&format!("/job/f{job}")).status, 204);
    }
    assert_eq!(init.put("/job/init/restart").status, 200);
    let told = |from: &str| {
        let mut late = Follower::start(init.api(), &format!("/jobs/output?{from}"));
        let is_missed = |event: &Value| event["event"] == "missed";
        std::iter::from_fn(move || late.json()).filter(is_missed).collect::<Vec<_>>()
    };
    let missed = |job: &str, offset: u64| json!({"event": "missed", "job": job, "stream": "stdout", "offset": offset});
    let (half, mut whole) = (missed("half", 1_000_006), missed("whole", 1_000_000));
    whole["count"] = json!(1_000_000);
    assert_eq!(told(&format!("from={life}:6")), [half.clone(), whole.clone()]);
    assert_eq!(told(&format!("from={life}:1000006")), [whole]);
    assert_eq!(told(&format!("from={life}:2000006")), [] as [Value; 0]);
    assert_eq!(told(""), [] as [Value; 0], "who begins has missed nothing");
}

/// What a slow reader gets and what he is told to have missed is all there was, of each job.
#[test]
fn o12_a_slow_collector_is_told_of_cleared_jobs() {
    let init = Init::start(&[]);
    let mut follower = Follower::start(init.api(), "/jobs/output?follow");
    let (jobs, bytes) = (30, 1_000_000);
    let flood = json!({
        "exec": FLOODS,
        "args": [bytes.to_string()],
        "stdout": "log",
        "log": {"bytes": 1_048_576},
    });
    for job in 0..jobs {
        assert_eq!(init.send("PUT", &format!("/job/f{job}?wait=exit"), &flood).status, 201);
        assert_eq!(init.delete(&format!("/job/f{job}")).status, 204);
    }
    assert_eq!(init.send("PUT", "/job/end?wait=exit", &script("echo end")).status, 201);
    let mut known: HashMap<String, u64> = HashMap::new();
    let mut missed = 0;
    loop {
        let event = follower.json().unwrap();
        let count = match event["event"].as_str().unwrap() {
            "ready" => continue,
            "missed" => event["count"].as_u64().unwrap(),
            _ if event["job"] == "end" => break,
            _ => event["text"].as_str().unwrap().len() as u64,
        };
        let known = known.entry(event["job"].as_str().unwrap().to_owned()).or_default();
        *known += count;
        if event["event"] == "missed" {
            assert_eq!(event["offset"].as_u64(), Some(*known), "{event}");
            missed += 1;
        }
    }
    assert!(missed > 0 && known.len() == jobs, "{missed}: {known:?}");
    assert!(known.values().all(|known| *known == bytes), "{known:?}");
}

/// How long an answer takes is counted in bytes that init reads meanwhile, which is the same on a
/// machine that is busy with other things.
#[test]
fn z06_a_hundred_floods_leave_the_api_quick() {
    let init = Init::start(&[]);
    let spec = json!({"exec": FLOODS, "args": ["0"], "nice": 19, "stdout": "log"});
    for job in 0..100 {
        init.launch_job(&format!("f{job}"), &spec);
    }
    let mut place = Follower::start(init.api(), "/jobs/output?follow");
    let life = place.json().unwrap()["life"].as_str().unwrap().to_owned();
    drop(place);
    // Beyond all there is: the answer says how much that is, and ends.
    let path = format!("/jobs/output?from={life}:{}", u64::MAX);
    let position = || {
        let mut now = Follower::start(init.api(), &path);
        now.json().unwrap()["position"].as_u64().unwrap()
    };
    let mut before = position();
    let mut read: Vec<_> = (0..200)
        .map(|_| {
            assert_eq!(init.get("/job/f0").status, 200);
            let read = position() - before;
            before += read;
            read
        })
        .collect();
    read.sort_unstable();
    // Two requests; a turn of reading, in which at most 256 KiB are read, is in the way a few times.
    assert!(read[100] < 8 << 20, "{} bytes", read[100]);
    for job in 0..100 {
        let end = init.get(&format!("/job/f{job}/stdout")).header("output-end").unwrap().to_owned();
        assert_ne!(end, "0", "none is kept from being read");
    }
}

#[test]
fn i07_who_inherits_the_output_neither_hangs_a_stop_nor_is_lost() {
    let init = Init::start_without_cgroups(&[]);
    // It leaves the session and the group before its parent ends, and goes on writing.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let spec = script(&format!(
        "setsid sh -c 'trap \"\" HUP TERM; touch {0}; while sleep 0.05; do echo still; done' &\n\
         until test -e {0}; do sleep 0.01; done; rm {0}",
        out.display()
    ));
    assert_eq!(init.send("PUT", "/job/p?wait=exit", &spec).status, 201);
    let answer = init.put("/job/p/stop");
    assert_eq!(answer.status, 200, "{answer:?}");
    wait::until("what is left of it to be heard", || {
        init.get("/job/p/stdout").body.contains("still").then_some(())
    });
    for _ in 0..5 {
        assert_eq!(init.send("PUT", "/job/p?wait=exit", &spec).status, 201);
    }
}
