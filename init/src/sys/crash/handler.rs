//! What runs when a fault strikes: nothing but system calls on what was prepared before.

use std::ffi::{c_char, c_int, c_long};
use std::sync::atomic::Ordering;

use super::copy::write_down;
use super::end::end;
use super::text::Text;
use super::{
    DEPTH, FAULTS, GOOD, LISTENER, MOST_FDS, OWN, PREPARED, Prepared, SCRATCH, SENT, is_copy,
};
use crate::sys::syscall;

pub(super) extern "C" fn on_fault(
    signal: c_int,
    info: *const libc::siginfo_t,
    context: *const libc::ucontext_t,
) {
    let own = OWN.load(Ordering::Relaxed);
    let pid = own_pid();
    // SAFETY: the kernel hands one in.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    if is_copy() {
        return die(signal, pid);
    }
    if pid != own {
        // A child that shares this memory until it has exec'ed. A death that leaves a core behind could
        // be that of all who share it.
        return die(libc::SIGKILL, pid);
    }
    if syscall(libc::SYS_gettid, [0; 4]) != c_long::from(pid) {
        // A thread that only reads, which may take for ever anyway; nobody counts on it.
        syscall(libc::SYS_exit, [0; 4]);
    }
    let is_abort = signal == libc::SIGABRT && code == libc::SI_TKILL && sender == own;
    if code <= 0 && !is_abort {
        SENT.fetch_or(1 << signal, Ordering::Relaxed);
        // Which wakes init, and has it look.
        syscall(libc::SYS_kill, [c_long::from(pid), c_long::from(libc::SIGCHLD), 0, 0]);
        return;
    }
    if let Some(end) = end() {
        // All is over but for the end itself.
        say(Text::new()
            .add(b"init: crashed at its end by signal ")
            .number(signal.cast_unsigned())
            .add(b"\n"));
        return end.come();
    }
    // From now on a further fault is one of this handler's.
    unblock_faults();
    let depth = DEPTH.fetch_add(1, Ordering::Relaxed);
    // SAFETY: it is never freed.
    if let Some(prepared) = unsafe { PREPARED.load(Ordering::Acquire).as_ref() }
        && depth < 3
    {
        // SAFETY: the kernel hands them in; of an abort the address means something else.
        let (at, of) = unsafe { (instruction(&*context), (*info).si_addr() as usize) };
        let mut text = Text::new();
        text.add(b"init: crashed by signal ").number(signal.cast_unsigned());
        text.add(b" at instruction ").hex(at);
        if signal != libc::SIGABRT {
            text.add(b", address ").hex(of);
        }
        say(text.add(b"\n"));
        prepared.go_on(signal, depth);
        say(Text::new().add(b"init: its program cannot be run any more\n"));
    }
    die(signal, pid);
}

impl Prepared {
    /// Returns only if that cannot be.
    fn go_on(&self, signal: c_int, depth: u32) {
        let is_calm = millis().saturating_sub(self.begun) >= self.plan.calm;
        let count = if is_calm { 1 } else { self.plan.before.saturating_add(1) };
        let is_hopeless = count > self.plan.most || depth > 1;
        let is_written = !is_hopeless && depth == 0 && write_down();
        let fd = match (is_hopeless, is_written) {
            (true, _) => -1,
            (false, true) => SCRATCH.load(Ordering::Relaxed),
            (false, false) => GOOD.load(Ordering::Relaxed),
        };
        if is_written {
            keep_open(fd);
        } else {
            // Nobody knows which of them are a part of something.
            (3..MOST_FDS).for_each(keep_open);
        }
        syscall(libc::SYS_lseek, [c_long::from(fd), 0, c_long::from(libc::SEEK_SET), 0]);
        let (mut state, mut crash) = (Text::new(), Text::new());
        state.add(self.plan.state.as_bytes()).add(b"=").number(u32::try_from(fd).unwrap_or(0));
        crash.add(self.plan.crash.as_bytes()).add(b"=");
        crash.number(signal.cast_unsigned()).add(b":").number(count);
        crash.add(if is_written { b":0:" } else { b":1:" });
        crash.number(own_pid().cast_unsigned());
        let listener = LISTENER.load(Ordering::Relaxed);
        // Without one the number is 0, which is none.
        crash.add(b":").number(u32::try_from(listener).unwrap_or(0));
        keep_open(listener);
        self.exec(&state, &crash);
    }

    fn exec(&self, state: &Text, crash: &Text) {
        for (place, text) in self.envp.iter().zip([state, crash]) {
            place.store(text.0.as_ptr().cast_mut().cast(), Ordering::Relaxed);
        }
        let path = self.plan.program.as_ptr();
        let own = c"/proc/self/exe".as_ptr();
        // What is there by that path now may be another program, which nobody has tried.
        let is_same = identity(path) == Some(self.file);
        for path in if is_same { [path, own] } else { [own, path] } {
            let args =
                [path as c_long, self.argv.as_ptr() as c_long, self.envp.as_ptr() as c_long, 0];
            syscall(libc::SYS_execve, args);
        }
    }
}

pub(super) fn unblock_faults() {
    let faults = FAULTS.iter().fold(0_u64, |bits, signal| bits | 1 << (signal - 1));
    let how = c_long::from(libc::SIG_UNBLOCK);
    syscall(libc::SYS_rt_sigprocmask, [how, (&raw const faults) as c_long, 0, 8]);
}

fn keep_open(fd: c_int) {
    syscall(libc::SYS_fcntl, [c_long::from(fd), c_long::from(libc::F_SETFD), 0, 0]);
}

/// Lets the signal do what it does to those who have no handler.
fn die(signal: c_int, pid: c_int) {
    let default = [0_u64; 4];
    let action = (&raw const default) as c_long;
    syscall(libc::SYS_rt_sigaction, [c_long::from(signal), action, 0, 8]);
    syscall(libc::SYS_kill, [c_long::from(pid), c_long::from(signal), 0, 0]);
}

fn own_pid() -> c_int {
    c_int::try_from(syscall(libc::SYS_getpid, [0; 4])).unwrap_or(0)
}

/// Says it to whoever reads init's log, if there is room: nobody is waited for.
fn say(text: &Text) {
    let mut there = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let args = [(&raw mut there) as c_long, 1, (&raw const now) as c_long, 0];
    if syscall(libc::SYS_ppoll, args) == 1 && there.revents & libc::POLLOUT != 0 {
        let length = c_long::try_from(text.1).unwrap_or(0);
        syscall(libc::SYS_write, [2, text.0.as_ptr() as c_long, length, 0]);
    }
}

/// Where the process was.
fn instruction(context: &libc::ucontext_t) -> usize {
    #[cfg(target_arch = "x86_64")]
    let at = usize::try_from(libc::REG_RIP)
        .ok()
        .and_then(|place| context.uc_mcontext.gregs.get(place))
        .map_or(0, |at| at.cast_unsigned());
    #[cfg(target_arch = "aarch64")]
    let at = context.uc_mcontext.pc;
    usize::try_from(at).unwrap_or_default()
}

/// By the clock that does not jump.
pub(super) fn millis() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let clock = c_long::from(libc::CLOCK_MONOTONIC);
    syscall(libc::SYS_clock_gettime, [clock, (&raw mut now) as c_long, 0, 0]);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// By what a file is told from all others.
pub(super) fn identity(path: *const c_char) -> Option<(u64, u64)> {
    // SAFETY: all zeroes are a valid value; `path` ends with a NUL; a handler may ask this.
    unsafe {
        let mut found = std::mem::zeroed::<libc::stat>();
        (libc::stat(path, &raw mut found) == 0).then_some((found.st_dev, found.st_ino))
    }
}
