//! One job's automaton.
//!
//! ```text
//!            spawned              stop
//! Spawning ───────────▶ Running ───────▶ Stopping ──▶ Ended
//!    ▲ │ failed            │ exit  others    ▲    tree empty │
//!    │ │                   ▼       are left  │               │
//!    │ └──▶ Backoff ◀── Leaving ─────────────┘               │
//!    │         │ deadline  └──────────────────────────────▶  │
//!    └─────────┴───────────────── start ─────────────────────┘
//! ```
//!
//! What is wanted and what is there are apart: `Stopping` carries what comes after it. The
//! automaton moves only on what has happened; what it asks for comes back as a further input.
//! It refuses inputs that its state has no place for by leaving everything as it is.

mod adoption;
mod automaton;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use init_wire::{JobInfo, Ready, Status};
use serde::{Deserialize, Serialize};

use crate::adoption::NotAdoptable;
use crate::clock::{Moment, mono, rfc3339};
use crate::event::{Fault, Ticket, Until};
use crate::id::{JobId, Pid};
use crate::restart::History;
use crate::signal::Exit;
use crate::spec::{self, Shown, Spec};

/// A job as the API shows it.
pub type View = JobInfo<Shown>;

/// A job and its past.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    id: JobId,
    #[serde(with = "spec::shared")]
    spec: Arc<Spec>,
    state: State,
    why: Why,
    last_exit: Option<Exit>,
    respawn: u32,
    history: Option<Box<History>>,
    started: Option<SystemTime>,
    ended: Option<SystemTime>,
    waiters: Vec<Waiter>,
    /// What it says of itself.
    text: Option<Box<str>>,
    /// Grows with each change that shows, besides those of status and process.
    version: u32,
}

/// Where a job stands, with what only that place has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum State {
    /// A process is on its way.
    Spawning(Spawning),
    /// The main process runs.
    Running(Run),
    /// The main process has ended by itself; whether others are left is being looked at, and
    /// nothing else happens before that is known.
    Leaving(Box<Leaving>),
    /// The tree has been told to end.
    Stopping(Box<Stopping>),
    /// It waits for its next start.
    Backoff {
        /// When that is.
        #[serde(with = "mono")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A client's, of a job that was not there: if it fails, it still is not.
    Fresh,
    /// A client's, of a job that is known.
    Asked,
    /// init's own: the restart policy's, or the first start of `boot`.
    Init,
}

/// A process on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spawning {
    origin: Origin,
    /// What is asked of the job meanwhile. It is done when the process is there, or is not.
    put_off: Vec<Input>,
}

impl Spawning {
    fn begin(origin: Origin) -> State {
        State::Spawning(Self { origin, put_off: Vec::new() })
    }
}

/// A main process that runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Run {
    pid: Pid,
    #[serde(with = "mono")]
    since: Instant,
    ready: bool,
    /// How long it may be silent.
    watchdog: Option<Watchdog>,
}

/// A duty to say that one is alive.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Watchdog {
    /// How often, at least.
    limit: Duration,
    /// When it has been silent for too long; never before it is ready.
    #[serde(with = "mono::maybe")]
    at: Option<Instant>,
}

/// A main process that has ended by itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Leaving {
    run: Run,
    exit: Exit,
    at: Moment,
}

/// A tree on its way out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stopping {
    /// The main process, until it has ended.
    leader: Option<Pid>,
    reach: Reach,
    /// The next SIGKILL.
    #[serde(with = "mono")]
    kill_at: Instant,
    /// The next look at the tree, once the leader is gone.
    #[serde(with = "mono::maybe")]
    look_at: Option<Instant>,
    then: Then,
    /// Killing has begun.
    kills: bool,
    /// The kernel has ended one of it for want of memory.
    oom: bool,
}

impl Stopping {
    fn begin(leader: Pid, reach: Reach, kill_at: Instant, then: Then) -> State {
        State::Stopping(Box::new(Self {
            leader: Some(leader),
            reach,
            kill_at,
            look_at: None,
            then,
            kills: false,
            oom: false,
        }))
    }
}

/// Whom the polite signal reaches, and whose end is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// The main process alone, which winds down the rest: what `boot` is owed.
    Leader,
    /// The whole tree.
    Tree,
}

/// What comes after the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// Nothing.
    Rest,
    /// A new start.
    StartAgain,
    /// What the restart policy says about the leader's own end, after it had lived so long.
    Judge(Duration),
}

/// Why a job is where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Why {
    Asked,
    Adopted,
    Detached,
    Respawned,
    Exited(Exit),
    Stopped,
    Reloading,
    Leaving,
    Silent(Duration),
    Broken,
    GaveUp(Exit),
    SpawnFailed(Box<Fault>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiter {
    ticket: Ticket,
    until: Until,
    created: bool,
}

/// What can happen to a job. Only what can be put off is ever written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// A client wants it started.
    #[serde(skip)]
    Start(Ticket, Until),
    /// A client wants it ended, and perhaps started again.
    Stop(Option<Ticket>, Then),
    /// init ends: the main process is told, with this much time.
    WindDown(#[serde(with = "mono")] Instant),
    /// init ends: no more politeness.
    Kill,
    /// Its process was exec'ed; it was made at that time.
    #[serde(skip)]
    Spawned(Pid, Moment),
    /// Its process could not be exec'ed.
    #[serde(skip)]
    SpawnFailed(Fault),
    /// A running process that began then is its process now, and started again as this says.
    #[serde(skip)]
    Adopted(Pid, Moment, Arc<Spec>),
    /// No process was taken over.
    #[serde(skip)]
    NotAdopted(NotAdoptable),
    /// Its main process was reaped.
    #[serde(skip)]
    Exited(Exit),
    /// Its tree was looked at.
    #[serde(skip)]
    Tree(Tree),
    /// Somebody else's process was reaped: the tree may be empty now.
    #[serde(skip)]
    OrphanReaped,
    /// A process of it says something.
    #[serde(skip)]
    Says(Notice),
    /// Its deadline has passed.
    #[serde(skip)]
    Deadline,
}

/// What a look at a job's processes shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Nobody is left.
    Empty {
        /// The kernel has ended one of them because their control group was out of memory.
        oom: bool,
    },
    /// Somebody is.
    Left {
        /// The one that has been named as the main process to come, if it can be.
        heir: Option<Pid>,
    },
}

/// What a job's processes can say of it; see `sd_notify(3)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is ready.
    Ready,
    /// It reads its configuration anew; it is ready again when it says so.
    Reloading,
    /// It is about to end.
    Stopping,
    /// A sentence for people.
    Text(Box<str>),
    /// This process of it, a child of init, is its main process now.
    Main(Pid),
    /// It is alive.
    Alive,
    /// From now on it says that it is alive within so long; never again, if that is nothing.
    Watchdog(Duration),
    /// It is broken and wants to be killed.
    Broken,
    /// What it is doing takes this long from now.
    Extend(Duration),
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
    /// No restarts before that.
    pub hold: Option<Instant>,
}

impl Job {
    /// A job whose first start is on its way.
    #[must_use]
    pub fn new(id: JobId, spec: Arc<Spec>, origin: Origin) -> Self {
        Self {
            id,
            spec,
            state: Spawning::begin(origin),
            why: Why::Asked,
            last_exit: None,
            respawn: 0,
            history: None,
            started: None,
            ended: None,
            waiters: Vec::new(),
            text: None,
            version: 0,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.id
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
            State::Running(run) => Some(run.pid),
            State::Stopping(stopping) => stopping.leader,
            State::Spawning(_)
            | State::Leaving(_)
            | State::Backoff { .. }
            | State::Ended { .. } => None,
        }
    }

    /// Whether its main process has ended and the rest of the tree is not known yet.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving(_))
    }

    /// Whether it has processes, as far as is known.
    #[must_use]
    pub fn has_processes(&self) -> bool {
        match &self.state {
            State::Running(_) | State::Leaving(_) | State::Stopping(_) => true,
            State::Spawning(_) | State::Backoff { .. } | State::Ended { .. } => false,
        }
    }

    /// Whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(&self.state, State::Running(run) if run.ready)
    }

    /// Grows with each change that shows, besides those of status and process.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether a process of it exists or will without anybody asking.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }

    /// Whether it waits for a tree whose leader is gone.
    #[must_use]
    pub fn awaits_tree(&self) -> bool {
        matches!(&self.state, State::Stopping(stopping) if stopping.leader.is_none())
    }

    /// Whether somebody waits for its process to run.
    #[must_use]
    pub fn is_start_awaited(&self) -> bool {
        let State::Spawning(spawning) = &self.state else { return false };
        let is_for_that = |until| match until {
            Until::Up => true,
            Until::Ready => self.spec.ready == Ready::Exec,
            Until::Stopped | Until::Ended => false,
        };
        !spawning.put_off.is_empty() || self.waiters.iter().any(|waiter| is_for_that(waiter.until))
    }

    /// When it wants to be stepped with [`Input::Deadline`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Stopping(stopping) => {
                Some(stopping.look_at.map_or(stopping.kill_at, |at| at.min(stopping.kill_at)))
            }
            State::Backoff { until, .. } => Some(*until),
            State::Running(run) => run.watchdog.and_then(|watchdog| watchdog.at),
            State::Spawning(_) | State::Leaving(_) | State::Ended { .. } => None,
        }
    }

    /// Lets a request wait for the job.
    pub fn wait(&mut self, ticket: Ticket, until: Until, created: bool) {
        self.waiters.push(Waiter { ticket, until, created });
    }

    /// Forgets a request that no longer waits.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
        if let State::Spawning(spawning) = &mut self.state {
            for input in &mut spawning.put_off {
                if let Input::Stop(asked, _) = input {
                    // It was meant when it was asked.
                    *asked = asked.filter(|asked| *asked != ticket);
                }
            }
        }
    }

    /// The requests that wait for it.
    #[must_use]
    pub fn tickets(&self) -> Vec<Ticket> {
        let mut tickets: Vec<_> = self.waiters.iter().map(|waiter| waiter.ticket).collect();
        if let State::Spawning(spawning) = &self.state {
            tickets.extend(spawning.put_off.iter().filter_map(|input| match input {
                Input::Stop(ticket, _) => *ticket,
                _ => None,
            }));
        }
        tickets
    }

    /// Nobody waits for the job any more.
    pub fn abandon_all(&mut self) {
        self.waiters.clear();
        if let State::Spawning(spawning) = &mut self.state {
            for input in &mut spawning.put_off {
                if let Input::Stop(asked, _) = input {
                    *asked = None;
                }
            }
        }
    }

    /// As the API shows it.
    #[must_use]
    pub fn info(&self) -> Box<View> {
        Box::new(JobInfo {
            id: self.id.to_string(),
            status: self.status(),
            pid: self.pid().map(Pid::to_wire),
            last_exit: self.last_exit.and_then(Exit::to_wire),
            respawn: self.respawn,
            why: self.why(),
            status_text: self.text.as_deref().map(str::to_owned),
            started_at: self.started.map(rfc3339),
            ended_at: self.ended.map(rfc3339),
            next_start: match &self.state {
                State::Backoff { at, .. } => Some(rfc3339(*at)),
                State::Spawning(_)
                | State::Running(_)
                | State::Leaving(_)
                | State::Stopping(_)
                | State::Ended { .. } => None,
            },
            spec: Shown(Arc::clone(&self.spec)),
        })
    }

    /// Where it stands, in the words of the API.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.state {
            State::Spawning(_) => Status::Starting,
            State::Running(run) if !run.ready => Status::Starting,
            State::Running(_) | State::Leaving(_) => Status::Running,
            State::Stopping(_) => Status::Stopping,
            State::Backoff { .. } => Status::Backoff,
            State::Ended { well: true } => Status::Success,
            State::Ended { well: false } => Status::Failed,
        }
    }

    fn why(&self) -> String {
        match &self.state {
            State::Running(run) if !run.ready => return self.why_not_ready().into(),
            State::Stopping(stopping) => match (stopping.then, stopping.leader) {
                (Then::Rest | Then::StartAgain, _) => return "being stopped".into(),
                (Then::Judge(_), None) => {
                    return "its main process has ended, and the rest is being ended".into();
                }
                (Then::Judge(_), Some(_)) => {}
            },
            State::Spawning(_)
            | State::Running(_)
            | State::Leaving(_)
            | State::Backoff { .. }
            | State::Ended { .. } => {}
        }
        match &self.why {
            Why::Asked => "started on request".into(),
            Why::Adopted => "adopted on request".into(),
            Why::Detached => {
                "detached on request: its process goes on, and is no job any more".into()
            }
            Why::Respawned => "started again by its restart policy".into(),
            Why::Exited(Exit::Unknown) => {
                "ended; it was not init's child, so how is not known".into()
            }
            Why::Exited(exit) => format!("ended with {exit}"),
            Why::Stopped => "stopped on request".into(),
            Why::Reloading => "reads its configuration anew, as it says".into(),
            Why::Leaving => "about to end, as it says".into(),
            Why::Silent(limit) => {
                format!("killed by its watchdog: no WATCHDOG=1 for {} ms", limit.as_millis())
            }
            Why::Broken => "killed as it asked for, by WATCHDOG=trigger".into(),
            Why::GaveUp(exit) => {
                format!("ended with {exit}, and was restarted as often as restart.limit allows")
            }
            Why::SpawnFailed(fault) => fault.to_string(),
        }
    }

    fn why_not_ready(&self) -> &'static str {
        match self.spec.ready {
            Ready::Exec => "it has said that it is not ready",
            Ready::Notify => "started, and has not yet said READY=1 on NOTIFY_SOCKET",
            Ready::Fd(_) => "started, and has not yet written a line to its descriptor for that",
        }
    }
}
