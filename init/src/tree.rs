//! The processes of a job: its process group.
//!
//! A group's number stays taken while any process of it lives or is not reaped, so as long as a
//! job's tree is not empty its number means that tree and no other.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal as os;
use nix::unistd::Pid as OsPid;

use crate::id::Pid;
use crate::signal::Signal;
use crate::sys;

/// Signals one process.
pub fn signal(pid: Pid, signal: Signal) -> Result<(), Errno> {
    sys::kill(pid.as_raw(), signal)
}

/// Signals every process of the tree that `leader` leads or led.
pub fn signal_all(leader: Pid, signal: Signal) {
    // An empty tree has nobody to tell.
    let _ = sys::kill(-leader.as_raw(), signal);
}

/// Whether no process of it is left.
#[must_use]
pub fn is_empty(leader: Pid) -> bool {
    os::killpg(OsPid::from_raw(leader.as_raw()), None) == Err(Errno::ESRCH)
}

/// Whether anybody of the tree lives. A group can be kept by the dead alone, whose parent has left
/// it and does not reap them.
#[must_use]
pub fn has_living(leader: Pid) -> bool {
    if is_empty(leader) {
        return false;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    processes.filter_map(Result::ok).any(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        is_living_member(&stat, leader)
    })
}

/// Reads `PID (NAME) STATE PPID PGRP …`; the name may hold anything.
fn is_living_member(stat: &str, leader: Pid) -> bool {
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let mut fields = rest.split(' ');
    let dead = matches!(fields.next(), Some("Z" | "X") | None);
    let group = fields.nth(1).and_then(|group| group.parse().ok());
    !dead && group == Some(leader.as_raw())
}

/// Kills what is left of init's processes: all others where init is PID 1, else its children, to
/// be called again until there are none, because their death leaves theirs to init.
pub fn kill_what_is_left() {
    if nix::unistd::getpid().as_raw() == 1 {
        let _ = os::kill(OsPid::from_raw(-1), os::Signal::SIGKILL);
        return;
    }
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::new) {
        let _ = signal(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_no_members() {
        let leader = Pid::new(70).unwrap();
        assert!(is_living_member("71 (a) b) S 1 70 70 0", leader));
        assert!(!is_living_member("71 (a) Z 1 70 70 0", leader));
        assert!(!is_living_member("71 (a) S 1 700 70 0", leader));
        assert!(!is_living_member("", leader));
    }
}
