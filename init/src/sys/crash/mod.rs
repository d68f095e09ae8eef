//! What becomes of init when its own code fails: a fault, or an abort.
//!
//! The handler makes a copy of the process, which writes down what init knows, and then becomes init's
//! program again, which goes on with that. The copy has a time limit and its own memory, so nothing of
//! what is broken can hold up or end the process itself. If the copy fails, too, what was written down
//! last is gone on with.
//!
//! The handler ([`handler`]) itself does nothing but system calls on what was prepared before.

mod copy;
mod end;
mod handler;
mod paper;
mod text;

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;

pub use self::end::{End, end_with};
use self::handler::{identity, millis, on_fault, unblock_faults};
pub use self::paper::Paper;
use super::memory;

/// Faults, and what an abort raises.
const FAULTS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
/// The copy and the handler work on a stack of their own: the usual one may be what is broken.
const STACK: usize = 512 * 1024;
/// Descriptors beyond this are not looked for when nobody knows which ones there are.
pub(in crate::sys) const MOST_FDS: RawFd = 65_536;

/// Somebody whose knowledge outlives a crash.
pub trait Testator {
    /// Writes it to a file, and keeps the descriptors open that are a part of it. Called in a copy of
    /// the process that shares its descriptors, at any moment, with nobody to clean up after it.
    fn write(&mut self, to: Paper) -> io::Result<()>;
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
