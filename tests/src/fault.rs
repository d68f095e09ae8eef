//! Faults in another process, as its own code could have them: at a random moment, by a debugger's means.
//! Where tests run, that is an x86-64 one.

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It goes on at an address where there is nothing.
    Jump,
    /// Its stack ends.
    Overflow,
    /// Its memory, or its program's file, cannot be read.
    Bus,
    /// What it goes on with is no instruction.
    Instruction,
    /// It divides by nothing.
    Division,
}

impl Fault {
    pub const ALL: [Self; 5] =
        [Self::Jump, Self::Overflow, Self::Bus, Self::Instruction, Self::Division];

    /// Lets it happen to a process, so many instructions from now; before that, `meanwhile` happens while
    /// it stands still.
    pub fn strike(self, pid: Pid, steps: usize, meanwhile: impl FnOnce()) {
        assert!(self.may_strike(pid, steps, meanwhile), "root may, while it is there");
    }

    /// The same, if the process is still there.
    pub fn may_strike(self, pid: Pid, steps: usize, meanwhile: impl FnOnce()) -> bool {
        if ptrace::attach(pid).is_err() {
            return false;
        }
        if !has_stopped(pid) {
            return false;
        }
        meanwhile();
        // It has stopped at the end of a system call, where nothing goes wrong by itself.
        for _ in 0..steps {
            if ptrace::step(pid, None).is_err() || !has_stopped(pid) {
                return false;
            }
        }
        let signal = match self {
            Self::Jump | Self::Overflow => {
                let mut registers = ptrace::getregs(pid).expect("it stands still");
                if self == Self::Jump {
                    registers.rip = 0;
                } else {
                    // Some code takes the one from the other.
                    (registers.rsp, registers.rbp) = (0x1000, 0x1000);
                }
                // It is in no system call any more.
                registers.orig_rax = u64::MAX;
                ptrace::setregs(pid, registers).expect("it stands still");
                None
            }
            Self::Bus => Some((Signal::SIGBUS, 2)),
            Self::Instruction => Some((Signal::SIGILL, 2)),
            Self::Division => Some((Signal::SIGFPE, 1)),
        };
        if let Some((signal, code)) = signal {
            let mut info = ptrace::getsiginfo(pid).expect("it was stopped by a signal");
            (info.si_signo, info.si_code) = (signal as libc::c_int, code);
            ptrace::setsiginfo(pid, &info).expect("it stands still");
        }
        ptrace::detach(pid, signal.map(|(signal, _)| signal)).expect("it goes on");
        true
    }
}

/// Waits until a traced process stands still. Its end is for somebody else to take.
fn has_stopped(pid: Pid) -> bool {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
    let seen = waitid(Id::Pid(pid), peek | WaitPidFlag::__WALL).expect("it stops, or ends");
    if matches!(seen, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
        return false;
    }
    waitpid(pid, Some(WaitPidFlag::__WALL)).is_ok()
}
