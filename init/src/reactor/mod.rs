//! The rim around the table: events in, effects out.
//!
//! Everything that the table asks for is done here, in the one thread that there is, and what
//! comes of it goes back to the table as a further event.

mod adopt;
mod hear;
mod lending;
mod recover;
mod renew;
mod start;
mod tell;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use init_wire::{InitInfo, Status};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::chronicle::{Chronicle, Life};
use crate::clock::Moment;
use crate::defect::{self, Place};
use crate::descriptor;
use crate::detached::Spared;
use crate::door::Knock;
use crate::event::{Command, Effect, Ending, Event, Refusal, Reply, Ticket};
use crate::id::{JobId, Pid};
use crate::input::Inputs;
use crate::job::{Tree, View};
use crate::limits::{MAX_BODY, MAX_CONNECTIONS, MAX_DETACHED, MAX_JOBS};
use crate::listen::Keeper;
use crate::notice::Ears;
use crate::output::Outputs;
use crate::process;
use crate::signal::{Exit, Signal};
use crate::spawn::Spawner;
use crate::store::Store;
use crate::stranger::Strangers;
use crate::sys::{self};
use crate::table::Table;
use crate::tree::{Roots, Trees};

pub use renew::{FINISHING, Facts, Renewal, Stage as RenewalStage};

/// The table and what it acts with.
pub struct Reactor {
    table: Table,
    spawner: Spawner,
    keeper: Keeper,
    store: Store,
    trees: Trees,
    ears: Ears,
    outputs: Outputs,
    inputs: Inputs,
    strangers: Strangers,
    /// Descriptors that may be kept for jobs.
    keepable: usize,
    in_vm: bool,
    was_asked: bool,
    waiting: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    /// Those that conversations wait for which are being handed over, and what has come of them.
    unclaimed: BTreeMap<Ticket, Option<Reply>>,
    /// Once there has been a follower.
    chronicle: Chronicle,
    started: Instant,
    end: Option<(Ending, u8)>,
    /// init is becoming another one.
    pub renewal: Option<Renewal>,
    /// Why the last renewal has come to nothing, for who has asked for it and has been handed over.
    failed_renewal: Option<String>,
    facts: Facts,
    /// How often init has crashed.
    crashes: u32,
    /// A child that has been reaped, while its end is being handled.
    at_hand: Option<(Pid, Exit)>,
    /// What the table has asked for and is yet to be done; one within the other.
    undone: Vec<VecDeque<Effect>>,
    /// The first of the innermost is in hand.
    is_telling: bool,
    /// The question that is being handled.
    in_question: Option<Ticket>,
    /// Who outlives init; known at its end.
    spared: Spared,
}

impl Reactor {
    /// A reactor around an empty table.
    #[must_use]
    pub fn new(
        table: Table,
        spawner: Spawner,
        ears: Ears,
        strangers: Strangers,
        in_vm: bool,
        facts: Facts,
    ) -> Self {
        Self {
            table,
            spawner,
            keeper: Keeper::default(),
            store: Store::default(),
            trees: Trees::default(),
            ears,
            outputs: Outputs::default(),
            inputs: Inputs::default(),
            strangers,
            keepable: descriptor::keepable(),
            in_vm,
            was_asked: false,
            waiting: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            chronicle: Chronicle::default(),
            started: Instant::now(),
            end: None,
            renewal: None,
            failed_renewal: None,
            facts,
            crashes: 0,
            at_hand: None,
            undone: Vec::new(),
            is_telling: false,
            in_question: None,
            spared: Spared::default(),
        }
    }

    /// Which life of init's this is.
    #[must_use]
    pub fn life(&self) -> Life {
        self.chronicle.life()
    }

    /// Keeps the answers to these questions, and no others, for conversations that are being handed over.
    pub fn keep_replies(&mut self, tickets: impl Iterator<Item = Ticket>) {
        let mut kept = std::mem::take(&mut self.unclaimed);
        self.unclaimed = tickets.map(|ticket| (ticket, kept.remove(&ticket).flatten())).collect();
    }

    /// What jobs write, and what is written to them.
    #[must_use]
    pub fn streams(&self) -> (Outputs, Inputs) {
        (self.outputs.clone(), self.inputs.clone())
    }

    /// When something is to be done without anybody asking.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let births = &self.spawner.births;
        let look = births.next_look(now, || births.are_urgent(now) || self.awaits(births.all()));
        let rest = self.spawner.next_rest();
        [self.table.next_deadline(), look, rest].into_iter().flatten().min()
    }

    /// Whether a child is a job's main process, or is to become one.
    #[must_use]
    pub fn knows(&self, pid: Pid) -> bool {
        self.table.knows(pid) || self.spawner.births.has(pid)
    }

    /// Whether everything has ended, and how.
    #[must_use]
    pub fn end(&self) -> Option<(Ending, u8)> {
        self.end
    }

    /// The process of the job `boot`.
    #[must_use]
    pub fn boot(&self) -> Option<Pid> {
        self.table.boot_pid()
    }

    /// Whether anybody has ever asked for something.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.was_asked
    }

    /// Answers a question of the API.
    pub fn answer(&mut self, knock: Knock) {
        self.was_asked = true;
        self.see_births();
        // An answer that nobody waits for any more is dropped.
        match knock {
            Knock::Ask(ticket, command, reply) => {
                if let Command::Start { id: Some(id), .. } = &command {
                    defect::here(Place::Reactor, id.as_str());
                }
                self.waiting.insert(ticket, reply);
                let wants_more = matches!(command, Command::Start { .. });
                if wants_more && !sys::memory::is_enough() {
                    return self.reply(ticket, Reply::Refused(Refusal::NoMemory));
                }
                if matches!(command, Command::Detach(_)) && !self.trees.may_let_go() {
                    let refusal = Refusal::TooManyDetached(MAX_DETACHED);
                    return self.reply(ticket, Reply::Refused(refusal));
                }
                self.in_question = Some(ticket);
                self.handle(Event::Asked(ticket, command));
                self.in_question = None;
            }
            Knock::Wait(ticket, sender) => match self.unclaimed.remove(&ticket).flatten() {
                Some(reply) => drop(sender.send(reply)),
                None => drop(self.waiting.insert(ticket, sender)),
            },
            Knock::Abandon(ticket) => {
                if self.waiting.remove(&ticket).is_some() {
                    self.handle(Event::Abandoned(ticket));
                }
            }
            Knock::List(reply) => drop(reply.send(self.table.list())),
            Knock::Info(id, reply) => drop(reply.send(self.info(&id))),
            Knock::Roots(only, reply) => drop(reply.send(self.roots(only.as_ref()))),
            Knock::About(reply) => drop(reply.send(self.about())),
            Knock::Renew(reply) => self.renew(reply),
            Knock::Renewed(reply) => drop(reply.send(self.renewed())),
            Knock::Follow(from, reply) => drop(reply.send(self.follow(from))),
        }
    }

    /// Lets an event happen, and all that follows from it. That a child has exec'ed comes before
    /// anything that it has done since.
    pub fn handle(&mut self, event: Event) {
        let (mut first, mut events) = (Some(event), VecDeque::new());
        let mut now = None;
        while let Some(event) = self.birth().or_else(|| first.take()).or_else(|| events.pop_front())
        {
            if let Event::Reaped(pid, exit) = &event
                && let Some(job) = self.table.job_of(*pid)
            {
                // Who is told of its end finds its last words.
                self.outputs.drain(job);
                if self.in_vm && self.table.boot_pid() == Some(*pid) && !self.table.is_ending() {
                    // One that was killed has said nothing, and nobody is there but who looks at the console.
                    warn!("job `boot` has ended: {exit}");
                }
            }
            let effects = self.table.step(*now.get_or_insert_with(Moment::now), event);
            self.undone.push(effects.into());
            while let Some(effect) = self.next_effect() {
                if effect.may_take_long() {
                    now = None;
                }
                self.perform(effect, &mut events);
            }
            self.undone.pop();
        }
        self.spawner.rest();
    }

    /// What is to be done next. Who is to end is rather told twice than never, should init crash now.
    fn next_effect(&mut self) -> Option<Effect> {
        let undone = self.undone.last_mut()?;
        if std::mem::take(&mut self.is_telling) {
            undone.pop_front();
        }
        self.is_telling = matches!(undone.front()?, Effect::SignalTree(..));
        if self.is_telling { undone.front().cloned() } else { undone.pop_front() }
    }

    /// A child has been reaped; its number may be anybody's from now on. Answers how a process that
    /// was taken over has ended, if it had that number.
    pub fn forget(&mut self, child: Pid) -> Option<Exit> {
        self.spawner.forget(child);
        self.strangers.forget(child).filter(|exit| *exit != Exit::Unknown)
    }

    /// Whom init's own end is not to touch.
    #[must_use]
    pub fn spared(&mut self) -> Spared {
        std::mem::take(&mut self.spared)
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Spawn(id, spec) => {
                defect::here(Place::Effect, id.as_str());
                if let Err(fault) = self.start(&id, &spec) {
                    warn!("job `{id}`: {fault}");
                    events.push_back(Event::SpawnFailed(id, fault));
                }
            }
            Effect::Adopt(id, spec) => {
                if let Err(why) = self.begin_to_adopt(&id, &spec) {
                    events.push_back(Event::NotAdopted(id, why));
                }
            }
            Effect::LetGo(id, pid, spec) => {
                self.ears.stop(&id);
                self.outputs.let_go(&id);
                self.keeper.leave_files(&spec.listeners);
                self.strangers.forget(pid);
                self.trees.let_go(&id, pid);
            }
            Effect::Signal(pid, signal, ticket) => self.signal(pid, signal, ticket),
            Effect::SignalGroup(pid, signal) => process::signal_group(pid, signal),
            Effect::SignalTree(id, signal) => self.trees.tell_to_end(&id, signal),
            Effect::Probe(id) => {
                let seen = self.trees.probe(&id);
                self.seen(id, seen, events);
            }
            Effect::Look(id) => {
                let seen = self.trees.look(&id);
                self.seen(id, seen, events);
            }
            Effect::KillTree(id) => {
                let seen = self.trees.kill(&id);
                self.seen(id, seen, events);
            }
            Effect::Reply(ticket, reply) => self.reply(ticket, reply),
            Effect::Changed(id, seq) => {
                self.note_streams(&id);
                self.tell_changed(&id, seq);
            }
            Effect::Gone(id, seq) => {
                self.outputs.forget(&id);
                self.tell_gone(&id, seq);
            }
            Effect::ReleaseListeners => {
                let table = &self.table;
                self.keeper.keep(|address| table.names_listener(address));
            }
            Effect::ReleaseStore(id) => self.store.clear(&id),
            Effect::End(ending, code) => {
                info!("ending with code {code}");
                self.keeper.keep(|_| false);
                self.spared = self.trees.spared();
                self.trees.clear();
                self.end = Some((ending, code));
            }
        }
    }

    /// Who follows a job that has ended need not wait for more of it.
    fn note_streams(&mut self, id: &JobId) {
        let is_live = self.table.is_live(id);
        if !is_live {
            self.inputs.close(id);
        }
        self.outputs.note(id, is_live);
    }

    fn seen(&mut self, id: JobId, tree: Tree, events: &mut VecDeque<Event>) {
        if matches!(tree, Tree::Empty { .. }) {
            self.ears.stop(&id);
            self.outputs.drain(&id);
        }
        events.push_back(Event::Tree(id, tree));
    }

    /// A job as it is now; of one that is ending, also who it waits for.
    fn info(&mut self, id: &JobId) -> Option<Box<View>> {
        let mut info = self.table.info(id)?;
        if info.status == Status::Stopping {
            info.why = format!("{}; waiting for {}", info.why, self.trees.describe(id));
        }
        Some(info)
    }

    fn signal(&mut self, pid: Pid, signal: Signal, ticket: Option<Ticket>) {
        let stranger = self.strangers.signal(pid, signal);
        let sent = stranger.unwrap_or_else(|| process::signal_child(pid, signal));
        let Some(ticket) = ticket else { return };
        self.reply(
            ticket,
            match sent {
                Ok(()) => Reply::Done,
                Err(errno) => Reply::Refused(Refusal::SignalFailed(errno)),
            },
        );
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        let reply = match self.waiting.remove(&ticket) {
            Some(waiting) => waiting.send(reply),
            None => Err(reply),
        };
        // A conversation may have been handed over just now.
        let is_kept = self.is_finishing() || self.unclaimed.contains_key(&ticket);
        if let Some(reply) = reply.err().filter(|_| is_kept) {
            self.unclaimed.insert(ticket, Some(reply));
        }
    }

    fn roots(&mut self, only: Option<&JobId>) -> Result<Vec<Roots>, Refusal> {
        let jobs = self.table.peopled(only)?;
        Ok(jobs.iter().filter_map(|job| self.trees.roots(job)).collect())
    }

    fn about(&self) -> InitInfo {
        InitInfo {
            version: crate::VERSION.into(),
            pid: std::process::id(),
            machine: self.in_vm,
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            crashes: self.crashes,
            jobs: self.table.len(),
            max_jobs: MAX_JOBS,
            max_connections: MAX_CONNECTIONS,
            max_body: MAX_BODY,
        }
    }
}
