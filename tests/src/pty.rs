//! A terminal with a program on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{Winsize, openpty};
use nix::unistd::{Pid, setsid};

use crate::wait;

/// The user's end of a terminal. Dropped, the terminal goes away.
pub struct Pty {
    keys: File,
    reader: JoinHandle<()>,
    /// Tells the reader to let go of the terminal.
    gone: Arc<AtomicBool>,
    child: Child,
    shown: Arc<Mutex<String>>,
    /// How much of it has been expected.
    seen: usize,
}

impl Pty {
    /// Runs a command as the session leader of a new terminal.
    pub fn start<T: AsRef<OsStr>>(words: &[T]) -> Self {
        let ends = openpty(None, None).expect("a terminal can be made");
        for end in [&ends.master, &ends.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("TERM", "dumb").env("PS1", "$ ");
        let copy = || ends.slave.try_clone().expect("it can be duplicated");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let terminal = ends.slave.as_raw_fd();
        let lead = move || {
            setsid()?;
            // SAFETY: changes nothing but whose terminal it is.
            let code = unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) };
            nix::errno::Errno::result(code).map(drop).map_err(std::io::Error::from)
        };
        // SAFETY: only system calls.
        let child = unsafe { command.pre_exec(lead) }.spawn().expect("the command can be run");
        let keys = File::from(ends.master);
        let mut screen = keys.try_clone().expect("it can be duplicated");
        let shown = Arc::new(Mutex::new(String::new()));
        let gone = Arc::new(AtomicBool::new(false));
        let (to, told) = (Arc::clone(&shown), Arc::clone(&gone));
        let reader = thread::spawn(move || {
            let mut some = [0; 4096];
            while !told.load(Ordering::Relaxed) {
                let mut ready = [PollFd::new(screen.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ready, 20_u8) == Ok(0) {
                    continue;
                }
                // It fails when nobody has the other end any more.
                let Ok(count @ 1..) = screen.read(&mut some) else { return };
                let text = String::from_utf8_lossy(&some[..count]);
                eprint!("{text}");
                to.lock().expect("no reader panics").push_str(&text);
            }
        });
        Self { keys, reader, gone, child, shown, seen: 0 }
    }

    /// Types.
    pub fn keys(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("the terminal is there");
    }

    /// Waits until `text` is shown after all that was expected before. Answers what came up to it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let (shown, seen) = (&self.shown, self.seen);
        let (skipped, end) = wait::until(&format!("the terminal to show {text:?}"), || {
            let shown = shown.lock().expect("no reader panics");
            let at = shown[seen..].find(text)?;
            Some((shown[seen..seen + at].to_owned(), seen + at + text.len()))
        });
        self.seen = end;
        skipped
    }

    /// Changes the window's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel only reads `size`.
        let code = unsafe { libc::ioctl(self.keys.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(code, 0);
    }

    /// Whether what is typed is not shown.
    pub fn hides(&self) -> bool {
        let settings = nix::sys::termios::tcgetattr(&self.keys).expect("it is a terminal");
        !settings.local_flags.contains(nix::sys::termios::LocalFlags::ECHO)
    }

    /// The process group that the keys go to.
    pub fn foreground(&self) -> i32 {
        let mut group = 0;
        // SAFETY: the kernel writes to `group` only.
        let code = unsafe { libc::ioctl(self.keys.as_raw_fd(), libc::TIOCGPGRP, &raw mut group) };
        assert_eq!(code, 0);
        group
    }

    /// The command's process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for the command's end.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::until("the command to end", || child.try_wait().expect("it is our child"))
    }

    /// Takes the terminal away and waits for the command's end.
    #[track_caller]
    pub fn hang_up(self) -> ExitStatus {
        let Self { keys, reader, gone, mut child, .. } = self;
        gone.store(true, Ordering::Relaxed);
        reader.join().expect("no reader panics");
        drop(keys);
        wait::until("the command to end", || child.try_wait().expect("it is our child"))
    }
}
