//! Children between their clone and their exec.
//!
//! That takes a tenth of a millisecond, in which init goes on with others; it waits for a child only
//! when there is nothing else to do, and not for long. A child whose program comes from a slow disk,
//! or that somebody has stopped on its way, is looked after by the clock.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use init_wire::{Cgroup as Settings, Log};
use serde::{Deserialize, Serialize};

use crate::cgroup::Group;
use crate::clock::Moment;
use crate::id::{JobId, Pid};
use crate::inherit::{Inherited, Lost};
use crate::process;
use crate::stdio::Kept;
use crate::sys::child::{Outcome, Stack, Unborn};

/// Children on their way that each take a stack of their own, as long as they are quick.
const FEW: usize = 8;
/// Children on their way, however slow they are. A further start fails with `EAGAIN`.
const MOST: usize = 64;
/// How long init waits for a child when it has nothing else to do, and somebody waits for it. A child
/// that takes longer is looked at by the clock. Mostly it takes a tenth of a millisecond; but shorter
/// than the kernel's tick, setting the time would cost more than the wait.
const A_MOMENT: Duration = Duration::from_millis(10);
/// Looks at a child that takes longer.
const SOONEST_LOOK: Duration = Duration::from_millis(2);
const LATEST_LOOK: Duration = Duration::from_millis(50);
/// The first look at a child that nobody waits for. Whatever happens before is as good.
const LAZY_LOOK: Duration = Duration::from_millis(100);

/// All children on their way, the oldest first.
#[derive(Default)]
pub struct Births {
    births: Vec<Birth>,
    /// Stacks that no child is on.
    stacks: Vec<Stack>,
}

/// A child on its way.
struct Birth {
    child: Unborn,
    outfit: Outfit,
}

/// What is a child's job's when it is there.
#[derive(Debug)]
pub struct Outfit {
    /// The job.
    pub job: JobId,
    /// What it is to run, for people.
    pub exec: String,
    /// When it was made.
    pub begun: Moment,
    /// Its control group.
    pub group: Option<Group>,
    /// What that is to be bounded by as soon as it has exec'ed.
    pub bounds: Option<Box<Settings>>,
    /// What init keeps of its streams.
    pub kept: Kept,
    /// How its output is kept.
    pub log: Log,
    /// Whether it has a terminal of its own.
    pub tty: bool,
}

/// A child on its way, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    child: Pid,
    job: JobId,
    exec: String,
    begun: Moment,
    group: Option<Group>,
    bounds: Option<Box<Settings>>,
    kept: [Option<RawFd>; 3],
    log: Log,
    tty: bool,
}

impl Saved {
    /// Without what is not there any more.
    pub fn leave_out(&mut self, is_there: impl Fn(RawFd) -> bool) {
        self.kept = self.kept.map(|end| end.filter(|fd| is_there(*fd)));
    }

    /// The descriptors that are a part of it.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.kept.into_iter().flatten()
    }

    /// The child, which is as good as there: it borrows nothing of this process's.
    pub fn claim(self, inherited: &mut Inherited) -> Result<(Pid, Outfit), Lost> {
        let Self { child, job, exec, begun, group, bounds, kept, log, tty } = self;
        let mut claim = |fd: Option<RawFd>| fd.map(|fd| inherited.claim(fd)).transpose();
        let [stdin, stdout, stderr] = kept;
        let kept = Kept { stdin: claim(stdin)?, stdout: claim(stdout)?, stderr: claim(stderr)? };
        Ok((child, Outfit { job, exec, begun, group, bounds, kept, log, tty }))
    }
}

impl Births {
    /// The children on their way, to be written down.
    #[must_use]
    pub fn save(&self) -> Vec<Saved> {
        let saved = |Birth { child, outfit }: &Birth| {
            let Outfit { job, exec, begun, group, bounds, kept, log, tty } = outfit;
            let fd = |end: &Option<OwnedFd>| end.as_ref().map(AsRawFd::as_raw_fd);
            Saved {
                child: child.pid(),
                job: job.clone(),
                exec: exec.clone(),
                begun: *begun,
                group: group.clone(),
                bounds: bounds.clone(),
                kept: [fd(&kept.stdin), fd(&kept.stdout), fd(&kept.stderr)],
                log: log.clone(),
                tty: *tty,
            }
        };
        self.births.iter().map(saved).collect()
    }

    /// A stack for a child; none if there are too many that are slow. Waits a moment if there are
    /// many that will be there by then.
    pub fn stack(&mut self) -> Option<Stack> {
        let now = Instant::now();
        if self.births.iter().filter(|birth| birth.is_quick(now)).count() >= FEW {
            self.wait();
        }
        (self.births.len() < MOST).then(|| self.stacks.pop().unwrap_or_default())
    }

    /// Takes back a stack.
    pub fn give_back(&mut self, stack: Stack) {
        if self.stacks.len() < FEW {
            self.stacks.push(stack);
        }
    }

    /// A child more is on its way.
    pub fn add(&mut self, child: Unborn, outfit: Outfit) {
        self.births.push(Birth { child, outfit });
    }

    /// Waits so long until none is on its way any more. Answers whether that is so.
    #[must_use]
    pub fn see_all_through(&mut self, patience: Duration) -> bool {
        let by = Instant::now() + patience;
        let left = || by.saturating_duration_since(Instant::now());
        self.births.iter().all(|birth| birth.child.wait(left()))
    }

    /// Whether none is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.births.is_empty()
    }

    /// Whether a child is on its way.
    #[must_use]
    pub fn has(&self, pid: Pid) -> bool {
        self.births.iter().any(|birth| birth.child.pid() == pid)
    }

    /// Whether one of those that will be there in a moment is to be bounded then, or has its output
    /// read from then on.
    #[must_use]
    pub fn are_urgent(&self, now: Instant) -> bool {
        self.births.iter().any(|birth| birth.is_quick(now) && birth.outfit.is_urgent())
    }

    /// The jobs of all.
    pub fn all(&self) -> impl Iterator<Item = &JobId> {
        self.births.iter().map(|birth| &birth.outfit.job)
    }

    /// The jobs of those that will be there in a moment.
    pub fn near(&self, now: Instant) -> impl Iterator<Item = &JobId> {
        let near = self.births.iter().filter(move |birth| birth.is_quick(now));
        near.map(|birth| &birth.outfit.job)
    }

    /// Waits a moment for the next one.
    pub fn wait(&self) {
        let now = Instant::now();
        if let Some(birth) = self.births.iter().find(|birth| birth.is_quick(now)) {
            if birth.child.is_over() {
                thread::yield_now();
            } else {
                let _ = birth.child.wait(A_MOMENT);
            }
        }
    }

    /// When to look at them if nothing else happens.
    #[must_use]
    pub fn next_look(&self, now: Instant, is_awaited: impl Fn() -> bool) -> Option<Instant> {
        let age = self.births.last()?.child.age(now);
        let later = (age / 8).clamp(SOONEST_LOOK, LATEST_LOOK);
        let first = if is_awaited() { A_MOMENT } else { LAZY_LOOK };
        Some(now + first.saturating_sub(age).max(later))
    }

    /// One that is on its way no more: its pid, or why it has failed.
    pub fn take(&mut self) -> Option<(Outfit, Outcome)> {
        let over = self
            .births
            .iter_mut()
            .position(|birth| birth.child.is_over() && birth.is_apart() || birth.is_hopeless());
        let Birth { child, outfit } = self.births.remove(over?);
        let (born, stack) = child.born();
        self.give_back(stack);
        Some((outfit, born))
    }
}

impl Outfit {
    fn is_urgent(&self) -> bool {
        self.bounds.is_some() || self.kept.stdout.is_some() || self.kept.stderr.is_some()
    }
}

impl Birth {
    /// Whether it may be bounded. The kernel tells that it lets go of init's memory a moment before
    /// it does so; bounded in that moment, it would be ended with all who share it.
    fn is_apart(&self) -> bool {
        self.outfit.bounds.is_none() || !process::is_unborn(self.child.pid())
    }

    fn is_quick(&self, now: Instant) -> bool {
        self.child.age(now) < A_MOMENT
    }

    fn is_hopeless(&mut self) -> bool {
        let now = Instant::now();
        !self.is_quick(now) && self.child.is_hopeless(now)
    }
}
