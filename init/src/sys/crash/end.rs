//! A crash when nothing is left to do but to end.

use std::ffi::c_long;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::sys::syscall;

/// How it ends, once nothing is left but to end.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// With this exit code.
    Exit(u8),
    /// With the machine, by this command of `reboot(2)`.
    Machine(u32),
}

static END: AtomicI64 = AtomicI64::new(-1);

/// From now on a crash is not gone on after: it is the end.
pub fn end_with(end: End) {
    END.store(
        match end {
            End::Exit(code) => i64::from(code),
            End::Machine(command) => i64::from(command) << 8,
        },
        Ordering::Relaxed,
    );
}

pub(super) fn end() -> Option<End> {
    let end = u64::try_from(END.load(Ordering::Relaxed)).ok()?;
    let (machine, exit) = (u32::try_from(end >> 8).ok()?, u8::try_from(end & 0xff).ok()?);
    Some(if machine == 0 { End::Exit(exit) } else { End::Machine(machine) })
}

impl End {
    pub(super) fn come(self) {
        match self {
            Self::Exit(code) => {
                syscall(libc::SYS_exit_group, [c_long::from(code), 0, 0, 0]);
            }
            Self::Machine(command) => {
                const MAGIC: [c_long; 2] = [0xfee1_dead, 672_274_793];
                let [one, two] = MAGIC;
                syscall(libc::SYS_sync, [0; 4]);
                syscall(libc::SYS_reboot, [one, two, c_long::from(command), 0]);
            }
        }
    }
}
