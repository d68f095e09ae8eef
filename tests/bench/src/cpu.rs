//! CPU time of processes, and which core they run on.

use std::fs;
use std::sync::LazyLock;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
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

/// Those that may be used, as they were before any thread was kept on one of them.
static CORES: LazyLock<Vec<usize>> = LazyLock::new(allowed);

fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|core| set.is_set(*core) == Ok(true)).collect()
}

/// Keeps this thread, and what it starts from now on, on the first core, the second one, and so on.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    if let Some(core) = CORES.iter().cycle().nth(core)
        && set.set(*core).is_ok()
    {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn whoever_was_on_one_core_can_be_moved_to_another() {
        let on = || {
            [0, 1, 0].map(|core| {
                pin(core);
                allowed()
            })
        };
        let on = thread::spawn(on).join().unwrap();
        let [first, second] = [0, 1].map(|core| vec![CORES[core % CORES.len()]]);
        assert_eq!(on, [first.clone(), second, first]);
    }
}
