//! Making a process inside a control group, which the C library has no function for.

use std::arch::asm;
use std::ffi::{c_int, c_long, c_void};
use std::os::fd::RawFd;

use super::child::SHARING;

/// The kernel's `struct clone_args`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Runs `run(data)` as a new process in `group`, on the stack from `bottom` to `top`. The word at
/// `held` is cleared when it lets go of this memory. Answers its pid, or -1 with `errno` set.
///
/// # Safety
///
/// As for `clone(CLONE_VM)`: the stack must be used by nobody else meanwhile, `top` be aligned to
/// 16 bytes, and all four pointers be good for as long as the child may use them.
pub(super) unsafe fn clone_into(
    group: RawFd,
    run: extern "C" fn(*mut c_void) -> c_int,
    bottom: *mut u8,
    top: *mut u8,
    data: *mut c_void,
    held: *mut libc::pid_t,
) -> c_int {
    let args = CloneArgs {
        // One beyond those that fit into an int.
        flags: u64::from(SHARING.cast_unsigned()) | CLONE_INTO_CGROUP,
        child_tid: held as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: bottom as u64,
        stack_size: (top as u64).saturating_sub(bottom as u64),
        cgroup: u64::from(group.cast_unsigned()),
        ..CloneArgs::default()
    };
    let result: c_long;
    // SAFETY: the parent comes out of the system call with the result and as it was. The child
    // comes out of it with nothing on its stack, keeps what the registers say, and never returns
    // from `run`, which exits.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            in("r8") data,
            in("r9") run,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk #1",
            "2:",
            in("x9") data,
            in("x10") run,
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw const args => result,
            in("x1") size_of::<CloneArgs>(),
            out("x30") _,
        );
    }
    if result < 0 {
        // SAFETY: the thread's own errno.
        unsafe { *libc::__errno_location() = c_int::try_from(-result).unwrap_or(libc::EINVAL) };
        return -1;
    }
    c_int::try_from(result).unwrap_or(-1)
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
