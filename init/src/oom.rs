//! Whom the kernel ends when memory is out: not init, before anybody else.
//!
//! A child inherits the value that init has at the moment it is made, so init takes on the child's
//! before that. The kernel changes the value of all processes that share their memory at once, and
//! a child shares init's until its exec is through; so init keeps the children's value until they
//! have all exec'ed and no more have come for a while. The exec is through a little later than init
//! learns of it, and that is waited for: set right afterwards, a child might have had children of its
//! own with the wrong value.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::id::Pid;
use crate::process;
use crate::sys;

const FILE: &str = "/proc/self/oom_score_adj";
/// An exec that is through as far as init is told takes microseconds more.
const A_LITTLE: Duration = Duration::from_millis(500);
/// Never.
const LEAST: i16 = -1000;
/// How long nobody must have been started before init takes on its own value again.
const QUIET: Duration = Duration::from_millis(100);
/// Children whose exec may not be through yet; older ones are long past it.
const LAST: usize = 64;

/// The values of init and its children, once `/proc` is there.
#[derive(Debug, Default)]
pub struct OomScore {
    open: Option<Open>,
    /// The last children that were made.
    last: Vec<Pid>,
    /// When to take on init's own value.
    quiet_at: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// What init has now.
    now: i16,
    /// What init is to have when it rests: the least, if it may.
    own: i16,
    /// What init was started with, which is the children's.
    inherited: i16,
}

/// What init cannot find out again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Saved {
    own: i16,
    inherited: i16,
}

impl OomScore {
    /// The values, to be written down, if they are known.
    #[must_use]
    pub fn save(&self) -> Option<Saved> {
        self.open.as_ref().map(|open| Saved { own: open.own, inherited: open.inherited })
    }

    /// The values as they were written down.
    #[must_use]
    pub fn restore(saved: Option<Saved>) -> Self {
        let open = saved.and_then(Open::again);
        // It may have a child's value.
        let quiet_at = open.as_ref().map(|_| Instant::now());
        Self { open, last: Vec::new(), quiet_at }
    }

    /// Whether init has the value that a child is to have: `wanted`, or what init was started with.
    pub fn is(&mut self, wanted: Option<i16>) -> bool {
        if self.open.is_none() {
            self.open = Open::new();
        }
        match &self.open {
            Some(open) => open.now == wanted.unwrap_or(open.inherited),
            None => wanted.is_none(),
        }
    }

    /// Takes on a child's value. Nobody may be on the way to its exec with another one. Without
    /// `/proc` only a value that is asked for is an error.
    pub fn take_on(&mut self, wanted: Option<i16>) -> Result<(), Errno> {
        match &self.open {
            Some(open) => self.set(wanted.unwrap_or(open.inherited)),
            None if wanted.is_some() => Err(Errno::ENOENT),
            None => Ok(()),
        }
    }

    /// A child has been made.
    pub fn note(&mut self, child: Pid) {
        let Some(open) = &self.open else { return };
        if self.last.len() >= LAST {
            self.last.remove(0);
        }
        self.last.push(child);
        self.quiet_at = (open.now != open.own).then(|| Instant::now() + QUIET);
    }

    /// A child has been reaped: its number may be anybody's from now on.
    pub fn forget(&mut self, child: Pid) {
        self.last.retain(|pid| *pid != child);
    }

    /// When to [rest](Self::rest).
    #[must_use]
    pub fn next_rest(&self) -> Option<Instant> {
        self.quiet_at
    }

    /// Takes on init's own value if it is time. Nobody may be on the way to its exec.
    pub fn rest(&mut self) {
        let Some(open) = &self.open else { return };
        if self.quiet_at.is_some_and(|at| at <= Instant::now()) {
            self.quiet_at = None;
            if let Err(errno) = self.set(open.own) {
                warn!("cannot set init's own oom_score_adj again: {}", errno.desc());
            }
        }
    }

    fn set(&mut self, value: i16) -> Result<(), Errno> {
        let Some(open) = self.open.as_mut().filter(|open| open.now != value) else { return Ok(()) };
        let by = Instant::now() + A_LITTLE;
        while self.last.iter().copied().any(process::is_unborn) {
            if Instant::now() > by {
                // One that is stuck on its way, and given up: it has what init has.
                warn!("a child that is stuck on its way gets init's own oom_score_adj, {value}");
                break;
            }
            thread::yield_now();
        }
        self.last.clear();
        open.set(value)
    }
}

impl Open {
    fn new() -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(FILE).ok()?;
        let mut open = Self { file, now: 0, own: 0, inherited: 0 };
        open.inherited = open.read()?;
        open.now = open.inherited;
        // Who may not is no worse off than before.
        let _ = open.set(LEAST);
        open.own = open.now;
        Some(open)
    }

    fn again(saved: Saved) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(FILE).ok()?;
        let mut open = Self { file, now: 0, own: saved.own, inherited: saved.inherited };
        open.now = open.read()?;
        Some(open)
    }

    fn read(&self) -> Option<i16> {
        let mut text = [0; 16];
        let length = self.file.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(text.get(..length)?).ok()?.trim().parse().ok()
    }

    fn set(&mut self, value: i16) -> Result<(), Errno> {
        let text = value.to_string();
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written.map_err(|error| sys::errno(&error))?;
        self.now = value;
        Ok(())
    }
}
