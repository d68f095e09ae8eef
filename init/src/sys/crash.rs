//! What becomes of init when its own code fails: a fault, or an abort.
//!
//! The handler makes a copy of the process, which writes down what init knows, and then becomes init's
//! program again, which goes on with that. The copy has a time limit and its own memory, so nothing of
//! what is broken can hold up or end the process itself. If the copy fails, too, what was written down
//! last is gone on with.
//!
//! The handler itself does nothing but system calls on what was prepared before.

use std::ffi::{CString, c_char, c_int, c_long};
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering,
};

use nix::errno::Errno;

use super::{memory, syscall};

/// Faults, and what an abort raises.
const FAULTS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
/// The copy and the handler work on a stack of their own: the usual one may be what is broken.
const STACK: usize = 512 * 1024;
/// How long the copy may take, in looks, and how long between two of them.
const LOOKS: u32 = 15_000;
static A_LOOK: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 200_000 };
/// Descriptors beyond this are not looked for when nobody knows which ones there are.
pub(super) const MOST_FDS: RawFd = 65_536;

/// Somebody whose knowledge outlives a crash.
pub trait Testator {
    /// Writes it to a file, and keeps the descriptors open that are a part of it. Called in a copy of
    /// the process that shares its descriptors, at any moment, with nobody to clean up after it.
    fn write(&mut self, to: Paper) -> io::Result<()>;
}

/// A file in memory that is written from its beginning. It stays open.
#[derive(Debug)]
pub struct Paper(RawFd);

impl Paper {
    fn blank(fd: RawFd) -> Self {
        syscall(libc::SYS_ftruncate, [c_long::from(fd), 0, 0, 0]);
        syscall(libc::SYS_lseek, [c_long::from(fd), 0, c_long::from(libc::SEEK_SET), 0]);
        Self(fd)
    }
}

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the kernel only reads `bytes`.
        let written = unsafe { libc::write(self.0, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for Paper {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let (offset, from) = match to {
            io::SeekFrom::Start(offset) => (offset.cast_signed(), libc::SEEK_SET),
            io::SeekFrom::End(offset) => (offset, libc::SEEK_END),
            io::SeekFrom::Current(offset) => (offset, libc::SEEK_CUR),
        };
        // SAFETY: touches no memory.
        let place = unsafe { libc::lseek(self.0, offset, from) };
        u64::try_from(place).map_err(|_| io::Error::last_os_error())
    }
}

/// How a crash is told to the program that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The signal.
    pub signal: i32,
    /// How many in a row this is.
    pub count: u32,
    /// Whether what init knew then could not be written down.
    pub is_older: bool,
    /// Whose crash it was.
    pub pid: u32,
    /// The listening socket that is kept in any case.
    pub listener: RawFd,
}

/// What is prepared for a crash.
pub struct Plan {
    /// The program, by the path that it was started with.
    pub program: CString,
    /// Its arguments.
    pub argv: Vec<CString>,
    /// Its environment, without the next two variables.
    pub envp: Vec<CString>,
    /// What names the descriptor of the state.
    pub state: &'static str,
    /// What tells of the crash.
    pub crash: &'static str,
    /// How many crashes in a row there were before this life.
    pub before: u32,
    /// After this many milliseconds of a life, the next crash is the first of a row.
    pub calm: u64,
    /// After more crashes in a row than this, the program starts with nothing.
    pub most: u32,
    /// A listening socket that is kept in any case.
    pub listener: RawFd,
    /// What was written down last.
    pub good: RawFd,
    /// Where to write next.
    pub scratch: RawFd,
}

struct Prepared {
    plan: Plan,
    file: (u64, u64),
    argv: Vec<*const c_char>,
    /// Two places for what is known only then, and the rest.
    envp: Vec<AtomicPtr<c_char>>,
    begun: u64,
}

static PREPARED: AtomicPtr<Prepared> = AtomicPtr::new(ptr::null_mut());
static SUBJECT: AtomicPtr<*mut dyn Testator> = AtomicPtr::new(ptr::null_mut());
static OWN: AtomicI32 = AtomicI32::new(0);
static IS_COPY: AtomicBool = AtomicBool::new(false);
static DEPTH: AtomicU32 = AtomicU32::new(0);
static SENT: AtomicU64 = AtomicU64::new(0);
static GOOD: AtomicI32 = AtomicI32::new(-1);
static SCRATCH: AtomicI32 = AtomicI32::new(-1);
static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// Whether this process is the copy of a crashed init.
#[must_use]
pub fn is_copy() -> bool {
    IS_COPY.load(Ordering::Relaxed)
}

/// Whether a crash is gone on after.
#[must_use]
pub fn is_prepared() -> bool {
    !PREPARED.load(Ordering::Relaxed).is_null()
}

/// Prepares for crashes from now on. Of a later call only the descriptors count.
pub fn prepare(plan: Plan) -> Result<(), Errno> {
    LISTENER.store(plan.listener, Ordering::Relaxed);
    if is_prepared() {
        // What was gone on with before has failed.
        GOOD.store(plan.good, Ordering::Relaxed);
        SCRATCH.store(plan.scratch, Ordering::Relaxed);
        return Ok(());
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which stays for ever.
    let stack = unsafe { libc::mmap(ptr::null_mut(), STACK, rights, flags, -1, 0) };
    if stack == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    memory::reserve_for_copy();
    let stack = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: STACK };
    // SAFETY: nobody else uses it.
    Errno::result(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) })?;
    OWN.store(std::process::id().cast_signed(), Ordering::Relaxed);
    GOOD.store(plan.good, Ordering::Relaxed);
    SCRATCH.store(plan.scratch, Ordering::Relaxed);
    let argv = plan.argv.iter().map(|arg| arg.as_ptr()).chain([ptr::null()]).collect();
    let file = identity(c"/proc/self/exe".as_ptr()).or_else(|| identity(plan.program.as_ptr()));
    let file = file.unwrap_or_default();
    let place = |text: *const c_char| AtomicPtr::new(text.cast_mut());
    let kept = plan.envp.iter().map(|text| place(text.as_ptr()));
    let empty = || place(ptr::null());
    let envp = [empty(), empty()].into_iter().chain(kept).chain([empty()]).collect();
    let prepared = Prepared { plan, file, argv, envp, begun: millis() };
    PREPARED.store(Box::into_raw(Box::new(prepared)), Ordering::Release);
    // SAFETY: the handler does only what a handler may; all zeroes are an empty mask. What is unblocked
    // are faults, which no code waits for. While one is handled the others wait: as many as are sent
    // would not fit the stack.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        for signal in FAULTS {
            libc::sigaddset(&raw mut action.sa_mask, signal);
        }
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        for signal in FAULTS {
            Errno::result(libc::sigaction(signal, &raw const action, ptr::null_mut()))?;
        }
    }
    unblock_faults();
    Ok(())
}

/// A value that is written down when init crashes while it is there.
pub struct Subject<T> {
    /// Owned.
    value: *mut T,
    /// Where the handler finds it. Owned, too.
    entry: *mut *mut dyn Testator,
}

// SAFETY: both are its own.
unsafe impl<T: Send> Send for Subject<T> {}

impl<T: Testator + 'static> Subject<T> {
    /// From now on it is this one.
    #[must_use]
    pub fn new(value: T) -> Self {
        let value = Box::into_raw(Box::new(value));
        let place: *mut dyn Testator = value;
        let entry = Box::into_raw(Box::new(place));
        SUBJECT.store(entry, Ordering::Release);
        Self { value, entry }
    }

    /// The value.
    pub fn value(&mut self) -> &mut T {
        // SAFETY: it is there until this is dropped, and borrowed through this only.
        unsafe { &mut *self.value }
    }
}

impl<T> Drop for Subject<T> {
    fn drop(&mut self) {
        let none = ptr::null_mut();
        // There may be another one by now.
        let _ = SUBJECT.compare_exchange(self.entry, none, Ordering::AcqRel, Ordering::Relaxed);
        // SAFETY: they were made from boxes, and nobody finds them any more.
        unsafe {
            drop(Box::from_raw(self.entry));
            drop(Box::from_raw(self.value));
        }
    }
}

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

fn end() -> Option<End> {
    let end = u64::try_from(END.load(Ordering::Relaxed)).ok()?;
    let (machine, exit) = (u32::try_from(end >> 8).ok()?, u8::try_from(end & 0xff).ok()?);
    Some(if machine == 0 { End::Exit(exit) } else { End::Machine(machine) })
}

impl End {
    fn come(self) {
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

/// Where to write down what is to be gone on with if a crash leaves nothing to write.
#[must_use]
pub fn scratch() -> Option<Paper> {
    Some(SCRATCH.load(Ordering::Relaxed)).filter(|fd| *fd >= 0).map(Paper::blank)
}

/// That has been written. What was written before it is let go of.
pub fn keep_scratch() {
    let written = SCRATCH.load(Ordering::Relaxed);
    let old = GOOD.swap(written, Ordering::Relaxed);
    SCRATCH.store(old, Ordering::Relaxed);
    Paper::blank(old);
}

/// Signals of faults that somebody has sent, which are none, since the last call.
pub fn sent() -> impl Iterator<Item = c_int> {
    let bits = if SENT.load(Ordering::Relaxed) == 0 { 0 } else { SENT.swap(0, Ordering::Relaxed) };
    FAULTS.into_iter().filter(move |signal| bits & 1 << signal != 0)
}

extern "C" fn on_fault(
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

/// A copy of this process writes down what the subject knows. Answers whether it could.
fn write_down() -> bool {
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

fn unblock_faults() {
    let faults = FAULTS.iter().fold(0_u64, |bits, signal| bits | 1 << (signal - 1));
    let how = c_long::from(libc::SIG_UNBLOCK);
    syscall(libc::SYS_rt_sigprocmask, [how, (&raw const faults) as c_long, 0, 8]);
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
fn millis() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let clock = c_long::from(libc::CLOCK_MONOTONIC);
    syscall(libc::SYS_clock_gettime, [clock, (&raw mut now) as c_long, 0, 0]);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// By what a file is told from all others.
fn identity(path: *const c_char) -> Option<(u64, u64)> {
    // SAFETY: all zeroes are a valid value; `path` ends with a NUL; a handler may ask this.
    unsafe {
        let mut found = std::mem::zeroed::<libc::stat>();
        (libc::stat(path, &raw mut found) == 0).then_some((found.st_dev, found.st_ino))
    }
}

/// A short text that ends with a NUL.
struct Text([u8; TEXT], usize);

const TEXT: usize = 128;

impl Text {
    fn new() -> Self {
        Self([0; TEXT], 0)
    }

    fn add(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            // The last one stays 0.
            if let Some(place) = self.0.get_mut(self.1).filter(|_| self.1 < TEXT - 1) {
                *place = *byte;
                self.1 += 1;
            }
        }
        self
    }

    fn number(&mut self, number: u32) -> &mut Self {
        if number > 9 {
            self.number(number / 10);
        }
        self.add(&[b'0' + u8::try_from(number % 10).unwrap_or(0)])
    }

    fn hex(&mut self, number: usize) -> &mut Self {
        self.add(b"0x");
        let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            let digit = b"0123456789abcdef".get(number >> (4 * place) & 15);
            self.add(digit.map_or(&[], std::slice::from_ref));
        }
        self
    }
}

impl Crash {
    /// Reads what the handler has left in the environment.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let signal = parts.next()?.parse().ok()?;
        let count = parts.next()?.parse().ok()?;
        let is_older = parts.next()? == "1";
        let (pid, listener) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { signal, count, is_older, pid, listener })
    }
}
