//! What can happen to the table, what follows from it, and what is answered.

use std::sync::Arc;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::adoption::NotAdoptable;
use crate::clock::Moment;
use crate::id::{JobId, Pid};
use crate::job::{Notice, Tree, View};
use crate::signal::{Exit, Signal};
use crate::snag::Snag;
use crate::spec::Spec;

/// Names a request that waits for its answer. Each is answered exactly once, or abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// When a request about a job is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// When the process has been exec'ed.
    Up,
    /// When it is ready, or will not be.
    Ready,
    /// When no process of the tree is left, whatever comes then.
    Stopped,
    /// When the job has ended for good.
    Ended,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Start a job, with a name of its own or one that init chooses.
    Start {
        /// Its name.
        id: Option<JobId>,
        /// What to run.
        spec: Arc<Spec>,
        /// When to answer.
        until: Until,
    },
    /// Start a known job that does not run.
    StartAgain(JobId),
    /// End a job's whole tree.
    Stop(JobId),
    /// End a job's whole tree and start it again.
    Restart(JobId),
    /// Forget a job that does not run.
    Remove(JobId),
    /// Send a signal to a job's main process.
    Signal(JobId, Signal),
    /// Let go of a job's processes alive, and forget the job.
    Detach(JobId),
    /// Answer when the job is so far.
    Await(JobId, Until),
    /// End init itself.
    End(Ending),
}

/// What becomes of the machine when init ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// init exits; in a VM, the machine is powered off, because PID 1 cannot exit there.
    Exit,
    /// The machine is powered off.
    Poweroff,
    /// The machine starts again.
    Reboot,
    /// The machine stops and stays on.
    Halt,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// init itself starts the job `boot`.
    Boot(Arc<Spec>),
    /// A client asks.
    Asked(Ticket, Command),
    /// A client no longer waits.
    Abandoned(Ticket),
    /// A process was exec'ed; it was made at that time.
    Spawned(JobId, Pid, Moment),
    /// A process could not be exec'ed.
    SpawnFailed(JobId, Fault),
    /// A running process was taken over, which began at that time; the spec says how to start it
    /// again.
    Adopted(JobId, Pid, Moment, Arc<Spec>),
    /// A running process was not taken over.
    NotAdopted(JobId, NotAdoptable),
    /// A child was reaped, or one that was taken over has ended: a job's main process.
    Reaped(Pid, Exit),
    /// All that were dead have been reaped, orphans among them.
    OrphansReaped,
    /// A job's tree was looked at.
    Tree(JobId, Tree),
    /// A process of the job says something.
    Says(JobId, Notice),
    /// A signal for `boot` came.
    Forward(Signal),
    /// Somebody asks init to end: SIGTERM, or Ctrl-Alt-Del in a VM.
    Terminate(Ending),
    /// A deadline may have passed.
    Tick,
}

/// A signal that is yet to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Unsent {
    /// To a process.
    Process(Pid, Signal),
    /// To the group that it leads.
    Group(Pid, Signal),
    /// To all processes of the job.
    Tree(JobId, Signal),
    /// To kill them.
    Kill(JobId),
}

impl Unsent {
    /// The signal that an effect is, if it is one.
    #[must_use]
    pub fn of(effect: &Effect) -> Option<Self> {
        match effect {
            Effect::Signal(pid, signal, _) => Some(Self::Process(*pid, *signal)),
            Effect::SignalGroup(pid, signal) => Some(Self::Group(*pid, *signal)),
            Effect::SignalTree(job, signal) => Some(Self::Tree(job.clone(), *signal)),
            Effect::KillTree(job) => Some(Self::Kill(job.clone())),
            _ => None,
        }
    }

    /// What sends it.
    #[must_use]
    pub fn effect(self) -> Effect {
        match self {
            Self::Process(pid, signal) => Effect::Signal(pid, signal, None),
            Self::Group(pid, signal) => Effect::SignalGroup(pid, signal),
            Self::Tree(job, signal) => Effect::SignalTree(job, signal),
            Self::Kill(job) => Effect::KillTree(job),
        }
    }
}

/// Something to do; the outside reports back by events.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Start a process: answered by `Spawned` or `SpawnFailed`.
    Spawn(JobId, Arc<Spec>),
    /// Take over the process that the spec names: answered by `Adopted` or `NotAdopted`.
    Adopt(JobId, Arc<Spec>),
    /// Let go of a job's processes, of which this is the main one.
    LetGo(JobId, Pid, Arc<Spec>),
    /// Signal one process; a ticket is answered with how that went.
    Signal(Pid, Signal, Option<Ticket>),
    /// Signal the process group that this process leads.
    SignalGroup(Pid, Signal),
    /// Signal all processes of the job's tree.
    SignalTree(JobId, Signal),
    /// Look whether anybody is left of the tree: answered by `Tree`.
    Probe(JobId),
    /// The same, thoroughly: who is dead and only not reaped by his parent does not count.
    Look(JobId),
    /// Look thoroughly, and kill the tree with SIGKILL if it is not empty.
    KillTree(JobId),
    /// Answer a client.
    Reply(Ticket, Reply),
    /// Tell followers that a job is new or has changed.
    Changed(JobId, u64),
    /// Tell followers that a job is gone.
    Gone(JobId, u64),
    /// Close the sockets that no job names any more.
    ReleaseListeners,
    /// Close what this job has stored for its next run.
    ReleaseStore(JobId),
    /// Everything has ended: end init with this code.
    End(Ending, u8),
}

impl Effect {
    /// Whether it takes so long that what follows happens later.
    #[must_use]
    pub fn may_take_long(&self) -> bool {
        match self {
            Self::Spawn(..)
            | Self::Adopt(..)
            | Self::LetGo(..)
            | Self::SignalTree(..)
            | Self::Look(_)
            | Self::KillTree(_)
            | Self::ReleaseListeners
            | Self::ReleaseStore(_) => true,
            Self::Signal(..)
            | Self::SignalGroup(..)
            | Self::Probe(_)
            | Self::Reply(..)
            | Self::Changed(..)
            | Self::Gone(..)
            | Self::End(..) => false,
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A job was started.
    Created(Box<View>),
    /// The job as it is now.
    Job(Box<View>),
    /// One of the two, of an earlier process.
    Again {
        /// Whether the job was started.
        is_new: bool,
        /// Its name.
        id: String,
        /// The job as it was then, in JSON.
        text: String,
    },
    /// It is done.
    Done,
    /// init has begun to end.
    Ending,
    /// It is refused.
    Refused(Refusal),
}

/// Why something is refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// No job has that name.
    #[error("there is no job `{0}`; GET /jobs lists those there are")]
    UnknownJob(JobId),
    /// The name is taken by a live job with another spec.
    #[error("job `{0}` is there with another spec; stop and DELETE it first, or choose another id")]
    OtherSpec(JobId),
    /// The job is being stopped.
    #[error("job `{0}` is being stopped; try again when it has ended (GET /job/{0}?wait=exit)")]
    Stopping(JobId),
    /// The job has a process.
    #[error("job `{0}` is running; stop it first (PUT /job/{0}/stop)")]
    Running(JobId),
    /// The job has no process.
    #[error("job `{0}` has no process; start it first (PUT /job/{0}/start)")]
    Dead(JobId),
    /// The job's process is not up yet.
    #[error("job `{0}` is starting; try again when it runs (GET /job/{0}?wait=ready)")]
    Starting(JobId),
    /// The job has no process.
    #[error("job `{0}` has no process to let go of; DELETE /job/{0} clears it")]
    NothingToDetach(JobId),
    /// init ends with this job.
    #[error("job `{0}` cannot be detached: init ends with it")]
    NotDetachable(JobId),
    /// Its input or its terminal is init's, and would end with init.
    #[error(
        "job `{0}` cannot be detached: what it reads is init's, by `tty` or `\"stdin\": \"pipe\"`"
    )]
    Tied(JobId),
    /// The job was let go of while somebody waited for its end.
    #[error("job `{0}` was detached: its process goes on, and init will not tell how it ends")]
    Detached(JobId),
    /// As many jobs have been let go of as init can leave alone.
    #[error("{0} detached jobs are alive, the most there may be; end some of their processes")]
    TooManyDetached(usize),
    /// The process cannot be taken over.
    #[error(transparent)]
    NotAdoptable(NotAdoptable),
    /// The kernel refuses the signal.
    #[error("the kernel refused the signal: {0}")]
    SignalFailed(#[serde(with = "number")] Errno),
    /// The process could not be started.
    #[error("{0}")]
    Spawn(Fault),
    /// There are as many jobs as there may be.
    #[error("there are {0} jobs, the most there may be; DELETE ended ones")]
    TableFull(usize),
    /// There is hardly any memory left.
    #[error("there is hardly any memory left for init; stop something, and try again")]
    NoMemory,
    /// The specs of all jobs together are as large as they may be.
    #[error("the specs of all jobs are {0} bytes, the most there may be; DELETE ended ones")]
    SpecsFull(usize),
    /// init is ending.
    #[error("init is ending and starts nothing more")]
    ShuttingDown,
}

/// Why a process could not be started: the step, and the kernel's reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error(
    "cannot start `{exec}`: {stage}{} failed: {} ({errno:?}){}{}",
    self.place(), errno.desc(), self.hint(), self.obstacle()
)]
pub struct Fault {
    /// The program.
    pub exec: String,
    /// The step.
    pub stage: Stage,
    /// The kernel's reason.
    #[serde(with = "number")]
    pub errno: Errno,
    /// The socket that it is about.
    pub snag: Option<Box<Snag>>,
}

/// What the kernel adds to the path of a program that is no longer there.
pub const DELETED: &str = " (deleted)";

/// A reason of the kernel's, written as its number.
pub(crate) mod number {
    use nix::errno::Errno;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(crate) fn serialize<S: Serializer>(errno: &Errno, to: S) -> Result<S::Ok, S::Error> {
        (*errno as i32).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Errno, D::Error> {
        i32::deserialize(from).map(Errno::from_raw)
    }
}

impl Fault {
    fn place(&self) -> String {
        self.snag.as_ref().map_or_else(String::new, |snag| format!(" on {}", snag.address))
    }

    fn obstacle(&self) -> String {
        self.snag.as_ref().map_or_else(String::new, ToString::to_string)
    }

    /// What to look at, where the reason alone does not tell.
    fn hint(&self) -> &'static str {
        match (self.stage, self.errno) {
            (Stage::Exec, Errno::ENOENT) if self.exec.ends_with(DELETED) => {
                "; it was already deleted from the disk when it was adopted: put it back, or PUT a \
                 spec with another `exec`"
            }
            (Stage::Exec, Errno::ENOENT) => {
                "; either it is not there, or the interpreter that its first line names is not"
            }
            (Stage::Exec, Errno::EACCES) => "; it must be executable for the job's user",
            (Stage::Exec, Errno::ENOEXEC) => {
                "; it is no program of this machine and no script with a #! line"
            }
            (Stage::Chdir, _) => "; `cwd` must be a directory that the job's user may enter",
            (Stage::Stdin | Stage::Stdout | Stage::Stderr, Errno::ENOENT) => {
                "; the folder of its `file` must be there"
            }
            (Stage::Listen, Errno::EADDRNOTAVAIL) => "; this machine does not have that address",
            (Stage::Listen, Errno::ENOENT) => "; the folder of the socket's file must be there",
            (Stage::Listen, Errno::EACCES) => "; init's own user may not have that",
            (Stage::Listen, Errno::EPERM) => "; only root may give a file to somebody else",
            (Stage::Cgroup, Errno::EOPNOTSUPP) => {
                "; `cgroup` needs cgroup v2, and the controller in init's own group"
            }
            (Stage::Groups | Stage::Group | Stage::User, Errno::EPERM) => {
                "; only an init that runs as root can start a job as somebody else"
            }
            (Stage::Rlimits, Errno::EPERM) => "; only root may raise a hard limit",
            (_, Errno::EMFILE) => {
                "; init keeps no more descriptors for jobs than its own limit (RLIMIT_NOFILE) leaves it: \
                 end some jobs, or start init with a higher one, 1024 or more"
            }
            (Stage::Clone, Errno::EAGAIN) => {
                "; there are as many processes, or as many starts under way, as there may be"
            }
            _ => "",
        }
    }

    /// The exit code a shell would report for it.
    #[must_use]
    pub fn as_exit(&self) -> Exit {
        Exit::Code(if self.errno == Errno::ENOENT { 127 } else { 126 })
    }
}

/// The steps of starting a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Opening the sockets that the spec names.
    Listen,
    /// Making its control group.
    Cgroup,
    /// Opening the socket or pipe on which it says that it is ready.
    Notify,
    /// Opening what standard input is connected to.
    Stdin,
    /// Opening what standard output is connected to.
    Stdout,
    /// Opening what standard error is connected to.
    Stderr,
    /// Making room for descriptors and arguments.
    Prepare,
    /// Making the process.
    Clone,
    /// Giving it a session of its own.
    Session,
    /// Making its terminal, or making that the session's.
    Terminal,
    /// Setting the kernel's liking for ending it when memory is out.
    OomScoreAdj,
    /// Setting its priority.
    Nice,
    /// Setting its bounds.
    Rlimits,
    /// Setting its capabilities.
    Capabilities,
    /// Setting its supplementary groups.
    Groups,
    /// Setting its group.
    Group,
    /// Setting its user.
    User,
    /// Going to its working directory.
    Chdir,
    /// Putting its descriptors in place.
    Descriptors,
    /// Giving up new privileges.
    NoNewPrivs,
    /// Resetting its signals.
    Signals,
    /// Running the program.
    Exec,
}

impl Stage {
    /// The word for it in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Cgroup => "cgroup",
            Self::Notify => "notify",
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Prepare => "prepare",
            Self::Clone => "clone",
            Self::Session => "session",
            Self::Terminal => "terminal",
            Self::OomScoreAdj => "oom_score_adj",
            Self::Nice => "nice",
            Self::Rlimits => "rlimits",
            Self::Capabilities => "capabilities",
            Self::Groups => "groups",
            Self::Group => "group",
            Self::User => "user",
            Self::Chdir => "chdir",
            Self::Descriptors => "descriptors",
            Self::NoNewPrivs => "no_new_privs",
            Self::Signals => "signals",
            Self::Exec => "exec",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
