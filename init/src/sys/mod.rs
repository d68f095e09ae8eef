//! The one place of init with `unsafe`: what the safe libraries do not offer.
//!
//! [`child`] makes processes, [`crash`] outlives init's own faults; the rest are single system calls.

#![expect(unsafe_code, reason = "system calls live here, and nothing else does")]

pub mod cell;
pub mod child;
mod clone;
pub mod crash;
pub mod memory;

use std::arch::asm;
use std::ffi::{CStr, CString, c_char, c_long, c_void};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use clone::clone_into;
use nix::errno::Errno;
use nix::sys::socket::ControlMessageOwned;
use tokio::io::unix::AsyncFd;

use crate::signal::{Exit, Signal};

/// The kernel's `struct sigaction`, its handler first. All zeroes are `SIG_DFL`.
#[repr(C)]
struct Action([u64; 4]);

/// A system call whose failure is its negative errno, as the kernel has it. Its fifth argument is
/// 0. It touches nothing of the thread's own, not even `errno`: a child that shares init's memory
/// has no other thread's place of its own to write to.
fn syscall(number: c_long, args: [c_long; 4]) -> c_long {
    let [a, b, c, d] = args;
    let code: c_long;
    // SAFETY: every caller passes pointers that are good while the call lasts, and asks for nothing
    // that changes memory behind the compiler's back but through them.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => code,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") 0,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => code,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") 0,
            options(nostack),
        );
    }
    code
}

/// The kernel's reason of an error; one of the library's own has none, and is as if the device had
/// failed.
#[must_use]
pub fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A handle on a process, which goes on meaning that one when its number means another.
pub fn open_process(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: makes a new descriptor.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let raw = RawFd::try_from(Errno::result(raw)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: it is nobody's but ours.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Signals the process of a handle.
pub fn signal_process(process: &OwnedFd, signal: Signal) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    let (fd, number) = (process.as_raw_fd(), signal.number());
    // SAFETY: without further information there is nothing to point to.
    let code = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, none, 0) };
    Errno::result(code).map(drop)
}

/// Whether the process of a handle is there, and may be signalled.
pub fn may_signal(process: &OwnedFd) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without further information there is nothing to point to.
    let code =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), 0, none, 0) };
    Errno::result(code).map(drop)
}

/// How the process of a handle has ended, if it has been reaped and the kernel tells that: from 6.15
/// on.
#[must_use]
pub fn exit_of(process: &OwnedFd) -> Option<Exit> {
    // The first version of `struct pidfd_info` of `linux/pidfd.h`; what is asked for comes first, the
    // status last.
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        status: i32,
    }
    const WITH_EXIT: u64 = 1 << 3;
    // `_IOWR(0xFF, 11, struct pidfd_info)`.
    const GET_INFO: libc::c_ulong = 0xC040_FF0B;
    let mut info = Info { mask: WITH_EXIT, cgroup: 0, ids: [0; 11], status: 0 };
    // SAFETY: the call reads and writes `info`, whose size is a part of its number.
    let code = unsafe { libc::ioctl(process.as_raw_fd(), GET_INFO as _, &raw mut info) };
    let is_told = code == 0 && info.mask & WITH_EXIT != 0;
    is_told.then(|| Exit::from_status(info.status)).flatten()
}

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended and is taken.
    Ended(Exit),
    /// It has been stopped by this signal and can go on.
    Stopped(i32),
}

/// Takes one child that has ended or been stopped, if there is one.
pub fn wait_any() -> Result<Option<(i32, Change)>, Errno> {
    // SAFETY: all zeroes are a valid value, and what the kernel leaves when there is no such child.
    let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
    let wanted = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG;
    // SAFETY: the kernel writes to `info` only.
    let code = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, wanted) };
    Errno::result(code)?;
    // SAFETY: waitid fills these fields, or leaves them 0.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let change = match info.si_code {
        libc::CLD_EXITED => {
            Change::Ended(Exit::Code(u8::try_from(status & 0xff).unwrap_or(u8::MAX)))
        }
        libc::CLD_STOPPED | libc::CLD_TRAPPED => Change::Stopped(status),
        _ => Change::Ended(Exit::Signal(status)),
    };
    Ok(Some((pid, change)))
}

/// Whether a process is a child that nobody has taken yet, dead or alive.
#[must_use]
pub fn is_child(pid: i32) -> bool {
    let wanted = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let number = libc::id_t::try_from(pid).unwrap_or(0);
    // SAFETY: all zeroes are a valid value, and the kernel writes to it only.
    unsafe {
        let mut info = std::mem::zeroed::<libc::siginfo_t>();
        libc::waitid(libc::P_PID, number, &raw mut info, wanted) == 0
    }
}

/// Signals a process, or the group of a negative number.
pub fn kill(target: i32, signal: Signal) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    let code = unsafe { libc::kill(target, signal.number()) };
    Errno::result(code).map(drop)
}

/// Sends a signal to init itself, which is blocked and will be read.
pub fn raise(number: i32) {
    let own = std::process::id().cast_signed();
    // SAFETY: touches no memory.
    unsafe { libc::kill(own, number) };
}

/// Whether a signal that is blocked waits to be read.
#[must_use]
pub fn is_pending(signal: Signal) -> bool {
    // SAFETY: all zeroes are an empty set, which the kernel fills.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigpending(&raw mut set) == 0
            && libc::sigismember(&raw const set, signal.number()) == 1
    }
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

/// Closes every descriptor but these and the first three. To be called before anybody has any.
pub fn close_all_but(kept: impl IntoIterator<Item = RawFd>) {
    let mut kept: Vec<_> = kept.into_iter().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            syscall(libc::SYS_close_range, [c_long::from(first), c_long::from(fd - 1), 0, 0]);
        }
        first = fd + 1;
    }
    close_all(first);
}

/// The pipes and terminals among all descriptors but the first three and `kept`. The others are closed.
/// To be called when nobody uses any of them any more.
#[must_use]
pub fn streams_but(kept: &[RawFd]) -> Vec<OwnedFd> {
    // The device of a terminal's master, `/dev/ptmx`.
    let is_master = |stat: &libc::stat| {
        stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(5, 2)
    };
    let is_stream = |fd: &RawFd| {
        // SAFETY: all zeroes are a valid value, and the kernel writes to it only.
        unsafe {
            let mut found = std::mem::zeroed::<libc::stat>();
            libc::fstat(*fd, &raw mut found) == 0
                && (found.st_mode & libc::S_IFMT == libc::S_IFIFO || is_master(&found))
        }
    };
    let streams: Vec<_> =
        (3..crash::MOST_FDS).filter(|fd| !kept.contains(fd) && is_stream(fd)).collect();
    close_all_but(streams.iter().chain(kept).copied());
    // SAFETY: they are nobody's, says the caller.
    streams.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// Whether a descriptor can be read from.
#[must_use]
pub fn is_readable(fd: &impl AsRawFd) -> bool {
    // SAFETY: only asks.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    flags >= 0 && flags & libc::O_ACCMODE != libc::O_WRONLY
}

/// Closes every descriptor from `first` on. To be called before anybody has any.
pub fn close_all(first: RawFd) {
    let (first, last) = (c_long::from(first), c_long::from(u32::MAX));
    if syscall(libc::SYS_close_range, [first, last, 0, 0]) < 0 {
        // A kernel before 5.9.
        for fd in first..1024 {
            syscall(libc::SYS_close, [fd, 0, 0, 0]);
        }
    }
}

/// Writes without waiting for room, whatever the descriptor's own flags say.
pub fn write_now(file: &impl AsRawFd, text: &[u8]) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    // SAFETY: the kernel only reads `text`, and only during the call. -1 is where the file stands.
    let code =
        unsafe { libc::pwritev2(file.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    Errno::result(code).map(|length| usize::try_from(length).unwrap_or_default())
}

/// By what the file of a descriptor is told from all others: its device and inode.
#[must_use]
pub fn file_of(fd: RawFd) -> Option<(u64, u64)> {
    // SAFETY: all zeroes are a valid value, and the kernel writes to it only.
    unsafe {
        let mut found = std::mem::zeroed::<libc::stat>();
        (libc::fstat(fd, &raw mut found) == 0).then_some((found.st_dev, found.st_ino))
    }
}

/// Whether a descriptor is open.
#[must_use]
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: only asks.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Takes a descriptor that init has been started with, and that nobody has taken before.
pub fn claim(fd: RawFd) -> Result<OwnedFd, Errno> {
    if !is_open(fd) {
        return Err(Errno::EBADF);
    }
    // SAFETY: it is open, and the only caller keeps a list of those that are taken.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The path that this program was exec'ed by, as the kernel tells it.
#[must_use]
pub fn started_as() -> Option<CString> {
    // SAFETY: only asks.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    // SAFETY: the kernel has put a text there, which stays as long as the process.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_owned())
}

/// Whether a descriptor is to be closed by an exec.
pub fn set_close_on_exec(fd: RawFd, closes: bool) -> Result<(), Errno> {
    let flags = if closes { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: touches no memory.
    let code = unsafe { libc::fcntl(fd, libc::F_SETFD, flags) };
    Errno::result(code).map(drop)
}

/// A close-on-exec duplicate with a number of at least `least`.
pub fn duplicate_above(fd: &OwnedFd, least: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: makes a new descriptor.
    let raw = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    // SAFETY: it is nobody's but ours.
    Errno::result(raw).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The other end of a terminal that this is the master of, whatever `/dev/pts` shows.
pub fn open_peer(master: &impl AsRawFd) -> Result<OwnedFd, Errno> {
    // `_IO('T', 0x41)` of `asm-generic/ioctls.h`.
    const GET_PEER: libc::c_ulong = 0x5441;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: makes a new descriptor.
    let raw = unsafe { libc::ioctl(master.as_raw_fd(), GET_PEER, flags) };
    // SAFETY: it is nobody's but ours.
    Errno::result(raw).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Sets the size of a terminal's window.
pub fn set_window(terminal: &impl AsRawFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel only reads `size`.
    let code = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(code).map(drop)
}

/// Lets a socket take connections, with so many waiting at most.
pub fn listen(socket: &OwnedFd, backlog: i32) -> Result<(), Errno> {
    // The safe library refuses what is above the kernel's usual bound, which can be raised.
    // SAFETY: touches no memory.
    let code = unsafe { libc::listen(socket.as_raw_fd(), backlog) };
    Errno::result(code).map(drop)
}

/// The descriptors of a control message.
#[must_use]
pub fn rights(message: ControlMessageOwned) -> Vec<OwnedFd> {
    let ControlMessageOwned::ScmRights(rights) = message else { return Vec::new() };
    // SAFETY: the kernel has just made them for whoever received the message, which is given up here.
    rights.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }).collect()
}

/// Whether two descriptors of ours are of the same open file. A kernel that does not tell has no two.
#[must_use]
pub fn are_same_file(one: &OwnedFd, other: &OwnedFd) -> bool {
    const KCMP_FILE: c_long = 0;
    let own = c_long::from(std::process::id().cast_signed());
    let [one, other] = [one, other].map(|fd| c_long::from(fd.as_raw_fd()));
    // SAFETY: only asks.
    unsafe { libc::syscall(libc::SYS_kcmp, own, own, KCMP_FILE, one, other) == 0 }
}

/// Sets how long a hardware watchdog waits. Answers the seconds that it has taken on.
pub fn set_watchdog(device: &impl AsRawFd, timeout: Duration) -> Result<i32, Errno> {
    // `_IOWR('W', 6, int)` of `linux/watchdog.h`.
    const SET_TIMEOUT: libc::c_ulong = 0xC004_5706;
    let mut seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
    // SAFETY: the call takes an int, and writes back an int.
    let code = unsafe { libc::ioctl(device.as_raw_fd(), SET_TIMEOUT, &raw mut seconds) };
    Errno::result(code).map(|_| seconds)
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
