//! The reactor's part in going on after a crash or a panic: what was under way is brought to an end.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use tracing::warn;

use super::Reactor;
use crate::adoption::NotAdoptable;
use crate::birth::Outfit;
use crate::clock::Moment;
use crate::event::{Effect, Event, Fault, Stage, Unsent};
use crate::id::{JobId, Pid};
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

    /// There have been so many crashes at least.
    pub fn note_crashes(&mut self, count: u32) {
        self.crashes = self.crashes.max(count);
    }

    /// Reads what jobs write that nobody knows any more, so that it does not hold them up; what is written
    /// to them is kept open.
    pub fn keep_adrift(&mut self, streams: Vec<OwnedFd>) {
        for stream in streams {
            let name = format!("left-{}", stream.as_raw_fd());
            let job = JobId::parse(&name).ok().filter(|_| sys::is_readable(&stream));
            match job {
                Some(job) if self.outputs.prepare().is_ok() => {
                    self.outputs.keep_adrift(&job, stream);
                }
                Some(_) | None => _ = stream.into_raw_fd(),
            }
        }
    }

    /// A child of an earlier process that was on its way then.
    pub(super) fn deliver(&mut self, child: Pid, outfit: Outfit) {
        let event = self.born(child, outfit);
        self.handle(event);
    }

    /// A turn has stopped in the middle of something: brings that to an end, as far as it is known.
    pub fn recover(&mut self) {
        self.table.tidy();
        self.outputs.recount();
        let undone = std::mem::take(&mut self.undone);
        self.is_telling = false;
        // The innermost first, as it would have been.
        let unsent: Vec<_> = undone.iter().rev().flatten().filter_map(Unsent::of).collect();
        if let Some(ticket) = self.in_question.take() {
            self.handle(Event::Abandoned(ticket));
        }
        // Who has asked and is no job's to answer is told that there is no answer.
        let awaited = self.table.awaited();
        self.waiting.retain(|ticket, _| awaited.contains(ticket));
        let table = &self.table;
        self.keeper.keep(|address| table.names_listener(address));
        if let Some((child, exit)) = self.at_hand.take() {
            self.handle(Event::Reaped(child, exit));
        }
        let (starting, leaving) = self.table.in_between();
        let on_their_way: Vec<_> = self.spawner.births.all().cloned().collect();
        for job in starting.into_iter().filter(|job| !on_their_way.contains(job)) {
            if self.table.is_being_adopted(&job) {
                // It is being looked at elsewhere.
                continue;
            }
            let child = self.trees.leader(&job).filter(|child| sys::is_child(child.as_raw()));
            let event = if let Some(child) = child.filter(|child| !self.table.knows(*child)) {
                // It is there; only the table has not heard of it.
                Event::Spawned(job, child, Moment::now())
            } else {
                warn!("job `{job}`: its start was interrupted");
                let (exec, stage, errno) = (job.to_string(), Stage::Prepare, Errno::EINTR);
                Event::SpawnFailed(job, Fault { exec, stage, errno, snag: None })
            };
            self.handle(event);
        }
        let probes = leaving.into_iter().map(Effect::Probe).collect::<Vec<_>>();
        for effect in probes.into_iter().chain(unsent.into_iter().map(Unsent::effect)) {
            if let Effect::Signal(pid, ..) | Effect::SignalGroup(pid, _) = &effect
                && !self.table.knows(*pid)
            {
                // It has ended; its number may be anybody's.
                continue;
            }
            let mut events = VecDeque::new();
            self.perform(effect, &mut events);
            for event in events {
                self.handle(event);
            }
        }
        if let Some((ending, code)) = self.table.over().filter(|_| self.end.is_none()) {
            self.perform(Effect::End(ending, code), &mut VecDeque::new());
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
        let (starting, _) = self.table.in_between();
        for job in starting {
            // Nobody looks at the process any more that it was to take over.
            if self.table.is_being_adopted(&job) {
                self.handle(Event::NotAdopted(job, NotAdoptable::Interrupted));
            }
        }
        for leader in self.table.leaders() {
            if !self.strangers.knows(leader) && !sys::is_child(leader.as_raw()) {
                self.handle(Event::Reaped(leader, Exit::Unknown));
            }
        }
    }
}
