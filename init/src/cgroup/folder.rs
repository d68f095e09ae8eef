//! The folder of an init's groups: groups are made in it, lent to jobs, and removed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use init_wire::Cgroup as Settings;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::counters::{Counters, Past, Spent};
use super::files::{
    MAX_DEPTH, collect, is_populated, make, read_at_start, read_small, remove, sweep, text, write,
};
use super::{Group, Handle, LATE};
use crate::descriptor;
use crate::id::JobId;
use crate::inherit::{Inherited, Lost};
use crate::sys::errno;

/// The file that freezes a group.
const FREEZE: &str = "cgroup.freeze";
/// Groups that wait for a job.
const MAX_SPARE: usize = 64;
/// Groups that stay open, with up to five descriptors each, where there are plenty.
const MAX_OPEN: usize = 64;
/// Groups that are tried again to be removed.
const MAX_DOOMED: usize = 64;
/// Inits side by side in one group.
const MAX_INITS: u32 = 1024;
/// Groups of a killed init that are stepped over.
const MAX_LEFT: u32 = 65_536;

/// The groups that are init's.
#[derive(Debug)]
pub(super) struct Jobs {
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
    /// Without groups that may have somebody in them by now.
    pub fn forget_spare(&mut self) {
        self.spare.clear();
    }

    /// The descriptor that it is held by.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.lock
    }
}

/// An open group.
#[derive(Debug)]
pub(super) struct Open {
    folder: OwnedFd,
    events: File,
    freeze: File,
    /// Only held: the kernel looks at this file's rights at each start, and finds it faster while it
    /// is open.
    #[expect(dead_code, reason = "open is all it has to be")]
    procs: File,
    /// What it has counted, once somebody has asked for figures.
    usage: Option<File>,
}

/// Makes the folder of this init's jobs in init's own group.
pub(super) fn claim(mount: &Path) -> io::Result<Jobs> {
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
        return Ok(Jobs::new(own, folder, shown, Arc::new(lock)));
    }
    Err(ErrorKind::ResourceBusy.into())
}

impl Jobs {
    fn new(own: PathBuf, folder: PathBuf, shown: String, lock: Arc<Flock<File>>) -> Self {
        let (spare, made, open, doomed, enabled, past) = Default::default();
        let is_metered = false;
        Self { own, folder, shown, lock, spare, made, open, doomed, enabled, past, is_metered }
    }

    /// The folder, to be written down.
    pub(super) fn save(&self) -> Saved {
        Saved {
            own: self.own.clone(),
            folder: self.folder.clone(),
            shown: self.shown.clone(),
            lock: self.lock.as_raw_fd(),
            spare: self.spare.clone(),
            made: self.made,
            doomed: self.doomed.clone(),
            enabled: self.enabled.clone(),
            is_metered: self.is_metered,
        }
    }

    /// The folder that was written down.
    pub(super) fn restore(
        saved: Saved,
        used: impl Iterator<Item = Group>,
        inherited: &mut Inherited,
    ) -> Result<Self, Lost> {
        let Saved { own, folder, shown, lock, spare, made, doomed, enabled, is_metered } = saved;
        let file = File::from(inherited.claim(lock)?);
        // It is locked already, by the same open file.
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Lost(lock))?;
        // What they have counted for jobs before this one is not told.
        let past = (0..made).map(|number| (number, Past::Unknown)).collect();
        let new = Self::new(own, folder, shown, Arc::new(lock));
        let mut jobs = Self { spare, made, doomed, enabled, past, is_metered, ..new };
        let spare: Vec<_> = jobs.spare.iter().map(|number| Group::Plain(*number)).collect();
        for group in used.chain(spare) {
            jobs.keep_open(&group);
        }
        Ok(jobs)
    }

    /// Removes a group, now or when who is still in it has left.
    pub(super) fn discard(&mut self, group: &Group) {
        if let Group::Plain(number) = group {
            self.open.remove(number);
            self.past.remove(number);
        }
        self.doomed.push(self.path(group));
        self.remove_doomed();
    }

    /// The counters of a group. From now on it is noted what one that is used again has counted before.
    pub(super) fn counters(&mut self, group: &Group) -> Counters {
        self.is_metered = true;
        let past = match group {
            Group::Plain(number) => self.past.get(number).copied().unwrap_or(Past::None),
            Group::Set(..) => Past::None,
        };
        let (groups, folder) = (Arc::clone(&self.lock), self.path(group));
        Counters { groups, folder, past, controllers: self.enabled.clone() }
    }

    /// The group of ours that `/proc/PID/cgroup` names so.
    pub(super) fn group_at(&self, path: &str) -> Option<Group> {
        Group::parse(path.strip_prefix(&self.shown)?.split('/').next()?)
    }

    /// Removes all, as far as nobody is in them.
    pub(super) fn clear(&self) {
        sweep(&self.folder);
        let _ = fs::remove_dir(&self.folder);
    }

    fn name(group: &Group) -> String {
        match group {
            Group::Plain(number) => format!("spare-{number}"),
            Group::Set(id, 0) => format!("job-{id}"),
            // No job's name has this sign.
            Group::Set(id, number) => format!("job-{id}+{number}"),
        }
    }

    pub(super) fn path(&self, group: &Group) -> PathBuf {
        self.folder.join(Self::name(group))
    }

    pub(super) fn opened(&self, group: &Group) -> Option<&Open> {
        match group {
            Group::Plain(number) => self.open.get(number),
            Group::Set(..) => None,
        }
    }

    pub(super) fn read_events(&self, group: &Group) -> io::Result<String> {
        match self.opened(group) {
            Some(open) => read_at_start(&open.events),
            None => read_at_start(&self.open_events(group)?),
        }
    }

    /// Whether somebody has wanted it frozen. That it is, the kernel says of an empty one only a moment later.
    pub(super) fn is_to_freeze(&self, group: &Group) -> bool {
        let text = match self.opened(group) {
            Some(open) => read_at_start(&open.freeze),
            None => self.open_file(group, FREEZE).and_then(|freeze| read_at_start(&freeze)),
        };
        // Kernels before 5.2 have no such file.
        text.is_ok_and(|text| text.trim_end() != "0")
    }

    pub(super) fn open_events(&self, group: &Group) -> io::Result<File> {
        self.open_file(group, "cgroup.events")
    }

    fn open_file(&self, group: &Group, name: &str) -> io::Result<File> {
        let path = format!("{}/{name}", Self::name(group));
        Ok(File::from(self.open(&path, OFlag::O_RDONLY)?))
    }

    /// Opens what is in our folder: a shorter way than by its whole path.
    pub(super) fn open(&self, name: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        openat(&**self.lock, name, flags | OFlag::O_CLOEXEC, Mode::empty())
    }

    pub(super) fn handle(&self, group: &Group) -> Result<OwnedFd, Errno> {
        self.open(&Self::name(group), OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    pub(super) fn remove_doomed(&mut self) {
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

    pub(super) fn take_plain(&mut self) -> Result<(Group, Handle), Errno> {
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
    pub(super) fn spent(&mut self, number: u32) -> Option<Spent> {
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
    pub(super) fn make_plain(&mut self) -> Result<Group, Errno> {
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
    pub(super) fn keep_open(&mut self, group: &Group) {
        let Group::Plain(number) = group else { return };
        if self.open.len() >= MAX_OPEN || !descriptor::are_plenty() {
            return;
        }
        let procs = self.open_file(group, "cgroup.procs");
        if let (Ok(folder), Ok(events), Ok(freeze), Ok(procs)) =
            (self.handle(group), self.open_events(group), self.open_file(group, FREEZE), procs)
        {
            self.open.insert(*number, Open { folder, events, freeze, procs, usage: None });
        }
    }

    pub(super) fn take_set(
        &mut self,
        id: &JobId,
        settings: &Settings,
    ) -> Result<(Group, Handle), Errno> {
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
    pub(super) fn make_set(&self, id: &JobId) -> Result<(Group, PathBuf), Errno> {
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
    pub(super) fn enable(&mut self, controller: &'static str) -> Result<(), Errno> {
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
    pub(super) fn move_out(&self) {
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

    pub(super) fn give_back(&mut self, group: &Group) {
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
