//! The processes of each job.
//!
//! A job's processes are those of its control group, where there are such groups. Else they are
//! those of its session and process group, and all their descendants as far as they can be told: a
//! process that has left both, and whose parent has ended before init looked, is nobody's any
//! more. What was seen once is remembered until it has ended.

use std::collections::HashMap;

use init_wire::Cgroup as Settings;
use nix::errno::Errno;
use tracing::warn;

use crate::cgroup::{Cgroups, Counters, Group, Handle};
use crate::id::{JobId, Pid};
use crate::job::Tree as Seen;
use crate::process::{self, Process};
use crate::signal::Signal;

/// Processes that are named where a job's end takes long.
const NAMED: usize = 5;
/// SIGKILLs after which it is said again that somebody does not die; one comes each 100 ms.
const SAY_AGAIN: [u32; 3] = [10, 100, 1000];
/// Generations up to which a process is looked for among a job's descendants.
const MAX_GENERATIONS: u32 = 64;

/// The processes of all jobs.
#[derive(Debug, Default)]
pub struct Trees {
    groups: Cgroups,
    /// Somebody has been started in one.
    has_started_in_one: bool,
    by_job: HashMap<JobId, Tree>,
}

#[derive(Debug)]
struct Tree {
    /// The process that the job was started with: the number of its group and session.
    leader: Pid,
    group: Option<Group>,
    rare: Option<Box<Rare>>,
}

/// What most jobs never have.
#[derive(Debug, Default)]
struct Rare {
    /// Members that only descent tells, seen earlier.
    strays: Vec<Process>,
    /// The process that is to be the main one when the present one has ended.
    heir: Option<Pid>,
    kills: u32,
    /// Nobody of the leader's group and session was left once: their number may be another's now.
    is_number_free: bool,
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
    /// Without a group: members that only descent tells, seen earlier.
    pub strays: Vec<Process>,
}

impl Trees {
    /// By what the processes of a job can be told.
    #[must_use]
    pub fn roots(&mut self, job: &JobId) -> Option<Roots> {
        let tree = self.by_job.get(job)?;
        let counters = tree.group.as_ref().and_then(|group| self.groups.counters(group));
        let (is_free, strays) = match &tree.rare {
            Some(rare) => (rare.is_number_free, rare.strays.clone()),
            None => (false, Vec::new()),
        };
        let (job, leader, number) = (job.clone(), tree.leader, (!is_free).then_some(tree.leader));
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
        let leader = tree.leader;
        // Who is stopped heeds it only when he goes on.
        let both = [signal, Signal::CONT];
        if others.is_empty() || others == [leader.as_raw()] {
            return both.into_iter().for_each(|signal| process::signal_group(leader, signal));
        }
        let others: Vec<_> = others.into_iter().filter_map(Process::read).collect();
        let (of_group, strays): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|process| process.group == leader.as_raw());
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
            if tree.has_strays() {
                tree.find().is_empty()
            } else {
                process::is_group_empty(tree.leader)
            }
        })
    }

    /// The same, thoroughly: the dead whom only their parent does not reap do not count.
    pub fn look(&mut self, job: &JobId) -> Seen {
        self.look_with(job, |tree| {
            tree.find().is_empty() && (process::is_group_empty(tree.leader) || has_proc())
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

impl Tree {
    fn has_strays(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.strays.is_empty())
    }

    /// Whoever lives of the session, the group, and their descendants.
    fn find(&mut self) -> Vec<Process> {
        let Some(all) = Process::all() else { return Vec::new() };
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
