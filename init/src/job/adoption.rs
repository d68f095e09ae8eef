//! A job whose process was not started by init, and one whose process init lets go of.

use std::sync::Arc;

use super::automaton::refuse;
use super::{Context, Input, Job, Run, State, Then, View, Why};
use crate::adoption::NotAdoptable;
use crate::clock::Moment;
use crate::event::{Effect, Refusal, Reply};
use crate::id::Pid;
use crate::spec::Spec;

impl Job {
    /// A running process is the job's. It is ready, whatever its program would have to say when it
    /// is started, and has no watchdog's duty: nobody has told it where to say anything.
    pub(super) fn take_over(
        &mut self,
        context: Context,
        (pid, at): (Pid, Moment),
        spec: Arc<Spec>,
        effects: &mut Vec<Effect>,
    ) {
        let State::Spawning(spawning) = &mut self.state else { return };
        let put_off = std::mem::take(&mut spawning.put_off);
        self.spec = spec;
        self.why = Why::Adopted;
        self.started = Some(at.wall);
        self.ended = None;
        self.text = None;
        self.state = State::Running(Run { pid, since: at.mono, ready: true, watchdog: None });
        self.settle(effects);
        for input in put_off {
            self.step(context, input, effects);
        }
    }

    /// No process was taken over. Only a job that never was begins like this, so everybody who asked
    /// something of it is told.
    pub(super) fn fail_to_adopt(
        &mut self,
        context: Context,
        why: &NotAdoptable,
        effects: &mut Vec<Effect>,
    ) {
        let State::Spawning(spawning) = &mut self.state else { return };
        let put_off = std::mem::take(&mut spawning.put_off);
        let refusal = || Refusal::NotAdoptable(why.clone());
        effects.extend(self.waiters.drain(..).map(|waiter| refuse(waiter.ticket, refusal())));
        self.end(false, effects);
        for input in put_off {
            match input {
                Input::Stop(ticket, Then::StartAgain) => {
                    effects.extend(ticket.map(|ticket| refuse(ticket, refusal())));
                }
                input => self.step(context, input, effects),
            }
        }
    }

    /// Lets go of the process, if it is up and nothing is being done with it. Answers which one that
    /// is, and how the job stands at last. Who waits for its end is told that init will not see it.
    pub fn let_go(&mut self, effects: &mut Vec<Effect>) -> Result<(Pid, Box<View>), Refusal> {
        let id = || self.id.clone();
        let pid = match &self.state {
            State::Running(run) if run.ready => run.pid,
            State::Running(_) | State::Spawning(_) => return Err(Refusal::Starting(id())),
            State::Stopping(_) | State::Leaving(_) => return Err(Refusal::Stopping(id())),
            State::Backoff { .. } | State::Ended { .. } => {
                return Err(Refusal::NothingToDetach(id()));
            }
        };
        self.why = Why::Detached;
        let refusal = Refusal::Detached(self.id.clone());
        let waiters = self.waiters.drain(..);
        effects.extend(
            waiters.map(|waiter| Effect::Reply(waiter.ticket, Reply::Refused(refusal.clone()))),
        );
        Ok((pid, self.info()))
    }
}
