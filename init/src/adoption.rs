//! Which running processes may become a job: refuses those whose end would be init's own, those that
//! are somebody's already, and those that init may not signal.
//!
//! A process is held by a handle from the first look on, so that everything that is found out is
//! about the same one, whatever becomes of its number.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpid, getuid};
use serde::{Deserialize, Serialize};

use crate::event::number;
use crate::id::{JobId, Pid};
use crate::past::{self, Unread};
use crate::process::Process;
use crate::sys;

/// Generations up to which init's ancestors, and those of a process, are looked at.
const MAX_GENERATIONS: usize = 64;

/// Why a process cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NotAdoptable {
    /// It is not there, or not any more.
    #[error("there is no process {0} that runs; it may just have ended")]
    NoSuchProcess(i32),
    /// Nobody can be seen.
    #[error("init cannot see processes: mount /proc")]
    Blind,
    /// init starts nothing more.
    #[error("init is ending and takes over nothing more")]
    Ending,
    /// It is init.
    #[error("process {0} is init itself")]
    Init(i32),
    /// It is the first of the pid namespace.
    #[error("process 1 cannot be a job: all others of its namespace end with it")]
    First,
    /// init is of its tree.
    #[error("process {0} is an ancestor of init or leads its session; init would end with it")]
    Ancestor(i32),
    /// It is the kernel's own.
    #[error("process {0} is a thread of the kernel, which has no program to start again")]
    Kernel(i32),
    /// It is a part of a process.
    #[error("{pid} is a thread of process {process}; adopt that one")]
    Thread {
        /// The thread.
        pid: i32,
        /// Its process.
        process: i32,
    },
    /// It is a job's.
    #[error("process {pid} is of job `{job}` already; detach or stop that first")]
    OfJob {
        /// The process.
        pid: i32,
        /// The job.
        job: JobId,
    },
    /// A job is of its tree.
    #[error(
        "job `{job}` is of the tree of process {pid}, and would be stopped with it; detach it first"
    )]
    HasJob {
        /// The process.
        pid: i32,
        /// The job.
        job: JobId,
    },
    /// init may not signal it.
    #[error("process {pid} belongs to user {owner}; init runs as user {own} and may not signal it")]
    NotAllowed {
        /// The process.
        pid: i32,
        /// Its user.
        owner: u32,
        /// init's user.
        own: u32,
    },
    /// What it was started with cannot be told.
    #[error("{0}")]
    Unread(Unread),
    /// No handle, or no descriptor to keep one.
    #[error("process {pid} cannot be watched: {} ({errno:?})", errno.desc())]
    Unwatched {
        /// The process.
        pid: i32,
        /// The kernel's reason.
        #[serde(with = "number")]
        errno: Errno,
    },
    /// init has crashed meanwhile.
    #[error("init was interrupted while it looked at that process; ask again")]
    Interrupted,
    /// Too many are being looked at.
    #[error("{0} processes are being adopted and do not answer; try again later")]
    TooMany(usize),
}

/// A process that may become a job.
#[derive(Debug)]
pub struct Candidate {
    /// Its number, for as long as the handle says that it lives.
    pub pid: Pid,
    /// As it was looked at.
    pub process: Process,
    /// Means it, and nobody else who gets its number.
    pub handle: OwnedFd,
    /// init reaps it.
    pub is_child: bool,
}

impl Candidate {
    /// Looks at a process. `of_job` tells whose it is.
    pub fn find(
        pid: i32,
        of_job: impl FnOnce(&Process) -> Option<JobId>,
    ) -> Result<Self, NotAdoptable> {
        let gone = NotAdoptable::NoSuchProcess(pid);
        let own = getpid().as_raw();
        if pid == own {
            return Err(NotAdoptable::Init(pid));
        }
        let Some(number) = Pid::new(pid) else { return Err(NotAdoptable::First) };
        let handle = sys::open_process(pid).map_err(|errno| match errno {
            Errno::ESRCH => gone.clone(),
            Errno::EINVAL | Errno::ENOENT => past::process_of(pid)
                .map_or(gone.clone(), |process| NotAdoptable::Thread { pid, process }),
            errno => NotAdoptable::Unwatched { pid, errno },
        })?;
        let init = Process::read(own).ok_or(NotAdoptable::Blind)?;
        let process = Process::read(pid).filter(Process::is_alive).ok_or_else(|| gone.clone())?;
        if process.is_kernel {
            return Err(NotAdoptable::Kernel(pid));
        }
        if init.session == pid || ancestors(own).any(|ancestor| ancestor == pid) {
            return Err(NotAdoptable::Ancestor(pid));
        }
        if let Some(job) = of_job(&process) {
            return Err(NotAdoptable::OfJob { pid, job });
        }
        match sys::may_signal(&handle) {
            Ok(()) => {}
            Err(Errno::EPERM) => {
                let owner = past::owner_of(pid).ok_or_else(|| gone.clone())?;
                return Err(NotAdoptable::NotAllowed { pid, owner, own: getuid().as_raw() });
            }
            Err(_) => return Err(gone),
        }
        // Whatever was found is of the process of the handle only if that has not ended meanwhile.
        if has_ended(&handle) {
            return Err(gone);
        }
        let is_child = process.parent == own;
        Ok(Self { pid: number, process, handle, is_child })
    }
}

/// Whether the process of a handle has ended, reaped or not.
#[must_use]
pub fn has_ended(handle: &OwnedFd) -> bool {
    let mut looked = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut looked, PollTimeout::ZERO), Ok(1..))
}

fn ancestors(pid: i32) -> impl Iterator<Item = i32> {
    let parent = |pid: i32| Process::read(pid).map(|process| process.parent).filter(|pid| *pid > 0);
    std::iter::successors(parent(pid), move |pid| parent(*pid)).take(MAX_GENERATIONS)
}
