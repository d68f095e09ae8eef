//! One thing after the other: what happens is waited for here, and handled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tracing::error;

use super::alarm::Alarm;
use super::storm::Storm;
use super::survival::Notes;
use crate::api::Handover;
use crate::door::{Door, Knock};
use crate::event::{Ending, Event};
use crate::forward::{Course, Forward};
use crate::limits::TROUBLE;
use crate::machine::Watchdog;
use crate::notice::{Message, QUEUE};
use crate::reactor::Reactor;
use crate::reaper;
use crate::signal::Signal;
use crate::signals::Signals;
use crate::stranger::Sight;
use crate::terminal::Pause;

/// Turns of clients in a row, before everything else has one.
const TURNS_OF_CLIENTS: u32 = 16;
/// Turns before the connections get theirs, if there is always something to do.
const TURNS_IN_A_ROW: u32 = 8;
/// How often a full queue of messages is emptied before the dead are taken.
const LAST_QUEUES: u32 = 4;
/// How often the tasks of connections get their turn after the end; a few would do.
pub(super) const LAST_TURNS: u32 = 32;
/// Turns in a row that fail before init counts as crashed.
const DEFECTS_IN_A_ROW: u32 = 16;
/// How often init looks whether it can become another one.
pub(super) const A_TICK: Duration = Duration::from_millis(1);

/// What its events come from, and what handles them.
pub(super) struct Life {
    pub(super) reactor: Reactor,
    pub(super) signals: Signals,
    pub(super) knocks: mpsc::UnboundedReceiver<Knock>,
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) sights: mpsc::UnboundedReceiver<Sight>,
    pub(super) alarm: Alarm,
    pub(super) forward: Forward,
    pub(super) pause: Pause,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) door: Door,
    pub(super) handover: Handover,
    pub(super) storm: Storm,
    pub(super) notes: Notes,
    /// When what only a start needs is let go of.
    pub(super) thrift: Option<Instant>,
    /// Turns since a client's, or since the connections had theirs.
    pub(super) in_a_row: u32,
    /// Turns of clients since all else had one.
    pub(super) of_clients: u32,
    /// Turns in a row that have failed.
    pub(super) defects: u32,
    /// The signal that is being handled.
    pub(super) in_hand: Option<i32>,
    /// A crash is gone on after.
    pub(super) is_prepared: bool,
}

impl Life {
    /// Handles events until the end, and answers what becomes of the machine, and the exit code.
    pub(super) async fn live(&mut self) -> (Ending, u8) {
        loop {
            let end = self.reactor.end();
            if end.is_some() || self.reactor.boot().is_none() {
                self.pause.take_back();
            }
            if let Some(end) = end {
                return end;
            }
            // A panic is a defect, but not the end of PID 1: the jobs and the API are still there.
            let before = self.defects;
            if AssertUnwindSafe(self.go_on()).catch_unwind().await.is_err() {
                error!("a defect in init: a turn could not be finished; init goes on");
                self.recover();
            }
            if self.defects == before {
                self.defects = 0;
            }
        }
    }

    async fn go_on(&mut self) {
        if self.reactor.renewal.is_some() {
            self.go_on_renewing().await;
        }
        self.turn().await;
    }

    /// Brings to an end what a panic has interrupted. If that fails, too, or one turn after the other, only
    /// what is written down can be gone on with: it is read anew, and what is broken may be no part of it.
    fn recover(&mut self) {
        self.defects += 1;
        if self.reactor.renewal.is_some() {
            self.stay("it is too hard for init as it is; what went wrong is in its log".into());
        }
        let recovered = catch_unwind(AssertUnwindSafe(|| self.reactor.recover()));
        if recovered.is_err() || self.defects > DEFECTS_IN_A_ROW {
            std::process::abort();
        }
    }

    /// Waits for one thing to happen and handles it. After a few that nobody has asked for, the
    /// connections get their turn, so that nobody is kept out.
    async fn turn(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.tick();
        }
        let now = Instant::now();
        if self.thrift.is_some_and(|at| at <= now) {
            self.thrift = None;
            self.be_prepared();
            init_pages::let_go_of_rest();
        }
        self.take_note(now);
        let expects = self.reactor.expects(now);
        let next_word = self.watchdog.as_ref().map(Watchdog::deadline);
        let rest = self.storm.rest(now);
        // Conversations end without telling this task.
        let renewing = self.reactor.renewal.is_some().then(|| now + A_TICK);
        let note = self.notes.next(&self.reactor);
        let next = self.reactor.next_deadline(now);
        let deadlines = [next, next_word, rest, renewing, self.thrift, note];
        let deadline = deadlines.into_iter().flatten().min();
        // Clients first: they are few, bounded, and wait; deadlines and the dead may be many. But not
        // for ever: hundreds that each have another question at once are an endless queue.
        let others_first = self.of_clients >= TURNS_OF_CLIENTS;
        let happened = tokio::select! {
            biased;
            Some(knock) = self.knocks.recv(), if !others_first => Happened::Knock(knock),
            signal = self.signals.next(), if rest.is_none() => Happened::Signal(signal.unwrap_or_else(|error| {
                error!("cannot read signals: {error}; looking for dead children instead");
                thread::sleep(TROUBLE);
                libc::SIGCHLD
            })),
            () = self.alarm.until(deadline, now) => Happened::Deadline,
            Some(message) = self.messages.recv() => Happened::Message(message),
            Some(sight) = self.sights.recv() => Happened::Sight(sight),
            () = std::future::ready(()), if others_first => Happened::Turn,
            // When the connections have had their turn, too.
            () = tokio::task::yield_now(), if expects => Happened::Nothing,
        };
        let weight = match happened {
            Happened::Knock(_) | Happened::Nothing | Happened::Turn => 0,
            Happened::Signal(_) | Happened::Message(_) | Happened::Sight(_) => 1,
            // It may have started several programs.
            Happened::Deadline => TURNS_IN_A_ROW,
        };
        self.of_clients =
            if matches!(happened, Happened::Knock(_)) { self.of_clients + 1 } else { 0 };
        // Before somebody counts as ended, or as silent for too long.
        let judges = matches!(happened, Happened::Signal(libc::SIGCHLD) | Happened::Deadline);
        if judges && self.reactor.listens() {
            self.hear_last_words().await;
        }
        self.handle(happened);
        self.in_a_row = if weight == 0 { 0 } else { self.in_a_row + weight };
        if self.in_a_row >= TURNS_IN_A_ROW {
            self.in_a_row = 0;
            tokio::task::yield_now().await;
        }
    }

    /// A panic in handling something is a defect, but not the end of PID 1: the jobs and the API are
    /// still there.
    pub(super) fn handle(&mut self, happened: Happened) {
        if catch_unwind(AssertUnwindSafe(|| self.try_to_handle(happened))).is_err() {
            error!("a defect in init: an event could not be handled; init goes on");
            self.recover();
        }
    }

    fn try_to_handle(&mut self, happened: Happened) {
        match happened {
            Happened::Signal(libc::SIGCHLD) => self.reap(),
            Happened::Signal(number) => {
                self.in_hand = Some(number);
                on_signal(&mut self.reactor, number, &self.forward, &mut self.pause);
                self.in_hand = None;
            }
            Happened::Knock(knock) => {
                self.be_prepared();
                self.reactor.answer(knock);
            }
            Happened::Message(message) => self.reactor.hear(message),
            Happened::Sight(sight) => self.reactor.see(sight),
            Happened::Deadline => self.reactor.handle(Event::Tick),
            Happened::Nothing => self.reactor.wait_for_births(),
            Happened::Turn => {}
        }
    }

    /// What the dead have said before they died, as far as it has been read; the reaper asks for the
    /// rest. Where the queue was full, somebody may still have a message in hand.
    pub(super) async fn hear_last_words(&mut self) {
        for _ in 0..LAST_QUEUES {
            tokio::task::yield_now().await;
            let mut heard = 0;
            while let Ok(message) = self.messages.try_recv() {
                self.handle(Happened::Message(message));
                heard += 1;
            }
            if heard < QUEUE {
                return;
            }
        }
    }

    fn reap(&mut self) {
        let turn = reaper::reap(&mut self.reactor);
        self.storm.note(&turn);
        if turn.more {
            // More are dead than a turn takes: come back after the others.
            let _ = nix::sys::signal::raise(nix::sys::signal::SIGCHLD);
        }
        for (pid, by) in turn.stopped {
            if self.reactor.boot() == Some(pid) {
                self.pause.boot_stopped(pid, by);
            }
        }
    }
}

pub(super) enum Happened {
    Signal(i32),
    Knock(Knock),
    Message(Message),
    Sight(Sight),
    Deadline,
    Nothing,
    Turn,
}

fn on_signal(reactor: &mut Reactor, number: i32, forward: &Forward, pause: &mut Pause) {
    let Some(signal) = Signal::from_number(number) else { return };
    let boot = reactor.boot();
    match forward.course(signal, boot.is_some()) {
        Course::Drop => {}
        Course::End(ending) => reactor.handle(Event::Terminate(ending)),
        Course::Tell(told) => reactor.handle(Event::Forward(told)),
        Course::Suspend(by) => pause.ask(boot, by),
        Course::Resume(told) => {
            if !pause.resume(boot)
                && let Some(told) = told
            {
                reactor.handle(Event::Forward(told));
            }
        }
    }
}
