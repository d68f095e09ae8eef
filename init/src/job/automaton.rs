//! What each input does in each state. Every pair is written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Context, Input, Job, Origin, Reach, State, Stopping, Then, Waiter, Why};
use crate::event::{Effect, Fault, Refusal, Reply, Ticket, Until};
use crate::id::Pid;
use crate::restart::{History, Verdict};
use crate::signal::{Exit, Signal};

/// How often a tree that does not die by SIGKILL is looked at and killed again.
const KILL_AGAIN: Duration = Duration::from_millis(100);
/// The least wait after a start that failed: without a process there is nothing to wait for, and
/// a delay of 0 would be a busy loop.
const RETRY_SPAWN: Duration = Duration::from_millis(100);

impl Job {
    /// One step.
    pub fn step(&mut self, context: Context, input: Input, effects: &mut Vec<Effect>) {
        match &self.state {
            State::Starting(origin) => self.when_starting(*origin, context, input, effects),
            State::Running { pid, since } => {
                self.when_running(*pid, *since, context, &input, effects);
            }
            State::Stopping(stopping) => {
                self.when_stopping(stopping.clone(), context, &input, effects);
            }
            State::Backoff { .. } => self.when_in_backoff(&input, effects),
            State::Ended { .. } => self.when_ended(&input, effects),
        }
    }

    fn when_starting(
        &mut self,
        origin: Origin,
        context: Context,
        input: Input,
        effects: &mut Vec<Effect>,
    ) {
        match input {
            Input::Spawned(pid) => self.run(context, pid, effects),
            Input::SpawnFailed(fault) => self.fail_to_start(context, origin, fault, effects),
            Input::Start(ticket) => self.wait(ticket, Until::Up, false),
            // Whoever spawns answers before anything else can happen.
            Input::Stop(..)
            | Input::WindDown(_)
            | Input::Kill
            | Input::Exited(_)
            | Input::TreeEmpty
            | Input::OrphanReaped
            | Input::Deadline => {}
        }
    }

    fn when_running(
        &mut self,
        pid: Pid,
        since: Instant,
        context: Context,
        input: &Input,
        effects: &mut Vec<Effect>,
    ) {
        let now = context.now.mono;
        match *input {
            Input::Start(ticket) => effects.push(Effect::Reply(ticket, Reply::Job(self.info()))),
            Input::Stop(ticket, then) => {
                self.wait_for(ticket, then);
                effects.push(Effect::SignalTree(pid, self.spec.stop_signal));
                let timeout = Duration::from_millis(self.spec.wire.stop.timeout_ms);
                self.state = Stopping::begin(pid, Reach::Tree, now + timeout, then);
            }
            Input::WindDown(by) => {
                effects.push(Effect::Signal(pid, self.spec.stop_signal, None));
                self.state = Stopping::begin(pid, Reach::Leader, by, Then::Rest);
            }
            Input::Kill => {
                effects.push(Effect::SignalTree(pid, Signal::KILL));
                self.state = Stopping::begin(pid, Reach::Tree, now + KILL_AGAIN, Then::Rest);
            }
            Input::Exited(exit) => {
                self.note_exit(context, exit);
                let (lived, why) = (now.duration_since(since), Why::Exited(exit));
                self.rest_or_retry(context, exit, lived, Duration::ZERO, why, effects);
            }
            Input::Spawned(_)
            | Input::SpawnFailed(_)
            | Input::TreeEmpty
            | Input::OrphanReaped
            | Input::Deadline => {}
        }
    }

    fn when_stopping(
        &mut self,
        mut stopping: Stopping,
        context: Context,
        input: &Input,
        effects: &mut Vec<Effect>,
    ) {
        let leader = stopping.leader;
        match *input {
            Input::Exited(exit) => {
                self.note_exit(context, exit);
                stopping.leader_alive = false;
                match stopping.reach {
                    Reach::Leader => return self.has_stopped(stopping.then, effects),
                    Reach::Tree => effects.push(Effect::Probe(self.id.clone(), leader)),
                }
            }
            Input::OrphanReaped if !stopping.leader_alive => {
                effects.push(Effect::Probe(self.id.clone(), leader));
            }
            Input::TreeEmpty if !stopping.leader_alive => {
                return self.has_stopped(stopping.then, effects);
            }
            Input::Deadline | Input::Kill => {
                stopping.reach = Reach::Tree;
                stopping.kill_at = context.now.mono + KILL_AGAIN;
                effects.push(Effect::SignalTree(leader, Signal::KILL));
                if !stopping.leader_alive {
                    effects.push(Effect::Probe(self.id.clone(), leader));
                }
            }
            Input::WindDown(by) => {
                stopping.then = Then::Rest;
                stopping.kill_at = stopping.kill_at.min(by);
            }
            Input::Stop(ticket, then) => {
                stopping.then = then;
                self.wait_for(ticket, then);
            }
            Input::Start(ticket) => {
                effects.push(refuse(ticket, Refusal::Stopping(self.id.clone())));
            }
            // While the leader lives, its tree is not empty.
            Input::OrphanReaped | Input::TreeEmpty | Input::Spawned(_) | Input::SpawnFailed(_) => {}
        }
        self.state = State::Stopping(stopping);
    }

    fn when_in_backoff(&mut self, input: &Input, effects: &mut Vec<Effect>) {
        match *input {
            Input::Deadline => self.respawn(effects),
            Input::Start(ticket) => {
                self.wait(ticket, Until::Up, false);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::StartAgain) => {
                self.wait_for(ticket, Then::StartAgain);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::Rest) => {
                self.wait_for(ticket, Then::Rest);
                self.why = Why::Stopped;
                self.end(true, effects);
            }
            Input::WindDown(_) | Input::Kill => self.end(false, effects),
            Input::Spawned(_)
            | Input::SpawnFailed(_)
            | Input::Exited(_)
            | Input::TreeEmpty
            | Input::OrphanReaped => {}
        }
    }

    fn when_ended(&mut self, input: &Input, effects: &mut Vec<Effect>) {
        match *input {
            Input::Start(ticket) => {
                self.wait(ticket, Until::Up, false);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::StartAgain) => {
                self.wait_for(ticket, Then::StartAgain);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::Rest) => {
                self.wait_for(ticket, Then::Rest);
                self.settle(effects);
            }
            Input::WindDown(_)
            | Input::Kill
            | Input::Spawned(_)
            | Input::SpawnFailed(_)
            | Input::Exited(_)
            | Input::TreeEmpty
            | Input::OrphanReaped
            | Input::Deadline => {}
        }
    }

    fn note_exit(&mut self, context: Context, exit: Exit) {
        self.last_exit = Some(exit);
        self.ended = Some(context.now.wall);
    }

    fn respawn(&mut self, effects: &mut Vec<Effect>) {
        self.respawn = self.respawn.saturating_add(1);
        self.spawn(Origin::Init, effects);
    }

    /// A start that somebody asked for: earlier failures no longer count.
    fn start_anew(&mut self, effects: &mut Vec<Effect>) {
        self.history = History::default();
        self.spawn(Origin::Asked, effects);
    }

    fn spawn(&mut self, origin: Origin, effects: &mut Vec<Effect>) {
        self.state = State::Starting(origin);
        effects.push(Effect::Spawn(self.id.clone(), Arc::clone(&self.spec)));
    }

    fn run(&mut self, context: Context, pid: Pid, effects: &mut Vec<Effect>) {
        let by_policy = matches!(self.state, State::Starting(Origin::Init)) && self.respawn > 0;
        self.why = if by_policy { Why::Respawned } else { Why::Asked };
        self.started = Some(context.now.wall);
        self.ended = None;
        self.state = State::Running { pid, since: context.now.mono };
        self.settle(effects);
    }

    fn fail_to_start(
        &mut self,
        context: Context,
        origin: Origin,
        fault: Fault,
        effects: &mut Vec<Effect>,
    ) {
        // Who asked for the start is told why; who waits for the end will see it.
        let asked = |waiter: &mut Waiter| waiter.created || waiter.until == Until::Up;
        for waiter in self.waiters.extract_if(.., asked) {
            effects.push(refuse(waiter.ticket, Refusal::Spawn(fault.clone())));
        }
        match origin {
            Origin::Fresh | Origin::Asked => {
                self.why = Why::SpawnFailed(fault);
                self.end(false, effects);
            }
            Origin::Init => {
                // What cannot be started counts as a run that failed at once.
                let exit = fault.as_exit();
                self.last_exit = Some(exit);
                let why = Why::SpawnFailed(fault);
                self.rest_or_retry(context, exit, Duration::ZERO, RETRY_SPAWN, why, effects);
            }
        }
    }

    fn rest_or_retry(
        &mut self,
        context: Context,
        exit: Exit,
        lived: Duration,
        least: Duration,
        why: Why,
        effects: &mut Vec<Effect>,
    ) {
        let rule = &self.spec.wire.restart;
        let verdict = if context.ending {
            Verdict::Rest
        } else {
            self.history.judge(rule, exit, lived, context.now.mono, context.chance)
        };
        self.why = why;
        match verdict {
            Verdict::StartAt(until) if until.max(context.now.mono + least) <= context.now.mono => {
                self.respawn(effects);
            }
            Verdict::StartAt(until) => {
                let until = until.max(context.now.mono + least);
                let at = context.now.wall + until.duration_since(context.now.mono);
                self.state = State::Backoff { until, at };
            }
            Verdict::Rest => self.end(exit.is_success(), effects),
            Verdict::GiveUp => {
                self.why = Why::GaveUp(exit);
                self.end(false, effects);
            }
        }
    }

    fn has_stopped(&mut self, then: Then, effects: &mut Vec<Effect>) {
        match then {
            Then::StartAgain => self.start_anew(effects),
            Then::Rest => {
                self.why = Why::Stopped;
                self.end(true, effects);
            }
        }
    }

    fn end(&mut self, well: bool, effects: &mut Vec<Effect>) {
        self.state = State::Ended { well };
        self.settle(effects);
    }

    fn wait_for(&mut self, ticket: Option<Ticket>, then: Then) {
        let until = match then {
            Then::Rest => Until::Ended,
            Then::StartAgain => Until::Up,
        };
        if let Some(ticket) = ticket {
            self.wait(ticket, until, false);
        }
    }

    /// Answers whoever waited for the state that is there now.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        let (up, ended) = match self.state {
            State::Running { .. } => (true, false),
            // Who waited for a start that was called off learns how it stands instead.
            State::Ended { .. } => (true, true),
            State::Starting(_) | State::Stopping(_) | State::Backoff { .. } => (false, false),
        };
        if self.waiters.is_empty() || !(up || ended) {
            return;
        }
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            let due = match waiter.until {
                Until::Up => up,
                Until::Ended => ended,
            };
            if due {
                let info = self.info();
                let reply = if waiter.created { Reply::Created(info) } else { Reply::Job(info) };
                effects.push(Effect::Reply(waiter.ticket, reply));
            } else {
                self.waiters.push(waiter);
            }
        }
    }
}

fn refuse(ticket: Ticket, refusal: Refusal) -> Effect {
    Effect::Reply(ticket, Reply::Refused(refusal))
}
