//! Who lives in the world, and what can happen to them.

use init_wire::JobSpec;

use crate::health::Health;
use crate::order::{Digest, Order, Revision};
use crate::place::PlaceKind;
use crate::plan::{Life, ProxyLife, Table};

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) enum Happening {
    /// The n-th thing that is under way gets done.
    Done(usize),
    /// The n-th instance answers its probes, or not.
    Probed(usize, bool),
    /// The n-th instance's process dies; init starts it again, or not.
    Crash(usize, bool),
    /// The administrator changes what an app runs.
    Change(usize),
    /// Or what becomes of whoever is started from now on.
    Build(usize, Fate),
    /// Or asks for what was given up once more.
    Again(usize),
    /// What the n-th failed instance has written is known.
    Heard(usize),
    /// Twenty seconds pass.
    Wait,
    /// Or how many of it.
    Scale(usize, u32),
    /// Or what its instances listen on.
    Move(usize, PlaceKind),
    /// Or whether the second app waits for the first, and whether it insists.
    Name(bool, bool),
    /// Or has it restarted.
    Restart(usize),
    /// Or whether it runs.
    Stop(usize, bool),
    /// Or breaks its file, or repairs it.
    Break(usize, bool),
    /// Or removes it.
    Remove(usize),
    /// Or changes what the proxy is told of it.
    Site(usize, u32),
    /// Or changes which certificates there are.
    Tls(u32),
    /// The n-th generation of the proxy dies and comes back with an empty table.
    ProxyCrash(usize),
    /// It dies and does not come back.
    ProxyEnd(usize),
    /// It tells its table to a bootctl that did not know it.
    ProxyTells(usize),
    /// The administrator changes the proxy to what gets ready, or to what never does.
    ProxyChange(bool),
    /// Or has it started anew.
    ProxyRestart,
    /// bootctl is killed and starts anew.
    Forget,
}

/// What becomes of a process that is started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::plan) enum Fate {
    Well,
    /// It never gets ready.
    Never,
    /// It ends for good.
    Ends,
    /// It ends and is started again and again.
    Dies,
    /// init does not start it.
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) life: Life,
    pub(super) spec: JobSpec,
    pub(super) restarts: u32,
    pub(super) fate: Fate,
}

/// A generation of the proxy.
#[derive(Clone, Debug)]
pub(super) struct Proxyd {
    pub(super) spec: JobSpec,
    pub(super) life: ProxyLife,
    pub(super) table: Table,
    /// Whether bootctl knows its table.
    pub(super) told: bool,
}

impl Process {
    pub(super) fn meet_its_fate(&mut self) {
        match (self.life, self.fate) {
            (Life::Running(_), Fate::Well) => self.life = Life::Running(Health::Ready),
            (Life::Running(_), Fate::Ends) => self.life = Life::Ended,
            (Life::Running(_), Fate::Dies) => self.restarts += 1,
            (_, _) => {}
        }
    }
}

impl Proxyd {
    pub(super) fn is_serving(&self) -> bool {
        self.life == ProxyLife::Running && self.table.serving
    }
}

/// What makes a proxy never get ready.
pub(super) const BAD: &str = "bad";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum File {
    Fine,
    Broken,
    Removed,
}

/// An app as its administrator has it.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) order: Order,
    pub(super) file: File,
    pub(super) runs: bool,
    pub(super) build: Fate,
    /// What was given up.
    pub(super) held: Option<(Digest, Revision)>,
}

impl Declared {
    /// As bootctl wants it with what it has noted.
    pub(super) fn wanted(&self) -> Order {
        let here = (self.order.digest(), self.order.revision);
        Order { held: self.held.as_ref() == Some(&here), ..self.order.clone() }
    }
}
