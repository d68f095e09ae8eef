//! Whom the kernel ends when memory is out: not init, before anybody else.
//!
//! A child inherits the value that init has at the moment it is made, so init takes on the child's
//! for that moment. Written to the child's own file it would be init's too, as long as the two
//! share their memory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};

use nix::errno::Errno;
use tracing::warn;

use crate::sys;

const FILE: &str = "/proc/self/oom_score_adj";
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

    /// Takes on init's own value again.
    pub fn set_back(&mut self, own: Option<i16>) {
        if let (Some(open), Some(own)) = (&mut self.0, own)
            && let Err(errno) = open.set(own)
        {
            warn!("cannot set init's own oom_score_adj again: {}", errno.desc());
        }
    }
}

impl Open {
    fn new() -> Option<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(FILE).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let inherited = text.trim().parse().ok()?;
        let mut open = Self { file, own: inherited, inherited };
        // Who may not is no worse off than before.
        let _ = open.set(LEAST);
        Some(open)
    }

    fn set(&mut self, value: i16) -> Result<(), Errno> {
        if value == self.own {
            return Ok(());
        }
        let text = value.to_string();
        let written = self.file.rewind().and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|error| sys::errno(&error))?;
        self.own = value;
        Ok(())
    }
}
