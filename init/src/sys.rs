//! The one place with `unsafe`: making a process.
//!
//! `clone(CLONE_VM | CLONE_VFORK)`: the child borrows init's memory and stops init
//! until it has exec'ed or given up, so no page table is copied, however large init is, and a
//! failure is reported by plain memory. The price is that the child may do nothing but system
//! calls on what was prepared before: no allocation, no lock, no panic.
//!
//! Signals need no care: init has no handlers and ignores nothing (see `signals`), so the child
//! only empties its mask.
//!
//! No pidfd is asked for. A child's pid cannot be used again before it is reaped, one place reaps,
//! and it does so in the same thread that signals, so a plain pid names one process here; and
//! a descriptor a job would cap the number of jobs.

#![expect(unsafe_code, reason = "the child of a vfork lives here, and nothing else does")]

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;

use crate::account::Identity;
use crate::event::Stage;
use crate::id::Pid;
use crate::signal::Exit;

/// What the child needs besides the kernel's own frames is a few hundred bytes.
const STACK: usize = 32 * 1024;
/// `LISTEN_PID=` and the ten digits of a pid.
const LISTEN_PID: &[u8] = b"LISTEN_PID=";
const LISTEN_PID_LEN: usize = LISTEN_PID.len() + 11;

/// Everything that a child needs, made before it.
#[derive(Debug)]
pub struct Image {
    /// The paths to try in turn.
    pub candidates: Vec<CString>,
    /// With the program's own name first.
    pub argv: Vec<CString>,
    /// `NAME=VALUE` each.
    pub envp: Vec<CString>,
    /// Whether `LISTEN_PID` is to be set, which only the child can know.
    pub listen_pid: bool,
    /// Working directory.
    pub cwd: CString,
    /// Whom to become.
    pub identity: Option<Identity>,
    /// What is to become fd 0, 1, 2, 3 and so on. Those that do not stay where they are must lie
    /// above all targets.
    pub fds: Vec<RawFd>,
    /// The terminal to become the foreground of, instead of a session of its own.
    pub terminal: Option<RawFd>,
}

/// A stack to run children on, one at a time.
pub struct Stack(Box<[u8]>);

impl Stack {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(vec![0; STACK].into_boxed_slice())
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

/// What parent and child share while the child has not exec'ed.
struct Shared<'a> {
    image: &'a Image,
    candidates: &'a [*const c_char],
    argv: *const *const c_char,
    envp: *const *const c_char,
    listen_pid: *mut u8,
    groups: (usize, *const libc::gid_t),
    failure: Option<(Stage, c_int)>,
}

/// Runs `image` as a new process. Returns when it has exec'ed, or why it has not.
pub fn spawn(stack: &mut Stack, image: &Image) -> Result<Pid, (Stage, Errno)> {
    let candidates: Vec<_> = image.candidates.iter().map(|path| path.as_ptr()).collect();
    let argv = pointers(&image.argv, None);
    let mut listen_pid = [0_u8; LISTEN_PID_LEN + 1];
    for (to, from) in listen_pid.iter_mut().zip(LISTEN_PID) {
        *to = *from;
    }
    let listen_pid = listen_pid.as_mut_ptr();
    let extra = image.listen_pid.then_some(listen_pid.cast_const().cast::<c_char>());
    let envp = pointers(&image.envp, extra);
    let groups = image.identity.as_ref().map_or(&[][..], |identity| &identity.groups);
    let mut shared = Shared {
        image,
        candidates: &candidates,
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        listen_pid,
        groups: (groups.len(), groups.as_ptr()),
        failure: None,
    };

    // SAFETY: the stack is ours, large enough and not otherwise used until the child has left it
    // (CLONE_VFORK); its top is aligned by hand. `shared` outlives the child's use of it for the
    // same reason, and nobody reads it meanwhile.
    let raw = unsafe {
        let end = stack.0.as_mut_ptr().add(stack.0.len());
        let top = end.sub(end as usize % 16);
        libc::clone(
            child,
            top.cast::<c_void>(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut shared).cast::<c_void>(),
        )
    };
    let raw = Errno::result(raw).map_err(|errno| (Stage::Clone, errno))?;
    // SAFETY: a plain read of what the child may have written before it ended.
    let failure = unsafe { ptr::read_volatile(&raw const shared.failure) };
    if let Some((stage, errno)) = failure {
        // It has left by _exit; the reaper takes it like any other child.
        return Err((stage, Errno::from_raw(errno)));
    }
    Pid::new(raw).ok_or((Stage::Clone, Errno::EINVAL))
}

fn pointers(texts: &[CString], extra: Option<*const c_char>) -> Vec<*const c_char> {
    let own = texts.iter().map(|text| text.as_ptr());
    own.chain(extra).chain([ptr::null()]).collect()
}

/// The child: from here to exec only system calls.
extern "C" fn child(shared: *mut c_void) -> c_int {
    // SAFETY: the parent gave us this pointer and is stopped until we exec or exit.
    let shared = unsafe { &mut *shared.cast::<Shared<'_>>() };
    let failure = become_program(shared);
    // SAFETY: the parent reads this after we are gone.
    unsafe { ptr::write_volatile(&raw mut shared.failure, Some(failure)) };
    // SAFETY: ends this process only.
    unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    127
}

type Failure = (Stage, c_int);

fn become_program(shared: &mut Shared<'_>) -> Failure {
    match prepare(shared) {
        Ok(()) => (Stage::Exec, exec(shared)),
        Err(failure) => failure,
    }
}

fn prepare(shared: &mut Shared<'_>) -> Result<(), Failure> {
    let image = shared.image;
    match image.terminal {
        None => call(Stage::Session, libc::SYS_setsid, [0; 4])?,
        Some(terminal) => {
            call(Stage::Session, libc::SYS_setpgid, [0; 4])?;
            let mut group = syscall(libc::SYS_getpid, [0; 4]);
            let group = (&raw mut group).cast::<c_int>() as c_long;
            // Not being the foreground is no reason not to run.
            let _ = call(
                Stage::Session,
                libc::SYS_ioctl,
                [c_long::from(terminal), libc::TIOCSPGRP.cast_signed(), group, 0],
            );
        }
    }
    if let Some(identity) = &image.identity {
        let (count, list) = shared.groups;
        call(
            Stage::Groups,
            libc::SYS_setgroups,
            [count.cast_signed() as c_long, list as c_long, 0, 0],
        )?;
        let (uid, gid) = (c_long::from(identity.uid), c_long::from(identity.gid));
        call(Stage::Group, libc::SYS_setresgid, [gid, gid, gid, 0])?;
        call(Stage::User, libc::SYS_setresuid, [uid, uid, uid, 0])?;
    }
    call(Stage::Chdir, libc::SYS_chdir, [image.cwd.as_ptr() as c_long, 0, 0, 0])?;
    for (target, fd) in (0..).zip(&image.fds) {
        let fd = c_long::from(*fd);
        if fd == target {
            call(Stage::Descriptors, libc::SYS_fcntl, [fd, c_long::from(libc::F_SETFD), 0, 0])?;
        } else {
            call(Stage::Descriptors, libc::SYS_dup3, [fd, target, 0, 0])?;
        }
    }
    if image.listen_pid {
        write_pid(shared.listen_pid);
    }
    let none: u64 = 0;
    call(
        Stage::Signals,
        libc::SYS_rt_sigprocmask,
        [c_long::from(libc::SIG_SETMASK), (&raw const none) as c_long, 0, 8],
    )
}

/// The kernel's `struct sigaction`, its handler first. All zeroes are `SIG_DFL`.
#[repr(C)]
struct Action([u64; 4]);

/// Tries each path as the C library's `execvpe` does. Returns the errno that says most.
fn exec(shared: &Shared<'_>) -> c_int {
    let mut worst = libc::ENOENT;
    for path in shared.candidates {
        let code = syscall(
            libc::SYS_execve,
            [*path as c_long, shared.argv as c_long, shared.envp as c_long, 0],
        );
        let errno = i32::try_from(-code).unwrap_or(libc::EINVAL);
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => worst = libc::EACCES,
            other => return other,
        }
    }
    worst
}

/// Writes the digits of our own pid behind `LISTEN_PID=`.
fn write_pid(text: *mut u8) {
    let mut pid = syscall(libc::SYS_getpid, [0; 4]);
    let mut digits = [b'0'; 11];
    let mut count = 0;
    while pid > 0 && count < digits.len() {
        if let (Some(digit), Ok(value)) = (digits.get_mut(count), u8::try_from(pid % 10)) {
            *digit = b'0' + value;
        }
        pid /= 10;
        count += 1;
    }
    for (at, digit) in digits.iter().take(count).rev().enumerate() {
        // SAFETY: the buffer holds the name, eleven digits and a NUL; `count` is at most 11.
        unsafe { text.add(LISTEN_PID.len() + at).write_volatile(*digit) };
    }
}

fn call(stage: Stage, number: c_long, args: [c_long; 4]) -> Result<(), Failure> {
    match syscall(number, args) {
        code if code < 0 => Err((stage, i32::try_from(-code).unwrap_or(libc::EINVAL))),
        _ => Ok(()),
    }
}

/// A system call whose failure is its negative errno, as the kernel has it.
fn syscall(number: c_long, args: [c_long; 4]) -> c_long {
    let [a, b, c, d] = args;
    // SAFETY: every caller passes pointers that live in the parent, which is stopped meanwhile.
    // The C library's errno that this may set is the stopped parent's, which reads its own anew.
    let code = unsafe { libc::syscall(number, a, b, c, d) };
    if code == -1 { -c_long::from(Errno::last_raw()) } else { code }
}

/// Takes one dead child, if there is one: its pid and how it ended.
pub fn wait_any() -> Result<Option<(i32, Exit)>, Errno> {
    // SAFETY: all zeroes are a valid value, and what the kernel leaves when no child is dead.
    let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
    // SAFETY: the kernel writes to `info` only.
    let code =
        unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG) };
    Errno::result(code)?;
    // SAFETY: waitid fills these fields, or leaves them 0.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some((
        pid,
        match info.si_code {
            libc::CLD_EXITED => Exit::Code(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
            _ => Exit::Signal(status),
        },
    )))
}

/// Gives every signal that is ignored its default again, so that no child inherits that.
pub fn stop_ignoring_signals() {
    // By the kernel's own call: the C library hides two signals that it uses itself.
    for signal in 1..=64 {
        let mut action = Action([0; 4]);
        let old = (&raw mut action) as c_long;
        let known = syscall(libc::SYS_rt_sigaction, [signal, 0, old, 8]) == 0;
        if known && action.0.first() == Some(&(libc::SIG_IGN as u64)) {
            let default = Action([0; 4]);
            let new = (&raw const default) as c_long;
            syscall(libc::SYS_rt_sigaction, [signal, new, 0, 8]);
        }
    }
}

/// Marks every descriptor from `first` on that init was started with as close-on-exec.
pub fn keep_from_children(first: RawFd) {
    let (first, last) = (c_long::from(first), c_long::from(u32::MAX));
    let flag = c_long::from(libc::CLOSE_RANGE_CLOEXEC.cast_signed());
    if syscall(libc::SYS_close_range, [first, last, flag, 0]) < 0 {
        // A kernel before 5.11.
        for fd in first..1024 {
            let cloexec = c_long::from(libc::FD_CLOEXEC);
            syscall(libc::SYS_fcntl, [fd, c_long::from(libc::F_SETFD), cloexec, 0]);
        }
    }
}

/// Whether a descriptor is open.
#[must_use]
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: only asks.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// A close-on-exec duplicate with a number of at least `least`.
pub fn duplicate_above(fd: &OwnedFd, least: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: makes a new descriptor.
    let raw = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    // SAFETY: it is nobody's but ours.
    Errno::result(raw).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })
}

/// As the kernel's `ifreq` holds it.
const IFF_UP: libc::c_short = 1;

/// Sets `IFF_UP` on a network interface.
pub fn interface_up(socket: &impl AsRawFd, name: &str) -> std::io::Result<()> {
    // SAFETY: all zeroes are a valid value.
    let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
    // The last byte stays 0.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is of the kind these two calls take, and the flags are what the first
    // has filled in.
    let code = unsafe {
        match libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) {
            0 => {
                request.ifr_ifru.ifru_flags |= IFF_UP;
                libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
            }
            failed => failed,
        }
    };
    Errno::result(code).map(drop).map_err(std::io::Error::from)
}

/// Lets the runtime watch a descriptor for reading and writing.
pub fn watch<T: AsFd + AsRawFd>(owner: T) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: `T` owns one descriptor, which stays the same and open until `T` is dropped, as its
    // `AsFd` promises; the runtime lets go of it before it drops `T`.
    unsafe { AsyncFd::register(owner).map_err(std::io::Error::from) }
}

/// Whether the kernel still holds a TCP connection to be open, if perhaps only our half of it.
#[must_use]
pub fn is_connected(stream: &impl AsRawFd) -> bool {
    const ESTABLISHED: u8 = 1;
    const CLOSE_WAIT: u8 = 8;
    // Of the kernel's `tcp_info` only the first byte is asked for: the state.
    let mut state: u8 = 0;
    let mut length: libc::socklen_t = 1;
    // SAFETY: the kernel writes `length` bytes at most.
    let code = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast::<c_void>(),
            &raw mut length,
        )
    };
    code == 0 && matches!(state, ESTABLISHED | CLOSE_WAIT)
}
