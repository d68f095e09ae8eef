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

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use init_wire::{Cgroup as Settings, Setting};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde::{Deserialize, Serialize};
use tracing::{error, info};

use crate::descriptor;
use crate::id::JobId;
use crate::inherit::{Inherited, Lost};
use crate::sys::errno;

/// Where the hierarchy is mounted: alone, or beside the older ones.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// The setting that is made only when a job has exec'ed.
pub const LATE: &str = "memory_max";
/// Groups that wait for a job.
const MAX_SPARE: usize = 64;
/// Groups that stay open, with up to four descriptors each, where there are plenty.
const MAX_OPEN: usize = 64;
/// Groups that are tried again to be removed.
const MAX_DOOMED: usize = 64;
/// Inits side by side in one group.
const MAX_INITS: u32 = 1024;
/// Groups of a killed init that are stepped over.
const MAX_LEFT: u32 = 65_536;
/// Bytes of a file that are read at once; more is cut off.
const SMALL: usize = 1024;
/// How deep a job may nest groups of its own that init looks into.
const MAX_DEPTH: u32 = 32;

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

#[derive(Debug)]
struct Jobs {
    /// init's own group.
    own: PathBuf,
    folder: PathBuf,
    /// The folder as `/proc/PID/cgroup` names it, with a slash at its end.
    shown: String,
    /// The folder, locked.
    lock: Arc<Flock<File>>,
    spare: Vec<u32>,
    made: u32,
    /// Of the groups with low numbers, which are used most: opened once.
    open: BTreeMap<u32, Open>,
    /// Groups that are to be removed as soon as nobody is in them.
    doomed: Vec<PathBuf>,
    /// Controllers that the groups of jobs have.
    enabled: Vec<String>,
    /// What groups that are used again have counted for earlier jobs.
    past: BTreeMap<u32, Past>,
    /// Somebody has asked for figures.
    is_metered: bool,
}

/// The groups as they are written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    own: PathBuf,
    folder: PathBuf,
    shown: String,
    lock: RawFd,
    spare: Vec<u32>,
    made: u32,
    doomed: Vec<PathBuf>,
    enabled: Vec<String>,
    #[serde(default)]
    is_metered: bool,
}

impl Saved {
    /// The descriptor that it is held by.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.lock
    }
}

/// An open group.
#[derive(Debug)]
struct Open {
    folder: OwnedFd,
    events: File,
    /// Only held: the kernel looks at this file's rights at each start, and finds it faster while it
    /// is open.
    #[expect(dead_code, reason = "open is all it has to be")]
    procs: OwnedFd,
    /// What it has counted, once somebody has asked for figures.
    usage: Option<File>,
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
    /// Not frozen, which a job of root's can do to its own group; nor removed.
    pub is_usable: bool,
}

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
    fn name(&self) -> Cow<'_, str> {
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
    fn parse(text: &str) -> Option<Self> {
        let time = |name| text.lines().find_map(|l| l.strip_prefix(name))?.parse::<u64>().ok();
        Some(Self { user_us: time("user_usec ")?, system_us: time("system_usec ")? })
    }
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
        Some(Saved {
            own: jobs.own.clone(),
            folder: jobs.folder.clone(),
            shown: jobs.shown.clone(),
            lock: jobs.lock.as_raw_fd(),
            spare: jobs.spare.clone(),
            made: jobs.made,
            doomed: jobs.doomed.clone(),
            enabled: jobs.enabled.clone(),
            is_metered: jobs.is_metered,
        })
    }

    /// Groups that go on where others were written down.
    pub fn restore(saved: Saved, inherited: &mut Inherited) -> Result<Self, Lost> {
        let Saved { own, folder, shown, lock, spare, made, doomed, enabled, is_metered } = saved;
        let file = File::from(inherited.claim(lock)?);
        // It is locked already, by the same open file.
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Lost(lock))?;
        let (lock, open) = (Arc::new(lock), BTreeMap::new());
        // What they have counted for jobs before this one is not told.
        let past = (0..made).map(|number| (number, Past::Unknown)).collect();
        let mut jobs = Box::new(Jobs {
            own,
            folder,
            shown,
            lock,
            spare,
            made,
            open,
            doomed,
            enabled,
            past,
            is_metered,
        });
        for number in 0..made.min(u32::try_from(MAX_OPEN).unwrap_or(u32::MAX)) {
            jobs.keep_open(&Group::Plain(number));
        }
        Ok(Self { state: State::Ours(jobs) })
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
            if let Group::Plain(number) = group {
                jobs.open.remove(number);
                jobs.past.remove(number);
            }
            jobs.doomed.push(jobs.path(group));
            jobs.remove_doomed();
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
        let is = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(|is| is != "0");
        let is_frozen = is("frozen ").unwrap_or(false);
        Some(Look { is_empty: !is("populated ")?, is_usable: !is_frozen })
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
        jobs.is_metered = true;
        let past = match group {
            Group::Plain(number) => jobs.past.get(number).copied().unwrap_or(Past::None),
            Group::Set(..) => Past::None,
        };
        let (groups, folder) = (Arc::clone(&jobs.lock), jobs.path(group));
        Some(Counters { groups, folder, past, controllers: jobs.enabled.clone() })
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
        Group::parse(path.strip_prefix(&jobs.shown)?.split('/').next()?)
    }

    /// Kills everybody in it. Answers whether the kernel could do so at once.
    #[must_use]
    pub fn kill(&self, group: &Group) -> bool {
        self.path(group).is_some_and(|path| write(&path.join("cgroup.kill"), "1").is_ok())
    }

    /// Removes all, at init's end.
    pub fn clear(&mut self) {
        if let State::Ours(jobs) = std::mem::take(&mut self.state) {
            sweep(&jobs.folder);
            let _ = fs::remove_dir(&jobs.folder);
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

/// Makes the folder of this init's jobs in init's own group.
fn claim(mount: &Path) -> io::Result<Jobs> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    // A group outside of what this namespace shows cannot be named.
    let own = own.filter(|own| !own.contains("..")).ok_or(ErrorKind::Unsupported)?;
    let (parent, own) = (format!("/{own}"), mount.join(own));
    for n in 1..=MAX_INITS {
        let name = if n == 1 { "jobs".into() } else { format!("jobs-{n}") };
        let (folder, shown) =
            (own.join(&name), format!("{}/{name}/", parent.trim_end_matches('/')));
        make(&folder)?;
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&folder)?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        // One that has just ended may have removed what we have opened.
        let same = |meta: fs::Metadata| lock.metadata().is_ok_and(|own| own.ino() == meta.ino());
        if !fs::metadata(&folder).is_ok_and(same) {
            continue;
        }
        // What a killed init has left, if it is empty.
        sweep(&folder);
        let (spare, made, enabled) = (Vec::new(), 0, Vec::new());
        let (open, doomed) = (BTreeMap::new(), Vec::new());
        let (lock, past, is_metered) = (Arc::new(lock), BTreeMap::new(), false);
        return Ok(Jobs {
            own,
            folder,
            shown,
            lock,
            spare,
            made,
            open,
            doomed,
            enabled,
            past,
            is_metered,
        });
    }
    Err(ErrorKind::ResourceBusy.into())
}

impl Jobs {
    fn name(group: &Group) -> String {
        match group {
            Group::Plain(number) => format!("spare-{number}"),
            Group::Set(id, 0) => format!("job-{id}"),
            // No job's name has this sign.
            Group::Set(id, number) => format!("job-{id}+{number}"),
        }
    }

    fn path(&self, group: &Group) -> PathBuf {
        self.folder.join(Self::name(group))
    }

    fn opened(&self, group: &Group) -> Option<&Open> {
        match group {
            Group::Plain(number) => self.open.get(number),
            Group::Set(..) => None,
        }
    }

    fn read_events(&self, group: &Group) -> io::Result<String> {
        match self.opened(group) {
            Some(open) => read_at_start(&open.events),
            None => read_at_start(&self.open_events(group)?),
        }
    }

    fn open_events(&self, group: &Group) -> io::Result<File> {
        let path = format!("{}/cgroup.events", Self::name(group));
        Ok(File::from(self.open(&path, OFlag::O_RDONLY)?))
    }

    /// Opens what is in our folder: a shorter way than by its whole path.
    fn open(&self, name: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        openat(&**self.lock, name, flags | OFlag::O_CLOEXEC, Mode::empty())
    }

    fn handle(&self, group: &Group) -> Result<OwnedFd, Errno> {
        self.open(&Self::name(group), OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    fn remove_doomed(&mut self) {
        self.doomed.retain(|path| {
            if !is_populated(path) {
                remove(path, MAX_DEPTH);
            }
            path.exists()
        });
        // Who has taken root there is the next init's to remove.
        let too_many = self.doomed.len().saturating_sub(MAX_DOOMED);
        self.doomed.drain(..too_many);
    }

    fn take_plain(&mut self) -> Result<(Group, Handle), Errno> {
        let group = match self.spare.pop() {
            Some(number) => {
                let spent = if self.is_metered { self.spent(number) } else { None };
                self.past.insert(number, spent.map_or(Past::Unknown, Past::Spent));
                Group::Plain(number)
            }
            None => self.make_plain()?,
        };
        let handle = match self.opened(&group) {
            Some(open) => Handle::Kept(open.folder.as_raw_fd()),
            None => Handle::Own(self.handle(&group)?),
        };
        Ok((group, handle))
    }

    /// What a group that is used again has counted for earlier jobs.
    fn spent(&mut self, number: u32) -> Option<Spent> {
        let kept = self.open.get_mut(&number).and_then(|open| open.usage.take());
        let usage = kept.map_or_else(
            || {
                let path = format!("{}/cpu.stat", Self::name(&Group::Plain(number)));
                self.open(&path, OFlag::O_RDONLY).map(File::from)
            },
            Ok,
        );
        let usage = usage.ok()?;
        let spent = read_at_start(&usage).ok().as_deref().and_then(Spent::parse);
        if let Some(open) = self.open.get_mut(&number) {
            open.usage = Some(usage);
        }
        spent
    }

    /// A new group. One of that name may be there with processes in it, which a killed init has
    /// left, and which are no job's here.
    fn make_plain(&mut self) -> Result<Group, Errno> {
        self.remove_doomed();
        for _ in 0..MAX_LEFT {
            let group = Group::Plain(self.made);
            self.made = self.made.wrapping_add(1);
            match fs::create_dir(self.path(&group)) {
                Ok(()) => {
                    self.keep_open(&group);
                    return Ok(group);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(errno(&error)),
            }
        }
        Err(Errno::EEXIST)
    }

    /// Keeps a new group open, if there are not many yet.
    fn keep_open(&mut self, group: &Group) {
        let Group::Plain(number) = group else { return };
        if self.open.len() >= MAX_OPEN || !descriptor::are_plenty() {
            return;
        }
        let procs = self.open(&format!("{}/cgroup.procs", Self::name(group)), OFlag::O_RDONLY);
        if let (Ok(folder), Ok(events), Ok(procs)) =
            (self.handle(group), self.open_events(group), procs)
        {
            self.open.insert(*number, Open { folder, events, procs, usage: None });
        }
    }

    fn take_set(&mut self, id: &JobId, settings: &Settings) -> Result<(Group, Handle), Errno> {
        for (name, _) in settings.settings() {
            self.enable(name.split_once('_').map_or(name, |(controller, _)| controller))?;
        }
        let (group, path) = self.make_set(id)?;
        let made = settings.settings().try_for_each(|(name, setting)| {
            let file = path.join(name.replace('_', "."));
            write(&file, &text(setting)).map_err(|error| errno(&error))?;
            if name == LATE {
                // It is known to be good now.
                write(&file, "max").map_err(|error| errno(&error))?;
            }
            Ok(())
        });
        let opened = made.and_then(|()| self.handle(&group));
        if opened.is_err() {
            remove(&path, 1);
        }
        Ok((group, Handle::Own(opened?)))
    }

    /// A group for settings, anew, so that neither settings nor counters of the last run are left. If
    /// that is still there, somebody is in it, whom a killed init has left, or who was let go of.
    fn make_set(&self, id: &JobId) -> Result<(Group, PathBuf), Errno> {
        for number in 0..MAX_LEFT {
            let group = Group::Set(Box::new(id.clone()), number);
            let path = self.path(&group);
            if !is_populated(&path) {
                remove(&path, MAX_DEPTH);
            }
            match fs::create_dir(&path) {
                Ok(()) => return Ok((group, path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(errno(&error)),
            }
        }
        Err(Errno::EEXIST)
    }

    /// Gives a controller to the groups of jobs.
    fn enable(&mut self, controller: &'static str) -> Result<(), Errno> {
        if self.enabled.iter().any(|enabled| enabled == controller) {
            return Ok(());
        }
        let has =
            read_small(&self.own.join("cgroup.controllers")).map_err(|error| errno(&error))?;
        if !has.split_whitespace().any(|word| word == controller) {
            return Err(Errno::EOPNOTSUPP);
        }
        let switch = format!("+{controller}");
        let own = self.own.join("cgroup.subtree_control");
        if write(&own, &switch).is_err_and(|error| errno(&error) == Errno::EBUSY) {
            // A group whose controllers go further down may hold no process itself.
            self.move_out();
            write(&own, &switch).map_err(|error| errno(&error))?;
        }
        write(&self.folder.join("cgroup.subtree_control"), &switch)
            .map_err(|error| errno(&error))?;
        self.enabled.push(controller.to_owned());
        Ok(())
    }

    /// Moves everybody in init's own group, init and `boot` mostly, one group down.
    fn move_out(&self) {
        let below = self.own.join("init");
        if make(&below).is_err() {
            return;
        }
        let mut members = Vec::new();
        collect(&self.own, 1, &mut members);
        for pid in members {
            // Who has ended meanwhile is not in the way.
            let _ = write(&below.join("cgroup.procs"), &pid.to_string());
        }
    }

    fn give_back(&mut self, group: &Group) {
        match group {
            Group::Plain(number) if self.spare.len() < MAX_SPARE => self.spare.push(*number),
            Group::Plain(number) => {
                self.past.remove(number);
                remove(&self.path(group), MAX_DEPTH);
            }
            Group::Set(..) => remove(&self.path(group), MAX_DEPTH),
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

/// The processes in a group, and in those below it.
#[must_use]
pub fn members_of(group: &Path) -> Vec<i32> {
    let mut members = Vec::new();
    collect(group, MAX_DEPTH, &mut members);
    members
}

/// Whether somebody is in a group, or in one below it.
fn is_populated(group: &Path) -> bool {
    read_small(&group.join("cgroup.events"))
        .is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
}

/// Removes the groups in a folder that nobody is in, with those below them. Who is in one may have
/// made others for himself, and keeps them.
fn sweep(folder: &Path) {
    let empty = below(folder).filter(|group| !is_populated(group));
    empty.for_each(|group| remove(&group, MAX_DEPTH));
}

fn text(setting: &Setting) -> String {
    match setting {
        Setting::Number(number) => number.to_string(),
        Setting::Text(text) => text.clone(),
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// A file of a few lines, in one read and without asking for its size, which the kernel does not
/// know.
pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    read_at_start(&File::open(path)?)
}

fn read_at_start(file: &File) -> io::Result<String> {
    let mut buffer = [0; SMALL];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

fn collect(path: &Path, depth: u32, members: &mut Vec<i32>) {
    let list = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    members.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
    if depth > 1 {
        below(path).for_each(|path| collect(&path, depth - 1, members));
    }
}

/// Removes a group and those below it, as far as they are empty.
fn remove(path: &Path, depth: u32) {
    if depth > 0 && fs::remove_dir(path).is_err_and(|error| error.kind() != ErrorKind::NotFound) {
        remove_below(path, depth);
        // Who is still in it keeps it; the next init here removes it.
        let _ = fs::remove_dir(path);
    }
}

fn remove_below(path: &Path, depth: u32) {
    below(path).for_each(|path| remove(&path, depth - 1));
}

fn below(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path())
}
