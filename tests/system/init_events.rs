//! `GET /jobs?follow`: every change once and in order, also for who comes back and for who is slow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jobinit_tests::http;
use jobinit_tests::init::Init;
use serde_json::{Value, json};

/// Changes that init keeps for who comes back.
const KEPT: u64 = 1024;

/// A client that follows the jobs.
struct Follower(http::Follower);

impl Follower {
    /// Follows from a place, or from nowhere if that is empty.
    #[track_caller]
    fn start(init: &Init, from: &str) -> Self {
        let from = if from.is_empty() { String::new() } else { format!("&from={from}") };
        Self(http::Follower::start(init.api(), &format!("/jobs?follow{from}")))
    }

    #[track_caller]
    fn next(&mut self) -> Value {
        self.0.json().expect("init tells more")
    }

    /// All events up to `ready`.
    #[track_caller]
    fn start_of_it(&mut self) -> (Vec<Value>, Value) {
        let mut told = Vec::new();
        loop {
            match self.next() {
                event if event["event"] == "ready" => return (told, event),
                event => told.push(event),
            }
        }
    }
}

fn place(ready: &Value, seq: u64) -> String {
    format!("{}:{seq}", ready["life"].as_str().expect("`ready` tells the life"))
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {event}"))
}

/// Two changes: it runs, and it has ended. A third one when it is cleared.
fn run(init: &Init, id: &str) {
    let answer = init.send("PUT", &format!("/job/{id}?wait=exit"), &json!({"exec": "/bin/true"}));
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn b09_changes_are_told_in_their_order() {
    let init = Init::start(&[]);
    let mut follower = Follower::start(&init, "");
    let (jobs, ready) = follower.start_of_it();
    assert_eq!((jobs.len(), seq(&ready)), (0, 0));
    thread::scope(|scope| {
        for client in 0..4 {
            let init = &init;
            scope.spawn(move || {
                for round in 0..20 {
                    let id = format!("job.{client}.{round}");
                    run(init, &id);
                    assert_eq!(init.delete(&format!("/job/{id}")).status, 204);
                }
            });
        }
    });
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 1..=4 * 20 * 3 {
        let event = follower.next();
        assert_eq!(seq(&event), number, "{event}");
        let (id, what) = match event["event"].as_str().unwrap() {
            "job" => (&event["job"]["id"], &event["job"]["status"]),
            what => (&event["id"], &json!(what)),
        };
        told.entry(id.to_string()).or_default().push(what.as_str().unwrap().to_owned());
    }
    assert_eq!(told.len(), 80);
    for (id, told) in told {
        assert_eq!(told, ["running", "success", "gone"], "{id}");
    }
}

#[test]
fn b09_who_comes_back_again_and_again_sees_each_change_once() {
    let init = Init::start(&[]);
    let mut follower = Follower::start(&init, "");
    let (_, ready) = follower.start_of_it();
    let (mut at, mut times) = (seq(&ready), 0);
    // Not more than a quarter of what is kept is ever ahead of the client, however slow that is.
    let (seen, made, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..3 {
            let (init, seen, made, is_over) = (&init, &seen, &made, &is_over);
            scope.spawn(move || {
                let id = format!("job.{client}");
                while !is_over.load(Ordering::Relaxed) {
                    run(init, &id);
                    assert_eq!(init.delete(&format!("/job/{id}")).status, 204);
                    made.fetch_add(3, Ordering::Relaxed);
                    while made.load(Ordering::Relaxed) > seen.load(Ordering::Relaxed) + KEPT / 4
                        && !is_over.load(Ordering::Relaxed)
                    {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
        while times < 100 {
            for _ in 0..=times % 7 {
                match follower.next() {
                    event if event["event"] == "ready" => {
                        assert_eq!((seq(&event), &event["life"]), (at, &ready["life"]));
                    }
                    event => {
                        assert_eq!(seq(&event), at + 1, "{event}");
                        at += 1;
                    }
                }
                seen.store(at, Ordering::Relaxed);
            }
            follower = Follower::start(&init, &place(&ready, at));
            times += 1;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    // What came meanwhile, and then nothing more.
    let (told, last) = follower.start_of_it();
    assert!(told.iter().map(seq).eq(at + 1..=seq(&last)), "{told:?}");
}

#[test]
fn b09_going_on_from_the_last_change_tells_only_what_is_new() {
    let init = Init::start(&[]);
    run(&init, "a");
    let (jobs, ready) = Follower::start(&init, "").start_of_it();
    assert_eq!((jobs.len(), seq(&ready)), (1, 2));
    let from = place(&ready, 2);
    let mut follower = Follower::start(&init, &from);
    assert_eq!(follower.next(), ready);
    run(&init, "b");
    assert_eq!((seq(&follower.next()), seq(&follower.next())), (3, 4));
    let (told, again) = Follower::start(&init, &from).start_of_it();
    assert_eq!(told.iter().map(seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(seq(&again), 4);
}

#[test]
fn b09_who_was_away_too_long_is_told_so_and_gets_all_jobs() {
    let init = Init::start(&[]);
    init.launch_job("there", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    let mut other = Follower::start(&init, "");
    let (_, ready) = other.start_of_it();
    let from = place(&ready, seq(&ready));
    (0..=KEPT / 2).for_each(|_| run(&init, "much"));
    let last = seq(&ready) + KEPT + 2;
    while seq(&other.next()) < last {}
    let (told, _) = Follower::start(&init, &from).start_of_it();
    assert_eq!(told[0], json!({"event": "missed", "count": last - seq(&ready)}));
    let ids: Vec<_> = told[1..].iter().map(|event| event["job"]["id"].clone()).collect();
    assert_eq!(ids, ["much", "there"]);
    // The oldest change that is kept can be gone on from.
    let (told, _) = Follower::start(&init, &place(&ready, last - KEPT)).start_of_it();
    assert!(told.iter().map(seq).eq(last - KEPT + 1..=last));
    let (told, _) = Follower::start(&init, &place(&ready, last - KEPT - 1)).start_of_it();
    assert_eq!(told[0], json!({"event": "missed", "count": KEPT + 1}));
}

#[test]
fn b09_a_place_of_another_life_is_missed() {
    let (init, other) = (Init::start(&[]), Init::start(&[]));
    for init in [&init, &other] {
        run(init, "a");
    }
    let (_, ready) = Follower::start(&other, "").start_of_it();
    let (_, own) = Follower::start(&init, "").start_of_it();
    assert_ne!(ready["life"], own["life"]);
    for from in [place(&ready, 2), place(&own, 3)] {
        let (told, ready) = Follower::start(&init, &from).start_of_it();
        assert_eq!(told[0], json!({"event": "missed", "count": null}), "{from}");
        assert_eq!((told.len(), &told[1]["job"]["id"]), (2, &json!("a")));
        assert_eq!(ready, own);
    }
}

#[test]
fn b09_a_place_that_is_none_is_refused() {
    let init = Init::start(&[]);
    let paths = ["/jobs?follow&from=17", "/jobs?follow&from=", "/jobs?from=0123456789abcdef:1"];
    for path in paths {
        let answer = init.get(path);
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("bad_query")), "{path}");
    }
}

#[test]
fn b09_a_slow_reader_is_told_what_it_missed_and_takes_no_memory() {
    let init = Init::start(&[]);
    let mut slow = Follower::start(&init, "");
    let mut at = seq(&slow.start_of_it().1);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", init.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    let before = resident();
    // 50 MB of changes.
    let part = "x".repeat(60_000);
    let spec = json!({"exec": "/bin/true", "args": [&part, &part, &part, &part]});
    for _ in 0..100 {
        assert_eq!(init.send("PUT", "/job/large?wait=exit", &spec).status, 201);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "init has grown by {grown} bytes");
    run(&init, "last");
    let mut missed = 0;
    while at < 202 {
        let event = slow.next();
        if event["event"] == "missed" {
            let count = event["count"].as_u64().unwrap();
            missed += count;
            at += count;
        } else {
            at += 1;
            assert_eq!(seq(&event), at, "{}", event["event"]);
        }
    }
    assert!(missed > 100, "{missed} were missed");
}
