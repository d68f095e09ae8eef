//! What jobs say of themselves, if it is they who say it.

use tracing::warn;

use super::Reactor;
use crate::event::Event;
use crate::id::{JobId, Pid};
use crate::job::Notice;
use crate::notice::{self, Line, Message, Words};

/// Messages of a dead process that are read at most, which is more than the kernel mostly queues.
const LAST_WORDS: u32 = 256;

impl Reactor {
    /// Whether a job may be saying something.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.ears.are_open()
    }

    /// What a job says of itself, if it is the job that says it.
    pub fn hear(&mut self, message: Message) {
        self.see_births();
        if !self.ears.knows(&message) {
            return;
        }
        let job = message.job;
        match message.words {
            Words::Line => self.handle(Event::Says(job, Notice::Ready)),
            Words::Datagram { sender, .. } if !self.is_of(&job, sender) => {
                if self.ears.is_first_stranger(&job) {
                    warn!(
                        "job `{job}`: a notice of process {sender}, which is not of it, is ignored"
                    );
                }
            }
            Words::Datagram { text, rights, .. } => {
                for line in notice::read(&text) {
                    match line {
                        Line::Notice(notice) => self.handle(Event::Says(job.clone(), notice)),
                        Line::Main(pid) => self.name_main(&job, pid),
                    }
                }
                self.store(&job, &text, rights);
            }
        }
    }

    /// A main process is dead, and its end about to be handled: what it has said comes before.
    pub fn hear_out(&mut self, pid: Pid) {
        if !self.listens() {
            return;
        }
        self.see_births();
        let Some(job) = self.table.job_of(pid).cloned() else { return };
        for _ in 0..LAST_WORDS {
            match self.ears.unheard(&job) {
                Ok(Some(message)) => self.hear(message),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    /// Whether a process is the job's. Its main one is, also when it is dead and not reaped, which
    /// control groups do not tell.
    pub(super) fn is_of(&mut self, job: &JobId, pid: i32) -> bool {
        let is_main = Pid::new(pid).is_some_and(|pid| self.table.job_of(pid) == Some(job));
        is_main || self.trees.contains(job, pid)
    }

    pub(super) fn name_main(&mut self, job: &JobId, pid: Pid) {
        if !self.trees.contains(job, pid.as_raw()) {
            warn!("job `{job}`: MAINPID={pid} is not a process of it, and is ignored");
        } else if self.trees.name_heir(job, pid) {
            self.handle(Event::Says(job.clone(), Notice::Main(pid)));
        }
    }
}
