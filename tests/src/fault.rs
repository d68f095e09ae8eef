//! Faults in another process, as its own code could have them: at a random moment, by a debugger's means.

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
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
        ptrace::attach(pid).expect("root may");
        waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it stops");
        meanwhile();
        // It has stopped at the end of a system call, where nothing goes wrong by itself.
        for _ in 0..steps {
            ptrace::step(pid, None).expect("it stands still");
            waitpid(pid, Some(WaitPidFlag::__WALL)).expect("it stops");
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
    }
}
