//! The end of init: who asked for it, how far it is, and with which code.
//!
//! ```text
//! None ──asked──▶ Boot ──boot has ended──▶ Rest ──grace is over, or asked again──▶ Kill
//!   │                                        ▲                                      │
//!   └── boot ended, and that means the end ──┘  no live job, or its time is over ──▶ Over
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::mono;
use crate::event::Ending;
use crate::signal::Exit;

/// How long SIGKILL may take. What it cannot end by then, such as a process that waits for a
/// dead disk, does not keep init.
const KILLING: Duration = Duration::from_secs(3);

/// What follows when `boot` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootExit {
    /// init ends with it: at once if it failed, else with the last job.
    End,
    /// init stays.
    Stay,
    /// `boot` is started again; its restart policy says so.
    Respawn,
    /// All other jobs are stopped and init ends.
    Shutdown,
}

/// How far an ending is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// `boot` has been told and winds down what it started.
    Boot,
    /// Every job has been told.
    Rest,
    /// Every job has been killed.
    Kill,
}

/// What a request to end asks for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `boot` is to be told.
    TellBoot,
    /// Everything is to be killed.
    KillAll,
    /// It is already being done.
    Nothing,
}

/// Whether init is ending, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shutdown {
    /// It is not.
    None,
    /// `boot` has ended well: init ends with the last job.
    WithTheLastJob,
    /// It is.
    GoingOn {
        /// What becomes of the machine.
        ending: Ending,
        /// How far it is.
        stage: Stage,
        /// Whether the rest has been told.
        told: bool,
        /// When patience ends.
        #[serde(with = "mono")]
        by: Instant,
    },
    /// All has been done.
    Over(Ending),
}

impl Shutdown {
    /// Whether nothing may be started any more.
    #[must_use]
    pub fn is_going_on(self) -> bool {
        matches!(self, Self::GoingOn { .. } | Self::Over(_))
    }

    /// The ending, once all has been done.
    #[must_use]
    pub fn over(self) -> Option<Ending> {
        match self {
            Self::Over(ending) => Some(ending),
            Self::None | Self::WithTheLastJob | Self::GoingOn { .. } => None,
        }
    }

    /// When patience ends.
    #[must_use]
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::GoingOn { by, .. } => Some(by),
            Self::None | Self::WithTheLastJob | Self::Over(_) => None,
        }
    }

    /// `boot` has been started again, so its earlier end no longer counts.
    pub fn boot_started(&mut self) {
        if *self == Self::WithTheLastJob {
            *self = Self::None;
        }
    }

    /// `boot` has ended and is not started again; if that is the end of all, it takes until `by`.
    pub fn boot_ended(&mut self, rule: BootExit, exit: Exit, by: Instant) {
        if self.is_going_on() {
            return;
        }
        *self = match (rule, exit.is_success()) {
            (BootExit::Stay | BootExit::Respawn, _) => Self::None,
            (BootExit::End, true) => Self::WithTheLastJob,
            (BootExit::End, false) | (BootExit::Shutdown, _) => {
                let (ending, stage) = (Ending::Exit, Stage::Rest);
                Self::GoingOn { ending, stage, told: false, by }
            }
        };
    }

    /// Somebody asks for the end, which may take until `by`. Answers what is to be done now.
    pub fn ask(&mut self, ending: Ending, by: Instant, now: Instant) -> Asked {
        match self {
            Self::None | Self::WithTheLastJob => {
                *self = Self::GoingOn { ending, stage: Stage::Boot, told: false, by };
                Asked::TellBoot
            }
            Self::GoingOn { stage: stage @ (Stage::Boot | Stage::Rest), by, .. } => {
                *stage = Stage::Kill;
                *by = now + KILLING;
                Asked::KillAll
            }
            Self::GoingOn { stage: Stage::Kill, .. } | Self::Over(_) => Asked::Nothing,
        }
    }

    /// Patience has ended. The first time all is to be killed; the second time this is the end.
    pub fn time_is_up(&mut self, now: Instant) -> Option<Ending> {
        match self {
            Self::GoingOn { stage: stage @ (Stage::Boot | Stage::Rest), by, .. } => {
                *stage = Stage::Kill;
                *by = now + KILLING;
                None
            }
            Self::GoingOn { stage: Stage::Kill, .. } => self.finish(),
            Self::None | Self::WithTheLastJob | Self::Over(_) => None,
        }
    }

    /// Whether the rest is to be told now. True once.
    pub fn may_stop_the_rest(&mut self, boot_lives: bool) -> bool {
        match self {
            Self::GoingOn { stage, told: told @ false, .. } => {
                if *stage == Stage::Boot && !boot_lives {
                    *stage = Stage::Rest;
                }
                *told = *stage == Stage::Rest;
                *told
            }
            Self::GoingOn { told: true, .. }
            | Self::None
            | Self::WithTheLastJob
            | Self::Over(_) => false,
        }
    }

    /// Nothing is left to wait for: the ending, once, if this is the end.
    pub fn finish(&mut self) -> Option<Ending> {
        let ending = match *self {
            Self::None | Self::Over(_) => return None,
            Self::WithTheLastJob => Ending::Exit,
            Self::GoingOn { ending, .. } => ending,
        };
        *self = Self::Over(ending);
        Some(ending)
    }
}
