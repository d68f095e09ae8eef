//! What each input does in each state. Every pair is written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Alone, Context, Input, Job, Origin, Reach, State, Stopping, Then, Waiter, Why};
use crate::event::{Effect, Fault, Refusal, Reply, Ticket, Until};
use crate::id::Pid;
use crate::restart::{History, Verdict};
use crate::signal::{Exit, Signal};

/// How often a tree whose leader is gone is looked at: the last of it may be somebody else's child,
/// whose end init is not told about.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often a tree that does not die by SIGKILL is killed again.
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
            State::Backoff { .. } => self.when_in_backoff(context, &input, effects),
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
            Input::Start(ticket, until) => self.wait(ticket, until, false),
            // Whoever spawns answers before anything else can happen.
            Input::Stop(..)
            | Input::WindDown(_)
            | Input::Kill
            | Input::Exited(..)
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
            Input::Start(ticket, until) => {
                self.wait(ticket, until, false);
                self.settle(effects);
            }
            Input::Stop(ticket, then) => {
                self.wait_for(ticket, then);
                effects.push(Effect::SignalTree(pid, self.spec.stop_signal));
                self.state = Stopping::begin(pid, Reach::Tree, now + self.stop_timeout(), then);
            }
            Input::WindDown(by) if self.spec.as_group() => {
                effects.push(Effect::SignalTree(pid, self.spec.stop_signal));
                self.state = Stopping::begin(pid, Reach::Tree, by, Then::Rest);
            }
            Input::WindDown(by) => {
                effects.push(Effect::Signal(pid, self.spec.stop_signal, None));
                self.state = Stopping::begin(pid, Reach::Leader, by, Then::Rest);
            }
            Input::Kill => {
                effects.push(Effect::SignalTree(pid, Signal::KILL));
                self.state = Stopping::begin(pid, Reach::Tree, now + KILL_AGAIN, Then::Rest);
            }
            Input::Exited(exit, alone) => {
                self.note_exit(context, exit);
                let lived = now.duration_since(since);
                if alone == Alone::Yes || self.spec.boot.is_some() {
                    let why = Why::Exited(exit);
                    return self.rest_or_retry(context, exit, lived, Duration::ZERO, why, effects);
                }
                // What it leaves behind is ended as it would have been, before anything new.
                effects.push(Effect::SignalTree(pid, self.spec.stop_signal));
                self.state = State::Stopping(Stopping {
                    leader: pid,
                    reach: Reach::Tree,
                    kill_at: now + self.stop_timeout(),
                    look_at: Some(now + LOOK_AGAIN),
                    then: Then::Judge(exit, lived),
                });
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
        let (leader, now) = (stopping.leader, context.now.mono);
        match *input {
            Input::Exited(exit, alone) => {
                self.note_exit(context, exit);
                if alone == Alone::Yes || stopping.reach == Reach::Leader {
                    return self.has_stopped(context, stopping.then, effects);
                }
                stopping.look_at = Some(now + LOOK_AGAIN);
            }
            Input::OrphanReaped if stopping.look_at.is_some() => {
                effects.push(Effect::Probe(self.id.clone(), leader));
            }
            Input::TreeEmpty if stopping.look_at.is_some() => {
                return self.has_stopped(context, stopping.then, effects);
            }
            Input::Deadline if now < stopping.kill_at => {
                stopping.look_at = stopping.look_at.map(|_| now + LOOK_AGAIN);
                effects.push(Effect::Look(self.id.clone(), leader));
            }
            Input::Deadline | Input::Kill => {
                if matches!(input, Input::Kill) {
                    stopping.then = Then::Rest;
                }
                stopping.reach = Reach::Tree;
                stopping.kill_at = now + KILL_AGAIN;
                // Its number is its own only as long as its leader is there, or others are.
                effects.push(match stopping.look_at {
                    None => Effect::SignalTree(leader, Signal::KILL),
                    Some(_) => Effect::KillTree(self.id.clone(), leader),
                });
            }
            Input::WindDown(by) => {
                stopping.then = Then::Rest;
                stopping.kill_at = stopping.kill_at.min(by);
            }
            Input::Stop(ticket, then) => {
                stopping.then = then;
                self.wait_for(ticket, then);
            }
            Input::Start(ticket, Until::Ended) => self.wait(ticket, Until::Ended, false),
            Input::Start(ticket, Until::Up | Until::Stopped) => {
                effects.push(refuse(ticket, Refusal::Stopping(self.id.clone())));
            }
            // While the leader lives, its tree is not empty.
            Input::OrphanReaped | Input::TreeEmpty | Input::Spawned(_) | Input::SpawnFailed(_) => {}
        }
        self.state = State::Stopping(stopping);
    }

    fn when_in_backoff(&mut self, context: Context, input: &Input, effects: &mut Vec<Effect>) {
        match *input {
            Input::Deadline if context.ending => self.end(false, effects),
            Input::Deadline => self.respawn(effects),
            Input::Start(ticket, until) => {
                self.wait(ticket, until, false);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::StartAgain) => {
                self.wait_for(ticket, Then::StartAgain);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::Rest | Then::Judge(..)) => {
                self.wait_for(ticket, Then::Rest);
                self.why = Why::Stopped;
                self.end(true, effects);
            }
            Input::WindDown(_) | Input::Kill => self.end(false, effects),
            Input::Spawned(_)
            | Input::SpawnFailed(_)
            | Input::Exited(..)
            | Input::TreeEmpty
            | Input::OrphanReaped => {}
        }
    }

    fn when_ended(&mut self, input: &Input, effects: &mut Vec<Effect>) {
        match *input {
            Input::Start(ticket, until) => {
                self.wait(ticket, until, false);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::StartAgain) => {
                self.wait_for(ticket, Then::StartAgain);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::Rest | Then::Judge(..)) => {
                self.wait_for(ticket, Then::Rest);
                self.settle(effects);
            }
            Input::WindDown(_)
            | Input::Kill
            | Input::Spawned(_)
            | Input::SpawnFailed(_)
            | Input::Exited(..)
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
            Verdict::StartAt(until) => {
                let until = until.max(context.now.mono + least);
                let at = context.now.wall + until.duration_since(context.now.mono);
                // Also without a delay: starts are the table's to pace.
                self.state = State::Backoff { until, at };
                self.settle(effects);
            }
            Verdict::Rest => self.end(exit.is_success(), effects),
            Verdict::GiveUp => {
                self.why = Why::GaveUp(exit);
                self.end(false, effects);
            }
        }
    }

    fn has_stopped(&mut self, context: Context, then: Then, effects: &mut Vec<Effect>) {
        match then {
            Then::StartAgain if !context.ending => {
                self.answer(|until| until == Until::Stopped, effects);
                self.start_anew(effects);
            }
            Then::StartAgain | Then::Rest => {
                self.why = Why::Stopped;
                self.end(true, effects);
            }
            Then::Judge(exit, lived) => {
                let why = Why::Exited(exit);
                self.rest_or_retry(context, exit, lived, Duration::ZERO, why, effects);
            }
        }
    }

    fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.spec.wire.stop.timeout_ms)
    }

    fn end(&mut self, well: bool, effects: &mut Vec<Effect>) {
        self.state = State::Ended { well };
        self.settle(effects);
    }

    fn wait_for(&mut self, ticket: Option<Ticket>, then: Then) {
        let until = match then {
            Then::Rest | Then::Judge(..) => Until::Stopped,
            Then::StartAgain => Until::Up,
        };
        if let Some(ticket) = ticket {
            self.wait(ticket, until, false);
        }
    }

    /// Answers whoever waited for the state that is there now.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Running { .. } => self.answer(|until| until == Until::Up, effects),
            // Who waited for a start that was called off learns how it stands instead.
            State::Ended { .. } => self.answer(|_| true, effects),
            State::Backoff { .. } => self.answer(|until| until == Until::Stopped, effects),
            State::Starting(_) | State::Stopping(_) => {}
        }
    }

    fn answer(&mut self, due: impl Fn(Until) -> bool, effects: &mut Vec<Effect>) {
        if !self.waiters.iter().any(|waiter| due(waiter.until)) {
            return;
        }
        let info = self.info();
        for waiter in self.waiters.extract_if(.., |waiter| due(waiter.until)) {
            let info = info.clone();
            let reply = if waiter.created { Reply::Created(info) } else { Reply::Job(info) };
            effects.push(Effect::Reply(waiter.ticket, reply));
        }
    }
}

fn refuse(ticket: Ticket, refusal: Refusal) -> Effect {
    Effect::Reply(ticket, Reply::Refused(refusal))
}
