//! One job's automaton.
//!
//! ```text
//!            spawned              stop
//! Starting ───────────▶ Running ───────▶ Stopping ──▶ Ended
//!    ▲ │ failed            │ exit           tree empty  │
//!    │ └───▶ Backoff ◀─────┤                            │
//!    │          │ deadline └──────────────────────────▶ │
//!    └──────────┴──────────────── start ────────────────┘
//! ```
//!
//! What is wanted and what is there are apart: `Stopping` carries what comes after it. The
//! automaton moves only on what has happened; what it asks for comes back as a further input.
//! It refuses inputs that its state has no place for by leaving everything as it is.

mod automaton;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use init_wire::{JobInfo, Status};

use crate::clock::{Moment, rfc3339};
use crate::event::{Fault, Ticket, Until};
use crate::id::{JobId, Pid};
use crate::restart::History;
use crate::signal::Exit;
use crate::spec::Spec;

/// A job and its past.
#[derive(Clone, Debug)]
pub struct Job {
    id: JobId,
    spec: Arc<Spec>,
    state: State,
    why: Why,
    last_exit: Option<Exit>,
    respawn: u32,
    history: History,
    started: Option<SystemTime>,
    ended: Option<SystemTime>,
    waiters: Vec<Waiter>,
}

/// Where a job stands, with what only that place has.
#[derive(Clone, Debug)]
pub enum State {
    /// A process has been asked for.
    Starting(Origin),
    /// The main process runs.
    Running {
        /// It.
        pid: Pid,
        /// Since when.
        since: Instant,
    },
    /// The tree has been told to end.
    Stopping(Stopping),
    /// It waits for its next start.
    Backoff {
        /// When that is.
        until: Instant,
        /// The same for people.
        at: SystemTime,
    },
    /// It has no process and will not get one by itself.
    Ended {
        /// It ended with 0, or as it was told to.
        well: bool,
    },
}

/// Whose wish a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's, of a job that was not there: if it fails, it still is not.
    Fresh,
    /// A client's, of a job that is known.
    Asked,
    /// init's own: the restart policy's, or the first start of `boot`.
    Init,
}

/// A tree on its way out.
#[derive(Clone, Debug)]
pub struct Stopping {
    leader: Pid,
    reach: Reach,
    /// The next SIGKILL.
    kill_at: Instant,
    /// The next look at the tree, once the leader is gone.
    look_at: Option<Instant>,
    then: Then,
}

impl Stopping {
    fn begin(leader: Pid, reach: Reach, kill_at: Instant, then: Then) -> State {
        State::Stopping(Self { leader, reach, kill_at, look_at: None, then })
    }
}

/// Whom the polite signal reaches, and whose end is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The main process alone, which winds down the rest: what `boot` is owed.
    Leader,
    /// The whole tree.
    Tree,
}

/// What comes after the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Rest,
    /// A new start.
    StartAgain,
    /// What the restart policy says about the leader's own end, after it had lived so long.
    Judge(Exit, Duration),
}

/// Why a job is where it is.
#[derive(Clone, Debug)]
enum Why {
    Asked,
    Respawned,
    Exited(Exit),
    Stopped,
    GaveUp(Exit),
    SpawnFailed(Fault),
}

#[derive(Clone, Debug)]
struct Waiter {
    ticket: Ticket,
    until: Until,
    created: bool,
}

/// What can happen to a job.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client wants it started.
    Start(Ticket, Until),
    /// A client wants it ended, and perhaps started again.
    Stop(Option<Ticket>, Then),
    /// init ends: the main process is told, with this much time.
    WindDown(Instant),
    /// init ends: no more politeness.
    Kill,
    /// Its process was exec'ed.
    Spawned(Pid),
    /// Its process could not be exec'ed.
    SpawnFailed(Fault),
    /// Its main process was reaped, and was or was not the last of its tree.
    Exited(Exit, Alone),
    /// Its tree is empty.
    TreeEmpty,
    /// Somebody else's process was reaped: the tree may be empty now.
    OrphanReaped,
    /// Its deadline has passed.
    Deadline,
}

/// Whether a process was the last of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// Others are left, or may be.
    No,
    /// Nobody is left.
    Yes,
}

/// What a step may look at besides the job: the time, chance, and whether init is ending.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time.
    pub now: Moment,
    /// A random number.
    pub chance: u32,
    /// No restarts any more.
    pub ending: bool,
}

impl Job {
    /// A job whose first start is on its way.
    #[must_use]
    pub fn new(id: JobId, spec: Arc<Spec>, origin: Origin) -> Self {
        Self {
            id,
            spec,
            state: State::Starting(origin),
            why: Why::Asked,
            last_exit: None,
            respawn: 0,
            history: History::default(),
            started: None,
            ended: None,
            waiters: Vec::new(),
        }
    }

    /// What it runs.
    #[must_use]
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How its last run ended.
    #[must_use]
    pub fn last_exit(&self) -> Option<Exit> {
        self.last_exit
    }

    /// The main process, while it lives.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        match &self.state {
            State::Running { pid, .. } => Some(*pid),
            State::Stopping(stopping) => stopping.look_at.is_none().then_some(stopping.leader),
            State::Starting(_) | State::Backoff { .. } | State::Ended { .. } => None,
        }
    }

    /// Whether a process of it exists or will without anybody asking.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }

    /// Whether it waits for a tree whose leader is gone.
    #[must_use]
    pub fn awaits_tree(&self) -> bool {
        matches!(&self.state, State::Stopping(stopping) if stopping.look_at.is_some())
    }

    /// When it wants to be stepped with [`Input::Deadline`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Stopping(stopping) => {
                Some(stopping.look_at.map_or(stopping.kill_at, |at| at.min(stopping.kill_at)))
            }
            State::Backoff { until, .. } => Some(*until),
            State::Starting(_) | State::Running { .. } | State::Ended { .. } => None,
        }
    }

    /// Lets a request wait for the job.
    pub fn wait(&mut self, ticket: Ticket, until: Until, created: bool) {
        self.waiters.push(Waiter { ticket, until, created });
    }

    /// Forgets a request that no longer waits.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
    }

    /// As the API shows it.
    #[must_use]
    pub fn info(&self) -> Box<JobInfo> {
        Box::new(JobInfo {
            id: self.id.to_string(),
            status: self.status(),
            pid: self.pid().map(Pid::to_wire),
            last_exit: self.last_exit.map(Exit::to_wire),
            respawn: self.respawn,
            why: self.why(),
            started_at: self.started.map(rfc3339),
            ended_at: self.ended.map(rfc3339),
            next_start: match &self.state {
                State::Backoff { at, .. } => Some(rfc3339(*at)),
                State::Starting(_)
                | State::Running { .. }
                | State::Stopping(_)
                | State::Ended { .. } => None,
            },
            spec: self.spec.wire.clone(),
        })
    }

    /// Where it stands, in the words of the API.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.state {
            State::Starting(_) => Status::Starting,
            State::Running { .. } => Status::Running,
            State::Stopping(_) => Status::Stopping,
            State::Backoff { .. } => Status::Backoff,
            State::Ended { well: true } => Status::Success,
            State::Ended { well: false } => Status::Failed,
        }
    }

    fn why(&self) -> String {
        match &self.why {
            Why::Asked => "started on request".into(),
            Why::Respawned => "started again by its restart policy".into(),
            Why::Exited(exit) => format!("ended with {exit}"),
            Why::Stopped => "stopped on request".into(),
            Why::GaveUp(exit) => {
                format!("ended with {exit}, and was restarted as often as restart.limit allows")
            }
            Why::SpawnFailed(fault) => fault.to_string(),
        }
    }
}
