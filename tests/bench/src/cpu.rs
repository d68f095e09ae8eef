//! CPU time of processes, and which core they run on.

use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Nanoseconds that a process, its threads and its children have run.
pub fn used(pid: u32) -> u64 {
    own(pid) + children(pid).into_iter().map(used).sum::<u64>()
}

/// Nanoseconds that a process and its threads have run.
pub fn own(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// The children of a process's main thread.
pub fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Keeps this thread, and what it starts from now on, on one core; on any if there is only one.
pub fn pin(core: usize) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut set = CpuSet::new();
    if cores > 1 && set.set(core % cores).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
