//! What each input does in each state. Every pair is written.

use std::sync::Arc;
use std::time::Duration;

use init_wire::Ready;

use super::{
    Context, Input, Job, Leaving, Notice, Origin, Reach, Run, Spawning, State, Stopping, Then,
    Tree, Waiter, Watchdog, Why,
};
use crate::clock::Moment;
use crate::defect::{self, Place};
use crate::event::{Effect, Fault, Refusal, Reply, Ticket, Until};
use crate::id::Pid;
use crate::restart::Verdict;
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
            State::Spawning(_) => self.when_spawning(context, input, effects),
            State::Running(run) => self.when_running(*run, context, input, effects),
            State::Leaving(leaving) => self.when_leaving(**leaving, context, &input, effects),
            State::Stopping(stopping) => {
                self.when_stopping(stopping.clone(), context, &input, effects);
            }
            State::Backoff { .. } => self.when_in_backoff(context, &input, effects),
            State::Ended { .. } => self.when_ended(context, &input, effects),
        }
    }

    fn when_spawning(&mut self, context: Context, input: Input, effects: &mut Vec<Effect>) {
        let State::Spawning(spawning) = &mut self.state else { return };
        match input {
            Input::Spawned(pid, at) => {
                let put_off = std::mem::take(&mut spawning.put_off);
                self.run(context, pid, at, effects);
                for input in put_off {
                    self.step(context, input, effects);
                }
            }
            Input::SpawnFailed(fault) => {
                let (origin, put_off) = (spawning.origin, std::mem::take(&mut spawning.put_off));
                self.fail_to_start(context, origin, fault.clone(), effects);
                for input in put_off {
                    match input {
                        // What never was cannot be started again.
                        Input::Stop(ticket, Then::StartAgain) if origin == Origin::Fresh => {
                            let refusal = Refusal::Spawn(fault.clone());
                            effects.extend(ticket.map(|ticket| refuse(ticket, refusal)));
                        }
                        input => self.step(context, input, effects),
                    }
                }
            }
            Input::Adopted(pid, at, spec) => self.take_over(context, (pid, at), spec, effects),
            Input::NotAdopted(why) => self.fail_to_adopt(context, &why, effects),
            Input::Start(ticket, _) if !spawning.put_off.is_empty() => {
                effects.push(refuse(ticket, Refusal::Stopping(self.id.clone())));
            }
            Input::Start(ticket, until) => self.wait(ticket, until, false),
            Input::Stop(..) | Input::WindDown(_) | Input::Kill => {
                // The last one counts; the others only as far as somebody waits for them.
                spawning.put_off.retain(|earlier| {
                    !matches!(
                        (earlier, &input),
                        (Input::Stop(None, _), _) | (Input::Kill, Input::Kill)
                    )
                });
                spawning.put_off.push(input);
            }
            // There is no process yet that any of these could be about.
            Input::Exited(_)
            | Input::Tree(_)
            | Input::OrphanReaped
            | Input::Says(_)
            | Input::Deadline => {}
        }
    }

    fn when_running(
        &mut self,
        run: Run,
        context: Context,
        input: Input,
        effects: &mut Vec<Effect>,
    ) {
        let (pid, now) = (run.pid, context.now.mono);
        match input {
            Input::Start(ticket, until) => {
                self.wait(ticket, until, false);
                self.settle(effects);
            }
            Input::Stop(ticket, then) => {
                self.wait_for(ticket, then);
                effects.push(Effect::SignalTree(self.id.clone(), self.spec.stop_signal));
                self.state = Stopping::begin(pid, Reach::Tree, now + self.stop_timeout(), then);
            }
            Input::WindDown(by) if self.spec.as_group() => {
                effects.push(Effect::SignalGroup(pid, self.spec.stop_signal));
                effects.push(Effect::SignalGroup(pid, Signal::CONT));
                self.state = Stopping::begin(pid, Reach::Tree, by, Then::Rest);
            }
            Input::WindDown(by) => {
                effects.push(Effect::Signal(pid, self.spec.stop_signal, None));
                // Who is stopped heeds it only when he goes on.
                effects.push(Effect::Signal(pid, Signal::CONT, None));
                self.state = Stopping::begin(pid, Reach::Leader, by, Then::Rest);
            }
            Input::Kill => {
                effects.push(Effect::KillTree(self.id.clone()));
                self.state = Stopping::begin(pid, Reach::Tree, now + KILL_AGAIN, Then::Rest);
            }
            Input::Exited(exit) if self.spec.boot.is_some() => {
                self.note_exit(context.now, exit);
                let lived = now.duration_since(run.since);
                self.rest_or_retry(context, exit, lived, Duration::ZERO, effects);
            }
            Input::Exited(exit) => {
                self.state = State::Leaving(Box::new(Leaving { run, exit, at: context.now }));
                effects.push(Effect::Probe(self.id.clone()));
            }
            Input::Says(notice) => self.hear(run, context, notice, effects),
            Input::Deadline => match run.watchdog {
                Some(Watchdog { limit, at: Some(at) }) if at <= now => {
                    self.why = Why::Silent(limit);
                    self.put_down(run, context, effects);
                }
                Some(_) | None => {}
            },
            Input::Spawned(..)
            | Input::SpawnFailed(_)
            | Input::Adopted(..)
            | Input::NotAdopted(_)
            | Input::Tree(_)
            | Input::OrphanReaped => {}
        }
    }

    /// What a process of a running job says.
    fn hear(&mut self, mut run: Run, context: Context, notice: Notice, effects: &mut Vec<Effect>) {
        let now = context.now.mono;
        match notice {
            Notice::Ready => {
                run.ready = true;
                // Its duty to say that it is alive begins when it is up.
                run.watchdog = run
                    .watchdog
                    .map(|Watchdog { limit, .. }| Watchdog { limit, at: Some(now + limit) });
                self.state = State::Running(run);
                if matches!(self.why, Why::Reloading) {
                    self.show(Why::Asked);
                }
                return self.settle(effects);
            }
            Notice::Reloading => self.show(Why::Reloading),
            Notice::Stopping => self.show(Why::Leaving),
            // A start may take as long as it likes anyway.
            Notice::Extend(_) => {}
            Notice::Text(text) => {
                self.text = Some(text).filter(|text| !text.is_empty());
                self.version = self.version.wrapping_add(1);
            }
            Notice::Main(pid) => run.pid = pid,
            Notice::Alive => {
                let next = |limit| run.ready.then(|| now + limit);
                run.watchdog =
                    run.watchdog.map(|Watchdog { limit, .. }| Watchdog { limit, at: next(limit) });
            }
            Notice::Watchdog(Duration::ZERO) => run.watchdog = None,
            Notice::Watchdog(limit) => {
                run.watchdog = Some(Watchdog { limit, at: run.ready.then(|| now + limit) });
            }
            Notice::Broken => {
                self.why = Why::Broken;
                return self.put_down(run, context, effects);
            }
        }
        self.state = State::Running(run);
    }

    fn show(&mut self, why: Why) {
        self.why = why;
        self.version = self.version.wrapping_add(1);
    }

    /// Ends a tree that has failed: with a signal that leaves a core behind, and with SIGKILL if
    /// that does not help. What comes then is the restart policy's to say.
    fn put_down(&mut self, run: Run, context: Context, effects: &mut Vec<Effect>) {
        let now = context.now.mono;
        effects.push(Effect::SignalTree(self.id.clone(), Signal::ABRT));
        let then = Then::Judge(now.duration_since(run.since));
        self.state = Stopping::begin(run.pid, Reach::Tree, now + self.stop_timeout(), then);
    }

    fn when_leaving(
        &mut self,
        leaving: Leaving,
        context: Context,
        input: &Input,
        effects: &mut Vec<Effect>,
    ) {
        let Leaving { run, exit, at } = leaving;
        let lived = at.mono.duration_since(run.since);
        match *input {
            Input::Tree(Tree::Empty { oom }) => {
                let exit = if oom { exit.by_oom() } else { exit };
                self.note_exit(at, exit);
                self.why = Why::Exited(exit);
                self.rest_or_retry(context, exit, lived, Duration::ZERO, effects);
            }
            Input::Tree(Tree::Left { heir: Some(heir) }) => {
                self.state = State::Running(Run { pid: heir, ..run });
            }
            Input::Tree(Tree::Left { heir: None }) => {
                // What it leaves behind is ended as it would have been, before anything new.
                self.note_exit(at, exit);
                self.why = Why::Exited(exit);
                effects.push(Effect::SignalTree(self.id.clone(), self.spec.stop_signal));
                self.state = State::Stopping(Box::new(Stopping {
                    leader: None,
                    reach: Reach::Tree,
                    kill_at: at.mono + self.stop_timeout(),
                    look_at: Some(at.mono + LOOK_AGAIN),
                    then: Then::Judge(lived),
                    kills: false,
                    oom: false,
                }));
            }
            // The look at the tree comes before anything else can happen.
            Input::Start(..)
            | Input::Stop(..)
            | Input::WindDown(_)
            | Input::Kill
            | Input::Spawned(..)
            | Input::SpawnFailed(_)
            | Input::Adopted(..)
            | Input::NotAdopted(_)
            | Input::Exited(_)
            | Input::OrphanReaped
            | Input::Says(_)
            | Input::Deadline => {}
        }
    }

    fn when_stopping(
        &mut self,
        mut stopping: Box<Stopping>,
        context: Context,
        input: &Input,
        effects: &mut Vec<Effect>,
    ) {
        let now = context.now.mono;
        match *input {
            Input::Exited(exit) => {
                self.note_exit(context.now, exit);
                if stopping.reach == Reach::Leader {
                    return self.has_stopped(context, stopping.then, effects);
                }
                stopping.leader = None;
                stopping.look_at = Some(now + LOOK_AGAIN);
                effects.push(Effect::Probe(self.id.clone()));
            }
            Input::OrphanReaped if stopping.leader.is_none() => {
                effects.push(Effect::Probe(self.id.clone()));
            }
            Input::Tree(Tree::Empty { oom }) if stopping.leader.is_none() => {
                if oom || stopping.oom {
                    self.last_exit = self.last_exit.map(Exit::by_oom);
                }
                return self.has_stopped(context, stopping.then, effects);
            }
            Input::Deadline if now < stopping.kill_at => {
                stopping.look_at = stopping.look_at.map(|_| now + LOOK_AGAIN);
                effects.push(Effect::Look(self.id.clone()));
            }
            Input::Deadline | Input::Kill => {
                if matches!(input, Input::Kill) {
                    stopping.then = Then::Rest;
                }
                stopping.reach = Reach::Tree;
                stopping.kills = true;
                stopping.kill_at = now + KILL_AGAIN;
                stopping.look_at = stopping.look_at.map(|_| now + LOOK_AGAIN);
                effects.push(Effect::KillTree(self.id.clone()));
            }
            Input::WindDown(by) => {
                stopping.then = Then::Rest;
                stopping.kill_at = stopping.kill_at.min(by);
            }
            Input::Stop(ticket, then) => {
                stopping.then = then;
                self.wait_for(ticket, then);
            }
            Input::Start(ticket, _) => {
                effects.push(refuse(ticket, Refusal::Stopping(self.id.clone())));
            }
            // Not once it is being killed.
            Input::Says(Notice::Extend(more)) if !stopping.kills => {
                stopping.kill_at = stopping.kill_at.max(now + more);
            }
            Input::Says(Notice::Text(ref text)) => {
                self.text = Some(text.clone()).filter(|text| !text.is_empty());
                self.version = self.version.wrapping_add(1);
            }
            // Nobody is left but the leader, who is dead and about to be reaped.
            Input::Tree(Tree::Empty { oom }) => stopping.oom |= oom,
            // While the leader lives, its tree is not empty; and what a job that ends says
            // besides does not matter any more.
            Input::OrphanReaped
            | Input::Tree(Tree::Left { .. })
            | Input::Says(_)
            | Input::Spawned(..)
            | Input::SpawnFailed(_)
            | Input::Adopted(..)
            | Input::NotAdopted(_) => {}
        }
        self.state = State::Stopping(stopping);
    }

    fn when_in_backoff(&mut self, context: Context, input: &Input, effects: &mut Vec<Effect>) {
        match *input {
            // Asked for before init began to end.
            Input::Stop(ticket, Then::StartAgain) if context.ending => {
                effects.extend(ticket.map(|ticket| refuse(ticket, Refusal::ShuttingDown)));
            }
            Input::Deadline if context.ending => self.end(false, effects),
            Input::Deadline if let Some(until) = context.hold => {
                let at = context.now.wall + until.duration_since(context.now.mono);
                self.state = State::Backoff { until, at };
                self.version = self.version.wrapping_add(1);
            }
            Input::Deadline => self.respawn(effects),
            Input::Start(ticket, until) => {
                self.wait(ticket, until, false);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::StartAgain) => {
                self.wait_for(ticket, Then::StartAgain);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::Rest | Then::Judge(_)) => {
                self.wait_for(ticket, Then::Rest);
                self.why = Why::Stopped;
                self.end(true, effects);
            }
            Input::WindDown(_) | Input::Kill => self.end(false, effects),
            Input::Spawned(..)
            | Input::SpawnFailed(_)
            | Input::Adopted(..)
            | Input::NotAdopted(_)
            | Input::Exited(_)
            | Input::Tree(_)
            | Input::OrphanReaped
            | Input::Says(_) => {}
        }
    }

    fn when_ended(&mut self, context: Context, input: &Input, effects: &mut Vec<Effect>) {
        match *input {
            // Asked for before init began to end.
            Input::Stop(ticket, Then::StartAgain) if context.ending => {
                effects.extend(ticket.map(|ticket| refuse(ticket, Refusal::ShuttingDown)));
            }
            Input::Start(ticket, until) => {
                self.wait(ticket, until, false);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::StartAgain) => {
                self.wait_for(ticket, Then::StartAgain);
                self.start_anew(effects);
            }
            Input::Stop(ticket, Then::Rest | Then::Judge(_)) => {
                self.wait_for(ticket, Then::Rest);
                self.settle(effects);
            }
            Input::WindDown(_)
            | Input::Kill
            | Input::Spawned(..)
            | Input::SpawnFailed(_)
            | Input::Adopted(..)
            | Input::NotAdopted(_)
            | Input::Exited(_)
            | Input::Tree(_)
            | Input::OrphanReaped
            | Input::Says(_)
            | Input::Deadline => {}
        }
    }

    fn note_exit(&mut self, at: Moment, exit: Exit) {
        self.last_exit = Some(exit);
        self.ended = Some(at.wall);
    }

    fn respawn(&mut self, effects: &mut Vec<Effect>) {
        defect::here(Place::Respawn, self.id.as_str());
        self.respawn = self.respawn.saturating_add(1);
        self.spawn(Origin::Init, effects);
    }

    /// A start that somebody asked for: earlier failures no longer count.
    fn start_anew(&mut self, effects: &mut Vec<Effect>) {
        self.history = None;
        self.spawn(Origin::Asked, effects);
    }

    fn spawn(&mut self, origin: Origin, effects: &mut Vec<Effect>) {
        self.state = Spawning::begin(origin);
        effects.push(Effect::Spawn(self.id.clone(), Arc::clone(&self.spec)));
    }

    fn run(&mut self, context: Context, pid: Pid, at: Moment, effects: &mut Vec<Effect>) {
        let by_policy = self.respawn > 0
            && matches!(&self.state, State::Spawning(spawning) if spawning.origin == Origin::Init);
        self.why = if by_policy { Why::Respawned } else { Why::Asked };
        self.started = Some(at.wall);
        self.ended = None;
        self.text = None;
        let (now, since, ready) = (context.now.mono, at.mono, self.spec.ready == Ready::Exec);
        let watchdog =
            self.spec.watchdog.map(|limit| Watchdog { limit, at: ready.then(|| now + limit) });
        self.state = State::Running(Run { pid, since, ready, watchdog });
        self.settle(effects);
    }

    fn fail_to_start(
        &mut self,
        context: Context,
        origin: Origin,
        fault: Fault,
        effects: &mut Vec<Effect>,
    ) {
        // Who asked for this start is told why; who waits for the end will see it.
        let asked = |waiter: &mut Waiter| {
            waiter.created && origin != Origin::Init
                || matches!(waiter.until, Until::Up | Until::Ready)
        };
        for waiter in self.waiters.extract_if(.., asked) {
            effects.push(refuse(waiter.ticket, Refusal::Spawn(fault.clone())));
        }
        match origin {
            Origin::Fresh | Origin::Asked => {
                if self.spec.boot.is_some() {
                    // It is the exit code of init, too.
                    self.last_exit = Some(fault.as_exit());
                }
                self.why = Why::SpawnFailed(Box::new(fault));
                self.end(false, effects);
            }
            Origin::Init => {
                // What cannot be started counts as a run that failed at once.
                let exit = fault.as_exit();
                self.last_exit = Some(exit);
                self.why = Why::SpawnFailed(Box::new(fault));
                self.rest_or_retry(context, exit, Duration::ZERO, RETRY_SPAWN, effects);
            }
        }
    }

    fn rest_or_retry(
        &mut self,
        context: Context,
        exit: Exit,
        lived: Duration,
        least: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let verdict = match &self.spec.restart {
            Some(rule) if !context.ending => {
                let history = self.history.get_or_insert_default();
                history.judge(rule, exit, lived, context.now.mono, context.chance)
            }
            Some(_) | None => Verdict::Rest,
        };
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
                // That it could not even be started says more.
                if !matches!(self.why, Why::SpawnFailed(_)) {
                    self.why = Why::GaveUp(exit);
                }
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
            Then::Judge(lived) => {
                let exit = self.last_exit.unwrap_or(Exit::Code(0));
                // Who had to be put down has failed, however he took it.
                let is_put_down = matches!(self.why, Why::Silent(_) | Why::Broken);
                let failed = Exit::Signal(libc::SIGABRT);
                let exit = if is_put_down && exit.is_success() { failed } else { exit };
                self.rest_or_retry(context, exit, lived, Duration::ZERO, effects);
            }
        }
    }

    fn stop_timeout(&self) -> Duration {
        self.spec.stop_timeout
    }

    pub(super) fn end(&mut self, well: bool, effects: &mut Vec<Effect>) {
        self.state = State::Ended { well };
        self.settle(effects);
    }

    fn wait_for(&mut self, ticket: Option<Ticket>, then: Then) {
        let until = match then {
            Then::Rest | Then::Judge(_) => Until::Stopped,
            Then::StartAgain => Until::Up,
        };
        if let Some(ticket) = ticket {
            self.wait(ticket, until, false);
        }
    }

    /// Answers whoever waited for the state that is there now.
    pub(super) fn settle(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Running(run) => {
                self.answer(
                    |until| until == Until::Up || until == Until::Ready && run.ready,
                    effects,
                );
            }
            // Who waited for a start that was called off learns how it stands instead.
            State::Ended { .. } => self.answer(|_| true, effects),
            State::Backoff { .. } => self.answer(|until| until == Until::Stopped, effects),
            State::Spawning(_) | State::Leaving(_) | State::Stopping(_) => {}
        }
    }

    fn answer(&mut self, due: impl Fn(Until) -> bool, effects: &mut Vec<Effect>) {
        let is_due = |waiter: &mut Waiter| due(waiter.until);
        let count = self.waiters.iter().filter(|waiter| due(waiter.until)).count();
        if count == 0 {
            return;
        }
        let infos = std::iter::repeat_n(self.info(), count);
        for (waiter, info) in self.waiters.extract_if(.., is_due).zip(infos) {
            let reply = if waiter.created { Reply::Created(info) } else { Reply::Job(info) };
            effects.push(Effect::Reply(waiter.ticket, reply));
        }
    }
}

pub(super) fn refuse(ticket: Ticket, refusal: Refusal) -> Effect {
    Effect::Reply(ticket, Reply::Refused(refusal))
}
