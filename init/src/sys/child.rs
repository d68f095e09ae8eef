//! Making a process.
//!
//! `clone(CLONE_VM)`: the child borrows init's memory until it has exec'ed or given up, so no page
//! table is copied, however large init is, and a failure is reported by plain memory. The price is
//! that the child may do nothing but system calls on what was prepared before: no allocation, no
//! lock, no panic, no `errno`; and that init leaves that alone meanwhile.
//!
//! init does not stand still as with `CLONE_VFORK`: a program may come from a slow disk, and a child
//! that has become another user can be stopped by that user before it has exec'ed. The kernel
//! clears a word of shared memory when the child lets go of that memory (`CLONE_CHILD_CLEARTID`),
//! and init looks at that word, or waits for it. A child that is late is killed, and if even that
//! takes too long, what it shares with init is left to it.
//!
//! Signals need little care: init ignores nothing (see `signals`), so the child only empties its mask.
//! The one handler that init has, for faults, lets a child die of them.
//!
//! No pidfd is asked for. A child's pid cannot be used again before it is reaped, one place reaps,
//! and it does so in the same thread that signals, so a plain pid names one process here; and
//! a descriptor a job would cap the number of jobs.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{clone_into, syscall};
use crate::account::Identity;
use crate::capability::Capabilities;
use crate::event::Stage;
use crate::id::Pid;
use crate::signal::Signal;
use crate::spec::Confinement;

/// What the child needs besides the kernel's own frames is a few hundred bytes.
const STACK: usize = 16 * 1024;
/// What parent and child share, and how the parent learns that they do so no more.
pub(super) const SHARING: c_int = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID;
/// How long a child may take to exec. Loading a program from a slow disk takes far less.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this it is continued: the stop key of a terminal may have met it before it had exec'ed, and
/// nobody else knows yet that it is there.
const NUDGE: Duration = Duration::from_millis(100);
/// How long a child may take to die.
const KILLING: Duration = Duration::from_secs(1);
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
    /// Working directory, if it is not init's own.
    pub cwd: Option<CString>,
    /// Whom to become.
    pub identity: Option<Identity>,
    /// Descriptors, and what each is to become, which is done in this order: none may lie where an
    /// earlier one is put. What is not named here and lies below 3 stays as it is.
    pub fds: Vec<(RawFd, u32)>,
    /// The terminal to share with init, instead of a session of its own.
    pub terminal: Option<RawFd>,
    /// Whether its standard input is to be its own session's terminal.
    pub owns_terminal: bool,
    /// Whether to become that terminal's foreground.
    pub foreground: bool,
    /// The control group to be born in.
    pub group: Option<RawFd>,
    /// What it may do and use up.
    pub confinement: Confinement,
}

/// A stack to run a child on.
pub struct Stack(Box<[MaybeUninit<u8>]>);

impl Stack {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new_uninit_slice(STACK))
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

/// What parent and child share while the child has not exec'ed.
struct Shared {
    image: Image,
    candidates: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    listen_pid: [Cell<u8>; LISTEN_PID_LEN + 1],
    /// Not 0 until the child has let go of this memory.
    held: AtomicU32,
    /// How far the child has come: `Exec`, or the step that failed.
    stage: Cell<Stage>,
    failure: Cell<Option<c_int>>,
}

/// A child that has not exec'ed yet, as far as init knows. If this is dropped, what the child uses
/// stays the child's for ever.
pub struct Unborn {
    pid: Pid,
    /// Owned; the child uses it, and `stack`, until it lets go.
    shared: NonNull<Shared>,
    stack: ManuallyDrop<Stack>,
    begun: Instant,
    /// The age at which it is continued.
    nudge_at: Duration,
    is_killed: bool,
}

/// What has become of a child: its number if it has exec'ed, or why it has not. One that has failed
/// has left, and the reaper takes it like any other.
pub type Outcome = Result<Pid, (Stage, Errno)>;

/// Begins to run `image` as a new process.
pub fn begin(mut stack: Stack, image: Image) -> Result<Unborn, (Stage, Errno, Stack)> {
    let shared = NonNull::from(Box::leak(Box::new(Shared::new(image))));
    let raw = shared.as_ptr();
    // SAFETY: nobody else has the pointer yet.
    unsafe { (*raw).point() };
    // SAFETY: the stack is ours, large enough, its top aligned by hand, and neither it nor `shared`
    // is used again before the child has let go of them, or given back at all if it never does.
    let code = unsafe {
        let bottom = stack.0.as_mut_ptr().cast::<u8>();
        let end = bottom.add(stack.0.len());
        let top = end.sub(end as usize % 16);
        let held = (&raw mut (*raw).held).cast::<libc::pid_t>();
        let (data, group) = (raw.cast::<c_void>(), (*raw).image.group);
        match group {
            Some(group) => clone_into(group, child, bottom, top, data, held),
            None => libc::clone(
                child,
                top.cast::<c_void>(),
                SHARING | libc::SIGCHLD,
                data,
                ptr::null_mut::<libc::pid_t>(),
                ptr::null_mut::<c_void>(),
                held,
            ),
        }
    };
    let cloned = Errno::result(code).and_then(|pid| Pid::new(pid).ok_or(Errno::EINVAL));
    match cloned {
        Ok(pid) => {
            let (stack, begun) = (ManuallyDrop::new(stack), Instant::now());
            Ok(Unborn { pid, shared, stack, begun, nudge_at: NUDGE, is_killed: false })
        }
        Err(errno) => {
            // SAFETY: there is no child that has it.
            drop(unsafe { Box::from_raw(raw) });
            Err((Stage::Clone, errno, stack))
        }
    }
}

// SAFETY: what it points to belongs to no thread.
unsafe impl Send for Unborn {}

impl Unborn {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has exec'ed or failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.held().load(Ordering::Acquire) == 0
    }

    /// Waits for that so long. Answers whether it is so.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let by = Instant::now() + patience;
        loop {
            let seen = self.held().load(Ordering::Acquire);
            if seen == 0 {
                return true;
            }
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let timeout = libc::timespec {
                tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(1),
                tv_nsec: c_long::from(left.subsec_nanos().cast_signed()),
            };
            let word = self.held().as_ptr() as c_long;
            let (op, seen) = (c_long::from(libc::FUTEX_WAIT), c_long::from(seen));
            // The kernel wakes with a plain FUTEX_WAKE, so this is no private wait.
            syscall(libc::SYS_futex, [word, op, seen, (&raw const timeout) as c_long]);
        }
    }

    /// How long it has been on its way.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// Helps it on if it is late, and ends it if it is too late. Answers whether even that was in
    /// vain.
    #[must_use]
    pub fn is_hopeless(&mut self, now: Instant) -> bool {
        let age = self.age(now);
        // Who has ended meanwhile heeds none of these signals, and his number is still his.
        if age >= PATIENCE && !self.is_killed {
            self.is_killed = true;
            let _ = super::kill(self.pid.as_raw(), Signal::KILL);
        } else if age >= self.nudge_at && !self.is_killed {
            self.nudge_at = age + NUDGE;
            let _ = super::kill(self.pid.as_raw(), Signal::CONT);
        }
        age >= PATIENCE + KILLING
    }

    /// Waits until it has exec'ed or failed, or is hopeless.
    pub fn see_through(&mut self) {
        while !self.wait(NUDGE) && !self.is_hopeless(Instant::now()) {}
    }

    /// What has become of it, and a stack for the next. One that is not over is given up.
    #[must_use = "there is a stack to be used again"]
    pub fn born(self) -> (Outcome, Stack) {
        if !self.is_over() {
            // It may still run on them, some day. init goes on with others.
            return (Err((Stage::Exec, Errno::ETIMEDOUT)), Stack::new());
        }
        // SAFETY: the child has let go of it, and nobody else has it.
        let shared = unsafe { Box::from_raw(self.shared.as_ptr()) };
        let result = match (shared.stage.get(), shared.failure.get()) {
            (stage, Some(errno)) => Err((stage, Errno::from_raw(errno))),
            (stage, None) if self.is_killed => Err((stage, Errno::ETIMEDOUT)),
            (Stage::Exec, None) => Ok(self.pid),
            // Somebody has killed it on its way.
            (stage, None) => Err((stage, Errno::EINTR)),
        };
        (result, ManuallyDrop::into_inner(self.stack))
    }

    fn held(&self) -> &AtomicU32 {
        // SAFETY: it is there for as long as `self` is, and an atomic may be read while the child
        // and the kernel use it.
        unsafe { &(*self.shared.as_ptr()).held }
    }
}

impl Shared {
    fn new(image: Image) -> Self {
        let listen_pid = [const { Cell::new(0) }; LISTEN_PID_LEN + 1];
        for (to, from) in listen_pid.iter().zip(LISTEN_PID) {
            to.set(*from);
        }
        Self {
            candidates: Vec::new(),
            argv: Vec::new(),
            envp: Vec::new(),
            listen_pid,
            held: AtomicU32::new(1),
            stage: Cell::new(Stage::Prepare),
            failure: Cell::new(None),
            image,
        }
    }

    /// Makes the lists of pointers, once it will not move any more.
    fn point(&mut self) {
        let extra = self.image.listen_pid.then_some(self.listen_pid.as_ptr().cast::<c_char>());
        self.candidates = self.image.candidates.iter().map(|path| path.as_ptr()).collect();
        self.argv = pointers(&self.image.argv, None);
        self.envp = pointers(&self.image.envp, extra);
    }
}

fn pointers(texts: &[CString], extra: Option<*const c_char>) -> Vec<*const c_char> {
    let own = texts.iter().map(|text| text.as_ptr());
    own.chain(extra).chain([ptr::null()]).collect()
}

/// The child: from here to exec only system calls.
extern "C" fn child(shared: *mut c_void) -> c_int {
    // SAFETY: the parent gave us this pointer, and behind it touches only the word that it waits
    // for until we are gone.
    let shared = unsafe { &*shared.cast::<Shared>() };
    let (stage, errno) = become_program(shared);
    shared.stage.set(stage);
    shared.failure.set(Some(errno));
    // SAFETY: ends this process only.
    unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    127
}

type Failure = (Stage, c_int);

fn become_program(shared: &Shared) -> Failure {
    match prepare(shared) {
        Ok(()) => {
            shared.stage.set(Stage::Exec);
            (Stage::Exec, exec(shared))
        }
        Err(failure) => failure,
    }
}

fn prepare(shared: &Shared) -> Result<(), Failure> {
    let image = &shared.image;
    match image.terminal {
        None => call(Stage::Session, libc::SYS_setsid, [0; 4])?,
        Some(_) => call(Stage::Session, libc::SYS_setpgid, [0; 4])?,
    }
    if let Some(terminal) = image.terminal.filter(|_| image.foreground) {
        let mut group = syscall(libc::SYS_getpid, [0; 4]);
        let group = (&raw mut group).cast::<c_int>() as c_long;
        // Not being the foreground is no reason not to run.
        let _ = call(
            Stage::Session,
            libc::SYS_ioctl,
            [c_long::from(terminal), libc::TIOCSPGRP.cast_signed(), group, 0],
        );
    }
    for (fd, target) in &image.fds {
        let (fd, target) = (c_long::from(*fd), c_long::from(*target));
        call(Stage::Descriptors, libc::SYS_dup3, [fd, target, 0, 0])?;
    }
    if image.owns_terminal {
        let take = libc::TIOCSCTTY.cast_signed();
        call(Stage::Terminal, libc::SYS_ioctl, [0, take, 0, 0])?;
    }
    // All else is closed by the exec, too; but that may be slow, and they are others'.
    let first = image.fds.iter().map(|(_, target)| target + 1).max().unwrap_or(3).max(3);
    let (first, last) = (c_long::from(first), c_long::from(u32::MAX));
    let _ = call(Stage::Descriptors, libc::SYS_close_range, [first, last, 0, 0]);
    limit(&image.confinement)?;
    become_user(image)?;
    if let Some(cwd) = &image.cwd {
        // As the user: he may be the only one who can go there.
        call(Stage::Chdir, libc::SYS_chdir, [cwd.as_ptr() as c_long, 0, 0, 0])?;
    }
    if image.confinement.no_new_privs {
        prctl(Stage::NoNewPrivs, libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    }
    if image.listen_pid {
        write_pid(&shared.listen_pid);
    }
    let none: u64 = 0;
    call(
        Stage::Signals,
        libc::SYS_rt_sigprocmask,
        [c_long::from(libc::SIG_SETMASK), (&raw const none) as c_long, 0, 8],
    )
}

/// What root alone may do, or may do more freely.
fn limit(confinement: &Confinement) -> Result<(), Failure> {
    if let Some(mask) = confinement.umask {
        call(Stage::Prepare, libc::SYS_umask, [c_long::from(mask), 0, 0, 0])?;
    }
    if let Some(nice) = confinement.nice {
        let which = c_long::from(libc::PRIO_PROCESS);
        call(Stage::Nice, libc::SYS_setpriority, [which, 0, c_long::from(nice), 0])?;
    }
    for limit in &confinement.rlimits {
        let pair = [limit.soft, limit.hard];
        let args = [0, c_long::from(limit.resource), pair.as_ptr() as c_long, 0];
        call(Stage::Rlimits, libc::SYS_prlimit64, args)?;
    }
    Ok(())
}

/// Becomes another user, with the capabilities that are asked for and no others: they are bounded
/// while that is still allowed, kept over the change of user, and made ambient, so that programs
/// that know nothing of them have them too.
fn become_user(image: &Image) -> Result<(), Failure> {
    let wanted = image.confinement.capabilities.map(Capabilities::bits);
    if let Some(bits) = wanted {
        for number in 0..u64::BITS {
            if bits & 1 << number != 0 {
                continue;
            }
            match prctl(Stage::Capabilities, libc::PR_CAPBSET_DROP, c_long::from(number), 0) {
                // Beyond the last that this kernel knows.
                Err((_, libc::EINVAL)) => break,
                dropped => dropped?,
            }
        }
        prctl(Stage::Capabilities, libc::PR_SET_KEEPCAPS, 1, 0)?;
    }
    if let Some(identity) = &image.identity {
        let (count, list) = (identity.groups.len(), identity.groups.as_ptr());
        let count = c_long::try_from(count).unwrap_or(c_long::MAX);
        call(Stage::Groups, libc::SYS_setgroups, [count, list as c_long, 0, 0])?;
        let (uid, gid) = (c_long::from(identity.uid), c_long::from(identity.gid));
        call(Stage::Group, libc::SYS_setresgid, [gid, gid, gid, 0])?;
        call(Stage::User, libc::SYS_setresuid, [uid, uid, uid, 0])?;
    }
    let Some(bits) = wanted else { return Ok(()) };
    // `struct __user_cap_header_struct` and two of `__user_cap_data_struct`, version 3: effective,
    // permitted, inheritable; the low halves first.
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (half(bits), half(bits >> 32));
    let data = [low, low, low, high, high, high];
    let args = [header.as_ptr() as c_long, data.as_ptr() as c_long, 0, 0];
    call(Stage::Capabilities, libc::SYS_capset, args)?;
    for number in (0..u64::BITS).filter(|number| bits & 1 << number != 0) {
        let raise = c_long::from(libc::PR_CAP_AMBIENT_RAISE);
        prctl(Stage::Capabilities, libc::PR_CAP_AMBIENT, raise, c_long::from(number))?;
    }
    Ok(())
}

/// The lower half.
fn half(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default()
}

fn prctl(stage: Stage, option: c_int, a: c_long, b: c_long) -> Result<(), Failure> {
    call(stage, libc::SYS_prctl, [c_long::from(option), a, b, 0])
}

/// Tries each path as the C library's `execvpe` does. Returns the errno that says most.
fn exec(shared: &Shared) -> c_int {
    let mut worst = libc::ENOENT;
    for path in &shared.candidates {
        let code = syscall(
            libc::SYS_execve,
            [*path as c_long, shared.argv.as_ptr() as c_long, shared.envp.as_ptr() as c_long, 0],
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
fn write_pid(text: &[Cell<u8>]) {
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
    let places = text.iter().skip(LISTEN_PID.len());
    for (place, digit) in places.zip(digits.iter().take(count).rev()) {
        place.set(*digit);
    }
}

fn call(stage: Stage, number: c_long, args: [c_long; 4]) -> Result<(), Failure> {
    match syscall(number, args) {
        code if code < 0 => Err((stage, i32::try_from(-code).unwrap_or(libc::EINVAL))),
        _ => Ok(()),
    }
}
