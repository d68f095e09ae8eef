//! The reactor's part in going on after a crash or a panic: what was under way is brought to an end.

use std::time::Instant;

use nix::errno::Errno;

use super::Reactor;
use crate::adoption::NotAdoptable;
use crate::birth::Outfit;
use crate::clock::Moment;
use crate::event::{Effect, Event, Fault, Stage};
use crate::id::Pid;
use crate::signal::Exit;
use crate::sys;

impl Reactor {
    /// A child has been reaped, and its end is about to be handled. Nobody else can tell of it any more.
    pub fn take_in_hand(&mut self, child: Pid, exit: Exit) {
        self.at_hand = Some((child, exit));
    }

    /// That has been handled.
    pub fn put_down(&mut self) {
        self.at_hand = None;
    }

    /// A child of an earlier process that was on its way then.
    pub(super) fn deliver(&mut self, child: Pid, outfit: Outfit) {
        let event = self.born(child, outfit);
        self.handle(event);
    }

    /// Another process, or another turn, has stopped in the middle of something: brings that to an end,
    /// as far as it is known.
    pub fn recover(&mut self) {
        self.table.tidy();
        if let Some(ticket) = self.in_question.take()
            && self.waiting.remove(&ticket).is_some()
        {
            // Who has asked is told that there is no answer.
            self.handle(Event::Abandoned(ticket));
        }
        if let Some((child, exit)) = self.at_hand.take() {
            self.handle(Event::Reaped(child, exit));
        }
        let (starting, leaving) = self.table.in_between();
        let on_their_way: Vec<_> = self.spawner.births.all().cloned().collect();
        for job in starting.into_iter().filter(|job| !on_their_way.contains(job)) {
            let adopts = self.table.spec(&job).is_some_and(|spec| spec.adoption.is_some());
            let child = self.trees.leader(&job).filter(|child| sys::is_child(child.as_raw()));
            self.handle(if adopts {
                Event::NotAdopted(job, NotAdoptable::Interrupted)
            } else if let Some(child) = child.filter(|child| !self.table.knows(*child)) {
                // It is there; only the table has not heard of it.
                Event::Spawned(job, child, Moment::now())
            } else {
                let exec = job.to_string();
                let (stage, errno) = (Stage::Prepare, Errno::EINTR);
                Event::SpawnFailed(job, Fault { exec, stage, errno, snag: None })
            });
        }
        for job in leaving {
            let mut events = std::collections::VecDeque::new();
            self.perform(Effect::Probe(job), &mut events);
            events.into_iter().for_each(|event| self.handle(event));
        }
    }

    /// Goes on after a crash: nobody waits for an answer any more, and who has ended unnoticed has ended.
    /// With `hold`, no job is started by its policy before that.
    pub fn recover_from_crash(&mut self, hold: Option<Instant>) {
        self.crashes = self.crashes.saturating_add(1);
        self.table.abandon_all();
        if let Some(until) = hold {
            self.table.hold_until(until);
        }
        self.recover();
        for leader in self.table.leaders() {
            if !self.strangers.knows(leader) && !sys::is_child(leader.as_raw()) {
                self.handle(Event::Reaped(leader, Exit::Unknown));
            }
        }
    }
}
