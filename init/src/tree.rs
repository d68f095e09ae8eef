//! The processes of each job.
//!
//! A job's processes are those of its control group, where there are such groups. Else they are
//! those of its session and process group, and all their descendants as far as they can be told: a
//! process that has left both, and whose parent has ended before init looked, is nobody's any
//! more. What was seen once is remembered until it has ended.

use std::collections::HashMap;
use std::os::fd::RawFd;

use init_wire::Cgroup as Settings;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::cgroup::{self, Cgroups, Counters, Group, Handle};
use crate::descent::Descent;
use crate::detached::Spared;
use crate::id::{JobId, Pid};
use crate::inherit::{Inherited, Lost};
use crate::job::Tree as Seen;
use crate::limits::MAX_DETACHED;
use crate::process::{self, Process};
use crate::signal::Signal;

/// Processes that are named where a job's end takes long.
const NAMED: usize = 5;
/// SIGKILLs after which it is said again that somebody does not die; one comes each 100 ms.
const SAY_AGAIN: [u32; 3] = [10, 100, 1000];
/// Detached trees from which on they are looked through for such as have ended.
const SIFT_FROM: usize = 16;
/// Generations up to which a process is looked for among a job's descendants.
const MAX_GENERATIONS: u32 = 64;

/// The processes of all jobs.
#[derive(Debug, Default)]
pub struct Trees {
    groups: Cgroups,
    /// Somebody has been started in one.
    has_started_in_one: bool,
    by_job: HashMap<JobId, Tree>,
    /// Trees of no job any more.
    detached: Vec<Detached>,
    /// So many of these are looked through for such as have ended.
    sift_at: usize,
}

/// All trees as they are written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    trees: Vec<(JobId, Tree)>,
    detached: Vec<Detached>,
    groups: Option<cgroup::Saved>,
}

impl Saved {
    /// Without groups that may have somebody in them by now.
    pub fn forget_spare(&mut self) {
        self.groups.iter_mut().for_each(cgroup::Saved::forget_spare);
    }

    /// Without what is not there any more.
    pub fn leave_out(&mut self, is_there: impl Fn(RawFd) -> bool) {
        self.groups = self.groups.take().filter(|groups| is_there(groups.fd()));
    }

    /// The descriptors that are a part of it.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.groups.iter().map(cgroup::Saved::fd)
    }
}

/// A tree that init has let go of.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Detached {
    /// The main process, by number and start.
    main: (i32, u64),
    tree: Tree,
}

/// The processes of one job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tree {
    /// The process that the job was started with: the number of its group and session.
    leader: Pid,
    group: Option<Group>,
    rare: Option<Box<Rare>>,
}

/// What most jobs never have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Rare {
    /// Members that only descent tells, seen earlier.
    strays: Vec<Process>,
    /// The process that is to be the main one when the present one has ended.
    heir: Option<Pid>,
    kills: u32,
    /// Nobody of the leader's group and session was left once: their number may be another's now.
    is_number_free: bool,
    /// It was taken over: descent alone tells who is of it.
    descent: Option<Descent>,
}

/// By what a job's processes can be told, at the moment it was asked for.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The job.
    pub job: JobId,
    /// The process that it was started with.
    pub leader: Pid,
    /// Its control group's folder.
    pub counters: Option<Counters>,
    /// Without a group: the number of its group and session, if that is its own.
    pub number: Option<Pid>,
    /// Without a group: members that only descent tells, seen earlier, by number and start.
    pub strays: Vec<(i32, u64)>,
}

impl Trees {
    /// All trees, to be written down.
    #[must_use]
    pub fn save(&self) -> Saved {
        let trees = self.by_job.iter().map(|(job, tree)| (job.clone(), tree.clone())).collect();
        Saved { trees, detached: self.detached.clone(), groups: self.groups.save() }
    }

    /// Trees that go on where others were written down.
    pub fn restore(saved: Saved, inherited: &mut Inherited) -> Result<Self, Lost> {
        let used = || saved.trees.iter().filter_map(|(_, tree)| tree.group.clone());
        let groups = saved.groups.map(|groups| Cgroups::restore(groups, used(), inherited));
        let groups = groups.transpose()?;
        Ok(Self {
            has_started_in_one: saved.trees.iter().any(|(_, tree)| tree.group.is_some()),
            by_job: saved.trees.into_iter().collect(),
            detached: saved.detached,
            groups: groups.unwrap_or_default(),
            sift_at: 0,
        })
    }

    /// The process that a job was started with last.
    #[must_use]
    pub fn leader(&self, job: &JobId) -> Option<Pid> {
        self.by_job.get(job).map(|tree| tree.leader)
    }

    /// By what the processes of a job can be told.
    #[must_use]
    pub fn roots(&mut self, job: &JobId) -> Option<Roots> {
        let tree = self.by_job.get(job)?;
        let counters = tree.group.as_ref().and_then(|group| self.groups.counters(group));
        let number = match tree.rare.as_deref() {
            Some(Rare { descent: Some(descent), .. }) => descent.session(),
            Some(Rare { is_number_free: true, .. }) => None,
            Some(_) | None => Some(tree.leader),
        };
        let (job, leader, strays) = (job.clone(), tree.leader, tree.known().collect());
        Some(Roots { job, leader, counters, number, strays })
    }

    /// A control group for a job that is about to start, if there are such groups.
    pub fn take_group(
        &mut self,
        job: &JobId,
        settings: Option<&Settings>,
    ) -> Result<Option<(Group, Handle)>, Errno> {
        self.release(job);
        self.groups.take(job, settings)
    }

    /// A job's tree begins.
    pub fn plant(&mut self, job: &JobId, leader: Pid, group: Option<Group>) {
        self.has_started_in_one |= group.is_some();
        self.by_job.insert(job.clone(), Tree { leader, group, rare: None });
    }

    /// The tree of a process that is to be taken over, and who is of it.
    #[must_use]
    pub fn tree_of(&self, main: &Process, leader: Pid) -> (Tree, Vec<Process>) {
        let mut descent = Descent::of(main);
        let members = descent.find(Process::all().unwrap_or_default());
        let rare = Rare { descent: Some(descent), ..Rare::default() };
        (Tree { leader, group: None, rare: Some(Box::new(rare)) }, members)
    }

    /// A job's tree is that of a process which was taken over. If it is the main one of a tree that
    /// was let go of, that tree is the job's again.
    pub fn adopt(&mut self, job: &JobId, main: &Process, tree: Tree) {
        let same = |detached: &Detached| detached.main == (main.pid, main.start);
        let known = self.detached.iter().position(same);
        let tree = known.map_or(tree, |at| self.detached.swap_remove(at).tree);
        self.by_job.insert(job.clone(), tree);
    }

    /// Whether a tree more may be let go of.
    pub fn may_let_go(&mut self) -> bool {
        if self.detached.len() >= self.sift_at.clamp(SIFT_FROM, MAX_DETACHED) {
            self.sift();
        }
        self.detached.len() < MAX_DETACHED
    }

    /// Forgets trees that were let go of and have ended since.
    fn sift(&mut self) {
        let Self { groups, detached, .. } = self;
        let has_ended = |detached: &mut Detached| match &detached.tree.group {
            Some(group) => groups.look(group).is_some_and(|seen| seen.is_empty),
            None => !detached.is_seen(),
        };
        let ended: Vec<_> = detached.extract_if(.., has_ended).collect();
        for group in ended.into_iter().filter_map(|detached| detached.tree.group) {
            self.give_up(Some(group));
        }
        self.sift_at = self.detached.len() * 2;
    }

    /// A job's tree is no job's any more, and goes on.
    pub fn let_go(&mut self, job: &JobId, main: Pid) {
        let Some(mut tree) = self.by_job.remove(job) else { return };
        if tree.group.is_none() {
            // Remembers who is there.
            tree.find();
        }
        if let Some(process) = Process::read(main.as_raw()) {
            self.detached.push(Detached { main: (process.pid, process.start), tree });
        }
    }

    /// Whom init's own end is not to touch.
    #[must_use]
    pub fn spared(&self) -> Spared {
        let mut spared = Spared::default();
        for Detached { main, tree } in &self.detached {
            if let Some(path) = tree.group.as_ref().and_then(|group| self.groups.path(group)) {
                spared.groups.push(path);
                continue;
            }
            spared.processes.extend(tree.known().chain([*main]));
            if !tree.is_by_descent() {
                spared.sessions.push(tree.leader.as_raw());
            }
        }
        spared
    }

    /// Whose a process is, by its control group, its session, or its ancestors.
    #[must_use]
    pub fn job_of(&mut self, process: &Process) -> Option<JobId> {
        let group = self.groups.name_around(process.pid);
        let has_group =
            |tree: &Tree| tree.group.as_ref().is_some_and(|own| group.as_ref() == Some(own));
        if let Some((job, _)) = self.by_job.iter().find(|(_, tree)| has_group(tree)) {
            return Some(job.clone());
        }
        let mut next = Some(process.clone());
        for _ in 0..MAX_GENERATIONS {
            let process = next?;
            let is_in = |tree: &Tree| match tree.group {
                Some(_) => tree.leader.as_raw() == process.pid,
                None => tree.is_by_number(&process) || tree.knows(&process),
            };
            if let Some((job, _)) = self.by_job.iter().find(|(_, tree)| is_in(tree)) {
                return Some(job.clone());
            }
            next = Some(process.parent).filter(|pid| *pid > 1).and_then(Process::read);
        }
        None
    }

    /// A job's tree does not begin: what was taken for it is not used again, because a start that
    /// failed may have left anything in it.
    pub fn give_up(&mut self, group: Option<Group>) {
        if let Some(group) = group {
            self.groups.discard(&group);
        }
    }

    /// The process of a job with settings has exec'ed.
    pub fn bound(&self, job: &JobId, settings: &Settings) {
        if let Some(group) = self.by_job.get(job).and_then(|tree| tree.group.as_ref()) {
            self.groups.bound(job, group, settings);
        }
    }

    /// The kernel has refused to start somebody in a control group. Answers whether that is because
    /// it never does, so that jobs go without from now on: one that is older, or that a container's
    /// filter keeps from it.
    #[must_use]
    pub fn go_without_groups(&mut self, why: Errno) -> bool {
        let never = matches!(why, Errno::ENOSYS | Errno::EPERM | Errno::E2BIG | Errno::EINVAL);
        if never && !self.has_started_in_one {
            self.groups.forbid(why);
        }
        never && !self.has_started_in_one
    }

    /// A job's tree is over.
    pub fn release(&mut self, job: &JobId) {
        let Some(tree) = self.by_job.remove(job) else { return };
        let Some(group) = tree.group else { return };
        if tree.rare.is_some_and(|rare| rare.kills > 0) {
            // A kernel that has killed a group once also kills who is made in it later.
            self.groups.discard(&group);
        } else {
            self.groups.give_back(&group);
        }
    }

    /// Removes the control groups, at init's end.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// Tells everybody to end; for SIGKILL there is [`kill`](Self::kill).
    pub fn tell_to_end(&mut self, job: &JobId, signal: Signal) {
        let Some(tree) = self.by_job.get_mut(job) else { return };
        let others = match &tree.group {
            Some(group) => self.groups.members(group),
            None => tree.find().iter().map(|process| process.pid).collect(),
        };
        let (leader, has_group) = (tree.leader, !tree.is_by_descent());
        // Who is stopped heeds it only when he goes on.
        let both = [signal, Signal::CONT];
        if has_group && (others.is_empty() || others == [leader.as_raw()]) {
            return both.into_iter().for_each(|signal| process::signal_group(leader, signal));
        }
        let others: Vec<_> = others.into_iter().filter_map(Process::read).collect();
        let (of_group, strays): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|p| has_group && p.group == leader.as_raw());
        for signal in both {
            // The group at once, so that nobody escapes by forking meanwhile.
            if !of_group.is_empty() {
                process::signal_group(leader, signal);
            }
            for process in &strays {
                process.signal(signal);
            }
        }
    }

    /// Looks whether anybody is left.
    pub fn probe(&mut self, job: &JobId) -> Seen {
        self.look_with(job, |tree| {
            if let Some(descent) = tree.descent() {
                descent.is_over()
            } else if tree.has_strays() {
                tree.find().is_empty()
            } else {
                process::is_group_empty(tree.leader)
            }
        })
    }

    /// The same, thoroughly: the dead whom only their parent does not reap do not count.
    pub fn look(&mut self, job: &JobId) -> Seen {
        self.look_with(job, |tree| {
            let is_alone = tree.is_by_descent() || process::is_group_empty(tree.leader);
            tree.find().is_empty() && (is_alone || has_proc())
        })
    }

    /// Asks the control group, and where there is none, `is_empty`.
    fn look_with(&mut self, job: &JobId, is_empty: impl FnOnce(&mut Tree) -> bool) -> Seen {
        let Some(tree) = self.by_job.get_mut(job) else { return Seen::Empty { oom: false } };
        let (is_empty, is_usable) = match &tree.group {
            Some(group) => self
                .groups
                .look(group)
                .map_or((false, true), |seen| (seen.is_empty, seen.is_usable)),
            None => (is_empty(tree), true),
        };
        if !is_empty {
            return Seen::Left { heir: self.heir(job) };
        }
        let group = self.by_job.get(job).and_then(|tree| tree.group.as_ref());
        let oom = group.is_some_and(|group| self.groups.had_oom(group));
        if !is_usable {
            // The next job would not even start in it.
            let spoilt = self.by_job.get_mut(job).and_then(|tree| tree.group.take());
            self.give_up(spoilt);
        }
        self.release(job);
        Seen::Empty { oom }
    }

    /// Kills everybody, and says so.
    pub fn kill(&mut self, job: &JobId) -> Seen {
        let seen = self.look(job);
        if matches!(seen, Seen::Empty { .. }) {
            return seen;
        }
        let left = self.describe(job);
        let Some(tree) = self.by_job.get_mut(job) else { return seen };
        let kills = &mut tree.rare.get_or_insert_default().kills;
        if *kills == 0 {
            warn!("job `{job}` has not ended in its time; killing {left}");
        } else if SAY_AGAIN.contains(kills) {
            warn!("job `{job}` does not end by SIGKILL: {left}");
        }
        *kills = kills.saturating_add(1);
        match &tree.group {
            Some(group) if self.groups.kill(group) => {}
            Some(group) => {
                for process in self.groups.members(group).into_iter().filter_map(Process::read) {
                    process.signal(Signal::KILL);
                }
            }
            None if tree.is_by_descent() => tree.descent().into_iter().for_each(Descent::kill),
            None => {
                let (leader, members) = (tree.leader, tree.find());
                if members.is_empty() || members.iter().any(|p| p.group == leader.as_raw()) {
                    process::signal_group(leader, Signal::KILL);
                }
                for process in members.iter().filter(|p| p.group != leader.as_raw()) {
                    process.signal(Signal::KILL);
                }
            }
        }
        seen
    }

    /// Who is left, for people.
    #[must_use]
    pub fn describe(&mut self, job: &JobId) -> String {
        let Some(tree) = self.by_job.get_mut(job) else { return "nobody".into() };
        let members: Vec<_> = match &tree.group {
            Some(group) => {
                self.groups.members(group).into_iter().filter_map(Process::read).collect()
            }
            None => tree.find(),
        };
        let mut names: Vec<_> = members
            .iter()
            .take(NAMED)
            .map(|p| format!("{} ({}, {})", p.pid, shown(&p.name), doing(p.state)))
            .collect();
        if members.len() > NAMED {
            names.push(format!("{} more", members.len() - NAMED));
        }
        if names.is_empty() {
            return format!("process group {}", tree.leader);
        }
        names.join(", ")
    }

    /// Whether a process is the job's.
    #[must_use]
    pub fn contains(&mut self, job: &JobId, pid: i32) -> bool {
        match self.by_job.get_mut(job) {
            Some(Tree { group: Some(group), .. }) => self.groups.contains(group, pid),
            Some(tree) => tree.has_member(pid),
            None => false,
        }
    }

    /// Names the process that is to follow the main one. Answers whether it can at once: when it
    /// is init's own child already.
    pub fn name_heir(&mut self, job: &JobId, pid: Pid) -> bool {
        if is_own_child(pid) {
            return true;
        }
        if let Some(tree) = self.by_job.get_mut(job) {
            tree.rare.get_or_insert_default().heir = Some(pid);
        }
        false
    }

    /// The heir, if it is of the job and init's own child by now.
    fn heir(&mut self, job: &JobId) -> Option<Pid> {
        let heir = self.by_job.get_mut(job)?.rare.as_mut()?.heir.take()?;
        (is_own_child(heir) && self.contains(job, heir.as_raw())).then_some(heir)
    }
}

impl Detached {
    /// Whether somebody lives of those that were known when it was let go of. Cheap, because there
    /// may be many.
    fn is_seen(&self) -> bool {
        let lives = |(pid, start): (i32, u64)| {
            Process::read(pid).is_some_and(|process| process.start == start && process.is_alive())
        };
        self.tree.known().chain([self.main]).any(lives)
            || !self.tree.is_by_descent() && !process::is_group_empty(self.tree.leader)
    }
}

impl Tree {
    /// Those that were seen last and that neither session nor group tells, by number and start.
    fn known(&self) -> impl Iterator<Item = (i32, u64)> {
        let strays = self.rare.iter().flat_map(|rare| &rare.strays).map(|p| (p.pid, p.start));
        let descent = self.rare.iter().filter_map(|rare| rare.descent.as_ref());
        strays.chain(descent.flat_map(Descent::known))
    }

    fn has_strays(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.strays.is_empty())
    }

    fn is_by_descent(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.descent.is_some())
    }

    fn descent(&mut self) -> Option<&mut Descent> {
        self.rare.as_mut()?.descent.as_mut()
    }

    /// Whoever lives of the session, the group, and their descendants.
    fn find(&mut self) -> Vec<Process> {
        let Some(all) = Process::all() else { return Vec::new() };
        if let Some(descent) = self.descent() {
            return descent.find(all);
        }
        let (mut found, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|process| self.is_by_number(process) || self.knows(process));
        let is_number_free = !found.iter().any(|process| self.is_by_number(process));
        let mut from = 0;
        while let Some(parent) = found.get(from).map(|process| process.pid) {
            found.extend(others.extract_if(.., |process| process.parent == parent));
            from += 1;
        }
        found.retain(Process::is_alive);
        let group = self.leader.as_raw();
        let strays: Vec<_> = found.iter().filter(|p| p.group != group).cloned().collect();
        if is_number_free || self.has_strays() || !strays.is_empty() {
            let rare = self.rare.get_or_insert_default();
            rare.is_number_free |= is_number_free;
            rare.strays = strays;
        }
        found
    }

    fn is_by_number(&self, process: &Process) -> bool {
        let leader = self.leader.as_raw();
        if let Some(descent) = self.rare.as_ref().and_then(|rare| rare.descent.as_ref()) {
            return descent.has(process);
        }
        !self.rare.as_ref().is_some_and(|rare| rare.is_number_free)
            && [process.pid, process.group, process.session].contains(&leader)
    }

    fn knows(&self, process: &Process) -> bool {
        let strays = self.rare.as_ref().map_or(&[][..], |rare| &rare.strays);
        strays.iter().any(|stray| (stray.pid, stray.start) == (process.pid, process.start))
    }

    fn has_member(&self, pid: i32) -> bool {
        let mut next = Some(pid).filter(|pid| *pid > 1);
        for _ in 0..MAX_GENERATIONS {
            let Some(process) = next.and_then(Process::read) else { return false };
            if self.is_by_number(&process) || self.knows(&process) {
                return true;
            }
            next = Some(process.parent).filter(|pid| *pid > 1);
        }
        false
    }
}

fn is_own_child(pid: Pid) -> bool {
    let own = nix::unistd::getpid().as_raw();
    Process::read(pid.as_raw()).is_some_and(|process| process.parent == own)
}

fn has_proc() -> bool {
    Process::read(nix::unistd::getpid().as_raw()).is_some()
}

fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What a state letter of the kernel means.
fn doing(state: char) -> &'static str {
    match state {
        'R' => "running",
        'S' | 'I' => "sleeping",
        'D' => "waiting for a disk or the like",
        'T' | 't' => "stopped",
        'Z' | 'X' => "dead",
        _ => "in an unknown state",
    }
}
