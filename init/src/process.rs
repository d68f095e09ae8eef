//! Processes as `/proc` shows them: who is whose child, and in which group and session.

use std::fs;
use std::time::Duration;

use nix::sys::signal as os;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid as OsPid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::detached::Spared;
use crate::id::Pid;
use crate::signal::{Exit, Signal};
use crate::sys;

/// The kernel's flag of a process that has forked and not exec'ed.
const PF_FORKNOEXEC: u32 = 0x40;
/// Where a process's line has how it has ended, after its name.
const EXIT_STATUS: usize = 49;
/// The kernel's flag of its own threads.
const PF_KTHREAD: u32 = 0x20_0000;

/// A process at the moment it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// The name of its program, at most 15 bytes.
    pub name: String,
    /// The kernel's letter for what it does: `R`, `S`, `D`, `Z`, …
    pub state: char,
    /// Its parent.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// It has never exec'ed since it was forked.
    pub is_unborn: bool,
    /// It is a thread of the kernel.
    pub is_kernel: bool,
    /// How many threads it has.
    pub threads: u32,
    /// When it began, in ticks since the machine did: with the number, this names one process for
    /// ever.
    pub start: u64,
}

impl Process {
    /// One process, if it is there and can be seen.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// All there are. `None` without `/proc`.
    #[must_use]
    pub fn all() -> Option<Vec<Self>> {
        let entries = fs::read_dir("/proc").ok()?;
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let all: Vec<_> = numbers.filter_map(Self::read).collect();
        // A mount point without the file system behind it is empty; we are always there.
        (!all.is_empty()).then_some(all)
    }

    /// Reads `PID (NAME) STATE PPID PGRP SESSION …`; the name may hold anything.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (head, rest) = line.rsplit_once(") ")?;
        let (pid, name) = head.split_once(" (")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        let mut number = || fields.next()?.parse().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        // After the terminal and its foreground.
        let flags: u32 = fields.nth(2)?.parse().ok()?;
        let (is_unborn, is_kernel) = (flags & PF_FORKNOEXEC != 0, flags & PF_KTHREAD != 0);
        let threads: u32 = fields.nth(10)?.parse().ok()?;
        let start = fields.nth(1)?.parse().ok()?;
        let (pid, name) = (pid.parse().ok()?, name.to_owned());
        Some(Self {
            pid,
            name,
            state,
            parent,
            group,
            session,
            is_unborn,
            is_kernel,
            threads,
            start,
        })
    }

    /// Whether it is not dead and only waiting to be reaped. The state is its first thread's, which
    /// may end before the others.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }

    /// How a process that began then has ended, if it waits to be reaped and init may see that.
    #[must_use]
    pub fn exit_of_zombie(pid: i32, start: u64) -> Option<Exit> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&line).filter(|process| process.start == start && process.state == 'Z')?;
        let status = line.rsplit_once(") ")?.1.split_whitespace().nth(EXIT_STATUS)?.parse().ok()?;
        // A 0 is also what the kernel shows those who may not see it.
        let may_see = || fs::read(format!("/proc/{pid}/io")).is_ok();
        Exit::from_status(status).filter(|_| status != 0 || may_see())
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Moment {
        let now = Moment::now();
        let age = || {
            let booted = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
            let a_second = sysconf(SysconfVar::CLK_TCK).ok()??;
            let a_second = u64::try_from(a_second).ok().filter(|ticks| *ticks > 0)?;
            let ms = self.start.checked_mul(1000)?.checked_div(a_second)?;
            booted.checked_sub(Duration::from_millis(ms))
        };
        let age = age().unwrap_or_default();
        let mono = now.mono.checked_sub(age).unwrap_or(now.mono);
        Moment { mono, wall: now.wall.checked_sub(age).unwrap_or(now.wall) }
    }

    /// Signals it, and nobody who has got its number since.
    pub fn signal(&self, signal: Signal) {
        let Ok(handle) = sys::open_process(self.pid) else { return };
        // With the handle open, the number stays what it is as far as the handle goes.
        if Self::read(self.pid).is_some_and(|now| now.start == self.start) {
            // Who has ended meanwhile needs no signal.
            let _ = sys::signal_process(&handle, signal);
        }
    }
}

/// Whether a child lives and has not exec'ed.
#[must_use]
pub fn is_unborn(child: Pid) -> bool {
    Process::read(child.as_raw()).is_some_and(|child| child.is_unborn && child.is_alive())
}

/// Signals one of init's own children, which nobody else reaps, so that its number is its own.
pub fn signal_child(pid: Pid, signal: Signal) -> Result<(), nix::errno::Errno> {
    sys::kill(pid.as_raw(), signal)
}

/// Signals a process group whose leader is not reaped, or which has members.
pub fn signal_group(leader: Pid, signal: Signal) {
    // An empty group has nobody to tell.
    let _ = sys::kill(-leader.as_raw(), signal);
}

/// Whether a process group has no member, dead ones that are not reaped included.
#[must_use]
pub fn is_group_empty(leader: Pid) -> bool {
    os::killpg(OsPid::from_raw(leader.as_raw()), None) == Err(nix::errno::Errno::ESRCH)
}

/// Kills what is left of init's processes: all others where init is PID 1, else its children but
/// those that are spared, to be called again until there are none, because their death leaves theirs
/// to init. Answers whether somebody was there to be killed.
pub fn kill_what_is_left(spared: &Spared) -> bool {
    if nix::unistd::getpid().as_raw() == 1 {
        let _ = os::kill(OsPid::from_raw(-1), os::Signal::SIGKILL);
        return true;
    }
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let children: Vec<_> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    let mut doomed = spared.others(children).into_iter().filter_map(Pid::new).peekable();
    let is_anybody_there = doomed.peek().is_some();
    for pid in doomed {
        let _ = signal_child(pid, Signal::KILL);
    }
    is_anybody_there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let rest = "1 70 69 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 10";
        let process = Process::parse(&format!("71 (a) b (c) S {rest}")).unwrap();
        assert_eq!((process.pid, process.name.as_str()), (71, "a) b (c"));
        assert_eq!((process.parent, process.group, process.session), (1, 70, 69));
        assert_eq!(process.start, 12345);
        assert!(process.is_alive());
        assert!(!Process::parse(&format!("71 (a) Z {rest}")).unwrap().is_alive());
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn i09_a_process_is_known_by_its_start() {
        let own = std::process::id().cast_signed();
        let me = Process::read(own).unwrap();
        assert!(Process::all().unwrap().iter().any(|p| (p.pid, p.start) == (own, me.start)));
        // Another one of that number would get the signal: SIGKILL would end this test.
        Process { start: me.start + 1, ..me }.signal(Signal::KILL);
    }
}
