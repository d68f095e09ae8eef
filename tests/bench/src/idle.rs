//! `idle`: how often the supervising processes of 100 services wake while nothing happens.

use std::fs;
use std::time::Duration;

use crate::report::Row;
use crate::service;
use crate::supervisors::{NAMES, Supervisor};

const SERVICES: usize = 100;
/// Until what starting them leaves behind is over.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);

pub fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in NAMES {
        match once(name) {
            Ok(wakes) => rows.push(Row::new("idle", name, wakes, "in 10 s")),
            Err(why) => eprintln!("bench: SKIPPED {name}: {why}"),
        }
    }
    rows
}

fn once(name: &str) -> Result<f64, String> {
    let supervisor = Supervisor::start(name, SERVICES)?;
    service::wait(&supervisor.folder, SERVICES)?;
    std::thread::sleep(SETTLE);
    let pids = supervisor.pids();
    let before: u32 = pids.iter().map(|pid| switches(*pid)).sum();
    std::thread::sleep(IDLE);
    let after: u32 = pids.iter().map(|pid| switches(*pid)).sum();
    Ok(f64::from(after.saturating_sub(before)))
}

/// Context switches of all threads, wanted or not.
pub fn switches(pid: u32) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    texts
        .map(|text| {
            let lines = text.lines().filter(|line| line.contains("ctxt_switches"));
            lines
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok())
                .sum::<u32>()
        })
        .sum()
}
