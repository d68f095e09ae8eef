//! What a group has counted, and what of that was for earlier jobs.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::{AtFlags, Flock, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use super::files::{SMALL, members_of, read_at_start};

/// A group's counters, and what they held before its job.
#[derive(Clone, Debug)]
pub struct Counters {
    /// The folder of all groups.
    pub groups: Arc<Flock<File>>,
    /// Its own folder.
    pub folder: PathBuf,
    /// What they held.
    pub past: Past,
    /// Controllers that count more in it than processor time.
    pub controllers: Vec<String>,
}

impl Counters {
    /// What is in one of the group's files, if that is short.
    pub fn read(&self, file: &str) -> io::Result<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let path = format!("{}/{file}", self.name());
        read_at_start(&File::from(openat(&**self.groups, path.as_str(), flags, Mode::empty())?))
    }

    /// The processes in the group and in those below it.
    #[must_use]
    pub fn members(&self) -> Vec<i32> {
        // A folder has a link for itself, one in the folder above, and one in each below.
        let stat = fstatat(&**self.groups, &*self.name(), AtFlags::empty());
        let has_more = stat.is_ok_and(|stat| stat.st_nlink > 2);
        match self.read("cgroup.procs") {
            Ok(list) if !has_more && list.len() < SMALL => {
                list.lines().filter_map(|line| line.parse().ok()).collect()
            }
            _ => members_of(&self.folder),
        }
    }

    /// From the folder of all groups: a shorter way than by its whole path, which who asks about all
    /// jobs goes often.
    pub(super) fn name(&self) -> Cow<'_, str> {
        self.folder.file_name().unwrap_or_default().to_string_lossy()
    }

    /// The processor time that the group has counted.
    #[must_use]
    pub fn spent(&self) -> Option<Spent> {
        Spent::parse(&self.read("cpu.stat").ok()?)
    }
}

/// What a group has counted for earlier jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Nothing: it was made for this one.
    None,
    /// So much processor time.
    Spent(Spent),
    /// It was not looked at: nobody had asked for figures yet.
    Unknown,
}

/// Processor time that a group has counted, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// In programs.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
}

impl Spent {
    /// From the lines of `cpu.stat`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let time = |name| text.lines().find_map(|l| l.strip_prefix(name))?.parse::<u64>().ok();
        Some(Self { user_us: time("user_usec ")?, system_us: time("system_usec ")? })
    }
}
