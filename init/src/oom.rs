//! Whom the kernel ends when memory is out: not init, before anybody else.
//!
//! A child inherits the value that init has at the moment it is made, so init takes on the child's
//! for that moment. The kernel changes the value of all processes that share their memory
//! at once, and a child shares init's until its exec is through, which is a little later than init
//! learns of it. So what init sets back for itself may reach the child, which is then set right
//! in its turn, and so on until both are what they should be.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use std::thread;

use nix::errno::Errno;
use tracing::warn;

use crate::id::Pid;
use crate::sys;

const FILE: &str = "/proc/self/oom_score_adj";
/// An exec that is through as far as init is told takes microseconds more.
const TRIES: u32 = 1000;
/// Never.
const LEAST: i16 = -1000;

/// The values of init and its children, once `/proc` is there.
#[derive(Debug, Default)]
pub struct OomScore(Option<Open>);

#[derive(Debug)]
struct Open {
    file: File,
    /// init's own now.
    own: i16,
    /// What init was started with, which is the children's.
    inherited: i16,
}

impl OomScore {
    /// Whether init's own value is what a child is to have: `wanted`, or what init was started with.
    pub fn is(&mut self, wanted: Option<i16>) -> bool {
        if self.0.is_none() {
            self.0 = Open::new();
        }
        match &self.0 {
            Some(open) => open.own == wanted.unwrap_or(open.inherited),
            None => wanted.is_none(),
        }
    }

    /// Takes on a child's value: `wanted`, or what init was started with. Answers init's own, to
    /// be [set back](Self::set_back). Without `/proc` only a value that is asked for is an error.
    pub fn set(&mut self, wanted: Option<i16>) -> Result<Option<i16>, Errno> {
        if self.0.is_none() {
            self.0 = Open::new();
        }
        let Some(open) = &mut self.0 else {
            return if wanted.is_some() { Err(Errno::ENOENT) } else { Ok(None) };
        };
        let own = open.own;
        open.set(wanted.unwrap_or(open.inherited))?;
        Ok(Some(own))
    }

    /// Takes on init's own value again; `child` has been made meanwhile, if anybody was.
    pub fn set_back(&mut self, own: Option<i16>, child: Option<Pid>) {
        let (Some(open), Some(own)) = (&mut self.0, own) else { return };
        let childs = open.own;
        if own == childs {
            return;
        }
        for _ in 0..TRIES {
            if let Err(errno) = open.set(own) {
                return warn!("cannot set init's own oom_score_adj again: {}", errno.desc());
            }
            if let Some(child) = child {
                // Who has ended meanwhile needs none.
                let _ = fs::write(format!("/proc/{child}/oom_score_adj"), childs.to_string());
            }
            match open.read() {
                Some(now) if now != own => open.own = now,
                Some(_) | None => return,
            }
            thread::yield_now();
        }
        warn!("init's own oom_score_adj is not what it should be, {own}");
    }
}

impl Open {
    fn new() -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(FILE).ok()?;
        let mut open = Self { file, own: 0, inherited: 0 };
        open.inherited = open.read()?;
        open.own = open.inherited;
        // Who may not is no worse off than before.
        let _ = open.set(LEAST);
        Some(open)
    }

    fn read(&self) -> Option<i16> {
        let mut text = [0; 16];
        let length = self.file.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(text.get(..length)?).ok()?.trim().parse().ok()
    }

    fn set(&mut self, value: i16) -> Result<(), Errno> {
        if value == self.own {
            return Ok(());
        }
        let text = value.to_string();
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written.map_err(|error| sys::errno(&error))?;
        self.own = value;
        Ok(())
    }
}
