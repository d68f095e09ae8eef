//! Control groups, version 2: the kernel's own list of a job's processes.
//!
//! ```text
//! /sys/fs/cgroup/OWN         where init was started
//!   init/                    init itself, moved here when a job wants settings
//!   jobs/                    init's by a lock on the folder; a second init here has jobs-2
//!     spare-0/ spare-1/ …    one a job, used again by the next: making one takes 50 µs
//!     job-ID/                that of a job with settings, removed with its last process
//! ```
//!
//! A process cannot leave its group by forking or by a session of its own, `cgroup.kill` ends
//! all of it at once, and `cgroup.events` tells whether it is empty. Where there are no such
//! groups, or init may not make any, jobs go without (see `tree`).

mod counters;
mod files;
mod folder;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use init_wire::Cgroup as Settings;
use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde::{Deserialize, Serialize};
use tracing::{error, info};

pub use self::counters::{Counters, Past, Spent};
pub use self::files::members_of;
pub(crate) use self::files::read_small;
use self::files::{text, write};
pub use self::folder::Saved;
use self::folder::{Jobs, claim};
use crate::id::JobId;
use crate::inherit::{Inherited, Lost};
use crate::sys::errno;

/// Where the hierarchy is mounted: alone, or beside the older ones.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// The setting that is made only when a job has exec'ed.
pub const LATE: &str = "memory_max";

/// All groups that are init's.
#[derive(Debug, Default)]
pub struct Cgroups {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// No hierarchy so far; in a machine it is mounted later.
    #[default]
    Unknown,
    /// There is one, and init may not use it.
    Forbidden,
    /// The groups.
    Ours(Box<Jobs>),
}

/// The group of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// Without settings, by number.
    Plain(u32),
    /// With settings, by the job's name, and a number where a job of that name has been let go of.
    Set(Box<JobId>, u32),
}

/// What is to be seen of a group's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// There are none.
    pub is_empty: bool,
    /// It can be another job's: it is not to be frozen, which a job of root's can do to its own group, nor removed.
    pub is_usable: bool,
}

/// A group's folder, to start a process in.
#[derive(Debug)]
pub enum Handle {
    /// One that stays open.
    Kept(RawFd),
    /// One that was opened for this.
    Own(OwnedFd),
}

impl Handle {
    /// Its descriptor.
    #[must_use]
    pub fn as_raw(&self) -> RawFd {
        match self {
            Self::Kept(fd) => *fd,
            Self::Own(fd) => fd.as_raw_fd(),
        }
    }
}

impl Cgroups {
    /// The groups, to be written down, if there are any.
    #[must_use]
    pub fn save(&self) -> Option<Saved> {
        let State::Ours(jobs) = &self.state else { return None };
        Some(jobs.save())
    }

    /// Groups that go on where others were written down; these are used.
    pub fn restore(
        saved: Saved,
        used: impl Iterator<Item = Group>,
        inherited: &mut Inherited,
    ) -> Result<Self, Lost> {
        Ok(Self { state: State::Ours(Box::new(Jobs::restore(saved, used, inherited)?)) })
    }

    /// A group for `job`, empty and with these settings. `None` where there are no groups; with
    /// settings that is an error.
    pub fn take(
        &mut self,
        job: &JobId,
        settings: Option<&Settings>,
    ) -> Result<Option<(Group, Handle)>, Errno> {
        if matches!(self.state, State::Unknown) {
            self.state = find();
        }
        match (&mut self.state, settings) {
            (State::Ours(jobs), Some(settings)) => jobs.take_set(job, settings).map(Some),
            // Without settings it is a help, not a need.
            (State::Ours(jobs), None) => Ok(jobs.take_plain().ok()),
            (State::Unknown | State::Forbidden, Some(_)) => Err(Errno::EOPNOTSUPP),
            (State::Unknown | State::Forbidden, None) => Ok(None),
        }
    }

    /// Sets what a group with settings has only once its job has exec'ed: before, the job's process
    /// shares init's memory, and a kernel that ends it for want of memory would end init with it.
    pub fn bound(&self, job: &JobId, group: &Group, settings: &Settings) {
        for (name, setting) in settings.settings().filter(|(name, _)| *name == LATE) {
            let Some(path) = self.path(group) else { continue };
            if let Err(error) = write(&path.join(name.replace('_', ".")), &text(setting)) {
                error!("job `{job}`: its {name} could not be set: {error}");
            }
        }
    }

    /// Takes back a group that nobody is in, for another job.
    pub fn give_back(&mut self, group: &Group) {
        if let State::Ours(jobs) = &mut self.state {
            jobs.give_back(group);
        }
    }

    /// Removes a group that may not be used again, now or when who is still in it has left.
    pub fn discard(&mut self, group: &Group) {
        if let State::Ours(jobs) = &mut self.state {
            jobs.discard(group);
        }
    }

    /// Goes without groups from now on: the kernel cannot start anybody in one.
    pub fn forbid(&mut self, why: Errno) {
        info!("jobs have no control groups of their own: starting in one: {}", why.desc());
        self.clear();
    }

    /// What is to be seen of its members. `None` if that cannot be seen now.
    #[must_use]
    pub fn look(&self, group: &Group) -> Option<Look> {
        let State::Ours(jobs) = &self.state else { return None };
        let text = match jobs.read_events(group).map_err(|error| errno(&error)) {
            Ok(text) => text,
            // Somebody has removed it, which can be done only when nobody is in it.
            Err(Errno::ENOENT | Errno::ENODEV) => {
                return Some(Look { is_empty: true, is_usable: false });
            }
            Err(_) => return None,
        };
        let populated = text.lines().find_map(|line| line.strip_prefix("populated "))?;
        let is_empty = populated == "0";
        Some(Look { is_empty, is_usable: !is_empty || !jobs.is_to_freeze(group) })
    }

    /// Whether the kernel has ended a process of it for want of memory.
    #[must_use]
    pub fn had_oom(&self, group: &Group) -> bool {
        let Group::Set(..) = group else { return false };
        let count = || {
            let events = read_small(&self.path(group)?.join("memory.events")).ok()?;
            let word = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
            word.parse::<u64>().ok()
        };
        count().is_some_and(|count| count > 0)
    }

    /// The processes in it and in what it has made below it.
    #[must_use]
    pub fn members(&self, group: &Group) -> Vec<i32> {
        self.path(group).map(|path| members_of(&path)).unwrap_or_default()
    }

    /// Its counters. From now on it is noted what a group that is used again has counted before.
    #[must_use]
    pub fn counters(&mut self, group: &Group) -> Option<Counters> {
        let State::Ours(jobs) = &mut self.state else { return None };
        Some(jobs.counters(group))
    }

    /// Whether a process is in it.
    #[must_use]
    pub fn contains(&self, group: &Group, pid: i32) -> bool {
        self.members(group).contains(&pid)
    }

    /// The group of ours that a process is in.
    #[must_use]
    pub fn name_around(&self, pid: i32) -> Option<Group> {
        let State::Ours(jobs) = &self.state else { return None };
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        jobs.group_at(path)
    }

    /// Kills everybody in it. Answers whether the kernel could do so at once.
    #[must_use]
    pub fn kill(&self, group: &Group) -> bool {
        self.path(group).is_some_and(|path| write(&path.join("cgroup.kill"), "1").is_ok())
    }

    /// Removes all, at init's end.
    pub fn clear(&mut self) {
        if let State::Ours(jobs) = std::mem::take(&mut self.state) {
            jobs.clear();
        }
        self.state = State::Forbidden;
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self, group: &Group) -> Option<PathBuf> {
        match &self.state {
            State::Ours(jobs) => Some(jobs.path(group)),
            State::Unknown | State::Forbidden => None,
        }
    }
}

fn find() -> State {
    let is_there =
        |mount: &str| statfs(mount).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let Some(mount) = MOUNTS.into_iter().find(|mount| is_there(mount)) else {
        return State::Unknown;
    };
    match claim(Path::new(mount)) {
        Ok(jobs) => State::Ours(Box::new(jobs)),
        Err(error) => {
            info!("jobs have no control groups of their own: {error}");
            State::Forbidden
        }
    }
}

impl Group {
    fn parse(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_prefix("spare-") {
            return number.parse().ok().map(Self::Plain);
        }
        let name = name.strip_prefix("job-")?;
        let (id, number) = name.split_once('+').unwrap_or((name, "0"));
        Some(Self::Set(Box::new(JobId::parse(id).ok()?), number.parse().ok()?))
    }
}
