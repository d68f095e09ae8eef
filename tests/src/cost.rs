//! What a process costs.

use std::fs;
use std::time::Duration;

/// Memory that is its own, and its share of what others have, too, in KiB.
pub fn pss(pid: u32) -> u64 {
    rollup(pid, "Pss:")
}

/// The part of it that is no file's: what its work takes, whatever the kernel has mapped of its program.
pub fn anonymous(pid: u32) -> u64 {
    rollup(pid, "Pss_Anon:")
}

/// The other part: its program.
pub fn of_files(pid: u32) -> u64 {
    rollup(pid, "Pss_File:")
}

fn rollup(pid: u32, field: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let line = rollup.lines().find(|line| line.starts_with(field)).expect("it is told");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

/// How long its threads have run.
pub fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let ran = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ran.sum())
}
