//! Jobs that write, end and are started again without a pause, and what shows that nothing of it is lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::init::Init;

/// A job that `sh` runs.
pub fn script(text: &str) -> Value {
    json!({"exec": "/bin/sh", "args": ["-c", text], "envs": {"PATH": "/usr/bin:/bin"}})
}

/// One that writes the numbers from 1 on, a line each.
pub fn counter() -> Value {
    let mut spec = script("i=0; while sleep 0.002; do i=$((i+1)); echo $i; done");
    spec["stdout"] = json!("log");
    spec
}

/// Three jobs that never rest.
pub struct Load {
    /// Those whose processes stay the same.
    steady: Vec<(&'static str, Value)>,
}

impl Load {
    /// Starts them: `counter`; `flood`, which is the program `floods` and waits for who reads it; and
    /// `crashing`, each run of which writes a line.
    pub fn start(init: &Init, floods: &str) -> Self {
        let counter = init.launch_job("counter", &counter());
        let mut crashing = script("echo run; sleep 0.02; exit 1");
        crashing["stdout"] = json!("log");
        crashing["restart"] = json!({"policy": "always", "delay_ms": 10, "factor": 1.0});
        init.launch_job("crashing", &crashing);
        let flood = json!({"exec": floods, "args": ["0"], "nice": 19, "stdout": "log",
            "log": {"bytes": 8192, "when_full": "wait"}});
        let flood = init.launch_job("flood", &flood);
        let boot = init.job("boot")["pid"].clone();
        let steady = [("counter", json!(counter)), ("flood", json!(flood)), ("boot", boot)].into();
        Self { steady }
    }

    /// The counter's process.
    pub fn counter(&self) -> &Value {
        &self.steady[0].1
    }

    /// The same processes are there.
    #[track_caller]
    pub fn check(&self, init: &Init) {
        for (job, pid) in &self.steady {
            assert_eq!(init.job(job)["pid"], *pid, "{job}");
        }
    }
}

/// How often `crashing` has been started, and how often it has run far enough to say so.
pub fn starts_and_runs(init: &Init) -> (u64, u64) {
    let runs = init.get("/job/crashing/stdout?from=0").body.lines().count() as u64;
    (init.job("crashing")["respawn"].as_u64().expect("a number") + 1, runs)
}

/// The output of all jobs, from one answer of `GET /jobs/output` to the next. Not a byte may be missing or
/// there twice.
pub struct Collector {
    position: u64,
    life: String,
    got: HashMap<String, Numbers>,
}

/// The numbered lines of one job, as they come in pieces.
#[derive(Default)]
struct Numbers {
    offset: u64,
    lines: u64,
    begun: String,
}

impl Default for Collector {
    fn default() -> Self {
        Self { position: 0, life: "0".repeat(16), got: HashMap::new() }
    }
}

impl Collector {
    /// What to ask for next.
    pub fn path(&self) -> String {
        format!("/jobs/output?follow&from={}:{}", self.life, self.position)
    }

    /// Takes the next event of an answer.
    #[track_caller]
    pub fn take(&mut self, event: &Value) {
        if event["event"] == "ready" {
            assert_eq!(event["position"], self.position, "init lives on: {event}");
            event["life"].as_str().expect("a text").clone_into(&mut self.life);
            return;
        }
        assert_eq!(event["event"], "output", "nothing is missed: {event}");
        self.position = event["position"].as_u64().expect("a number");
        let job = event["job"].as_str().expect("a text");
        let numbers = self.got.entry(job.to_owned()).or_default();
        match job {
            "flood" => numbers.add(event, 0),
            "counter" => numbers.add(event, 1),
            _ => {}
        }
    }

    /// How many lines a job has written.
    pub fn lines(&self, job: &str) -> u64 {
        self.got.get(job).map_or(0, |numbers| numbers.lines)
    }
}

impl Numbers {
    /// Each line is one more than the one before.
    #[track_caller]
    fn add(&mut self, event: &Value, first: u64) {
        assert_eq!(event["offset"], self.offset, "{event}");
        let text = event["text"].as_str().expect("a text");
        self.offset += text.len() as u64;
        for part in text.split_inclusive('\n') {
            self.begun.push_str(part);
            if let Some(line) = self.begun.strip_suffix('\n') {
                assert_eq!(line.parse(), Ok(first + self.lines));
                self.lines += 1;
                self.begun.clear();
            }
        }
    }
}

/// Says that it is done when it is dropped.
pub struct Done<'a>(pub &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
