//! The copy of a crashed process, which writes down what it knows.

use std::ffi::{c_int, c_long};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::{IS_COPY, Paper, SCRATCH, SUBJECT};
use crate::sys::syscall;

/// How long the copy may take, in looks, and how long between two of them.
const LOOKS: u32 = 15_000;
static A_LOOK: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 200_000 };

/// A copy of this process writes down what the subject knows. Answers whether it could.
pub(super) fn write_down() -> bool {
    let (entry, to) = (SUBJECT.load(Ordering::Acquire), SCRATCH.load(Ordering::Relaxed));
    if entry.is_null() || to < 0 {
        return false;
    }
    // Its descriptors are this process's, so what it keeps open stays open. Nobody is told of its end.
    let child = syscall(libc::SYS_clone, [c_long::from(libc::CLONE_FILES), 0, 0, 0]);
    if child == 0 {
        IS_COPY.store(true, Ordering::Relaxed);
        lift_file_size();
        // SAFETY: whoever used it does not go on in this process.
        let write = || unsafe { (**entry).write(Paper::blank(to)) };
        let is_written = matches!(catch_unwind(AssertUnwindSafe(write)), Ok(Ok(())));
        loop {
            syscall(libc::SYS_exit_group, [c_long::from(!is_written), 0, 0, 0]);
        }
    }
    child > 0 && has_succeeded(child)
}

/// Waits for the copy, but not for ever.
fn has_succeeded(child: c_long) -> bool {
    // SAFETY: all zeroes are a valid value, and what the kernel leaves when there is nothing to tell.
    let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
    let mut ended = |how: c_int| {
        let how = c_long::from(how | libc::WEXITED | libc::__WALL);
        let which = c_long::from(libc::P_PID.cast_signed());
        let code = syscall(libc::SYS_waitid, [which, child, (&raw mut info) as c_long, how]);
        // SAFETY: as above.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        let is_over = code < 0 && code != -c_long::from(libc::EINTR) || pid != 0;
        is_over.then_some(code == 0 && info.si_code == libc::CLD_EXITED && status == 0)
    };
    for _ in 0..LOOKS {
        if let Some(well) = ended(libc::WNOHANG) {
            return well;
        }
        syscall(libc::SYS_nanosleep, [(&raw const A_LOOK) as c_long, 0, 0, 0]);
    }
    syscall(libc::SYS_kill, [child, c_long::from(libc::SIGKILL), 0, 0]);
    let _ = ended(0);
    false
}

/// What may be written down is not bounded by how large a file may be, as far as that can be.
fn lift_file_size() {
    let mut limit = [0_u64; 2];
    let which = c_long::from(libc::RLIMIT_FSIZE.cast_signed());
    syscall(libc::SYS_prlimit64, [0, which, 0, (&raw mut limit) as c_long]);
    let [_, hard] = limit;
    let lifted = [hard, hard];
    syscall(libc::SYS_prlimit64, [0, which, (&raw const lifted) as c_long, 0]);
}
