//! Telling followers what has changed.

use init_wire::JobEvent;

use super::Reactor;
use crate::chronicle::{Place, Since};
use crate::door::Following;
use crate::id::JobId;
use crate::spec::Shown;

impl Reactor {
    pub(super) fn follow(&self, from: Option<Place>) -> Following {
        let (seq, life) = (self.table.changes(), self.chronicle.life());
        let since = from.map(|from| self.chronicle.since(from, seq));
        let (after, jobs) = match (from, since) {
            (Some(from), Some(Since::Kept)) => (from.seq, Vec::new()),
            (_, Some(Since::Kept | Since::Missed(_)) | None) => (seq, self.table.list()),
        };
        Following { since, jobs, seq, life, events: self.chronicle.follow(after, seq) }
    }

    pub(super) fn is_followed(&self) -> bool {
        self.chronicle.is_followed()
    }

    pub(super) fn tell_changed(&self, id: &JobId, seq: u64) {
        if self.chronicle.is_open() {
            match self.table.info(id) {
                Some(job) => self.tell(seq, &JobEvent::Job { seq, job }),
                None => self.tell_gone(id, seq),
            }
        }
    }

    pub(super) fn tell_gone(&self, id: &JobId, seq: u64) {
        if self.chronicle.is_open() {
            self.tell(seq, &JobEvent::Gone { seq, id: id.to_string() });
        }
    }

    pub(super) fn tell(&self, seq: u64, event: &JobEvent<Shown>) {
        // What init shows of a job has no part that JSON cannot hold.
        let line = serde_json::to_string(event).unwrap_or_default();
        self.chronicle.tell(seq, format!("{line}\n").into());
    }
}
