//! The rim around the table: events in, effects out.
//!
//! Everything that the table asks for is done here, in the one thread that there is, and what
//! comes of it goes back to the table as a further event.

mod adopt;
mod lending;
mod recover;
mod renew;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use init_wire::{Cgroup as Settings, Channel, InitInfo, JobEvent, JobSpec, Log, Ready, Status};
use nix::errno::Errno;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::birth::Outfit;
use crate::cgroup::{self, Group, Handle};
use crate::chronicle::{self, Chronicle, Life, Since};
use crate::clock::Moment;
use crate::defect::{self, Place};
use crate::descriptor;
use crate::detached::Spared;
use crate::door::{Following, Knock};
use crate::event::{Command, DELETED, Effect, Ending, Event, Fault, Refusal, Reply, Stage, Ticket};
use crate::id::{JobId, Pid};
use crate::input::Inputs;
use crate::job::{Notice, Tree, View};
use crate::limits::{MAX_BODY, MAX_CONNECTIONS, MAX_DETACHED, MAX_JOBS};
use crate::listen::Keeper;
use crate::notice::{self, Ears, Line, Message, Mouth, Words};
use crate::output::Outputs;
use crate::process;
use crate::signal::{Exit, Signal};
use crate::spawn::{Lent, Passed, Spawner, shortened};
use crate::spec::{Shown, Spec};
use crate::stdio::Kept;
use crate::store::Store;
use crate::stranger::Strangers;
use crate::sys::{self, child::Unborn};
use crate::table::Table;
use crate::tree::{Roots, Trees};

/// Messages of a dead process that are read at most, which is more than the kernel mostly queues.
const LAST_WORDS: u32 = 256;

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
    waiting: HashMap<Ticket, oneshot::Sender<Reply>>,
    /// Those that conversations wait for which are being handed over, and what has come of them.
    unclaimed: HashMap<Ticket, Option<Reply>>,
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
            waiting: HashMap::new(),
            unclaimed: HashMap::new(),
            chronicle: Chronicle::default(),
            started: Instant::now(),
            end: None,
            renewal: None,
            failed_renewal: None,
            facts,
            crashes: 0,
            at_hand: None,
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
    pub fn next_deadline(&self) -> Option<Instant> {
        let births = &self.spawner.births;
        let look = births.next_look(births.are_urgent() || self.awaits(births.all()));
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
                self.in_question = Some(ticket);
                let wants_more = matches!(command, Command::Start { .. });
                if wants_more && !sys::memory::is_enough() {
                    return self.reply(ticket, Reply::Refused(Refusal::NoMemory));
                }
                if matches!(command, Command::Detach(_)) && !self.trees.may_let_go() {
                    let refusal = Refusal::TooManyDetached(MAX_DETACHED);
                    return self.reply(ticket, Reply::Refused(refusal));
                }
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
        let mut events = VecDeque::from([event]);
        while let Some(event) = self.birth().or_else(|| events.pop_front()) {
            if let Event::Reaped(pid, _) = &event
                && let Some(job) = self.table.job_of(*pid)
            {
                // Who is told of its end finds its last words.
                self.outputs.drain(job);
            }
            // Anew for each: a start may have taken long.
            for effect in self.table.step(Moment::now(), event) {
                self.perform(effect, &mut events);
            }
        }
        self.spawner.rest();
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

    /// Whether a child will have exec'ed in a moment, and somebody waits for that. Otherwise it is
    /// seen with whatever happens next.
    #[must_use]
    pub fn expects(&self) -> bool {
        self.spawner.births.are_urgent() || self.awaits(self.spawner.births.near())
    }

    fn awaits<'a>(&self, mut starts: impl Iterator<Item = &'a JobId>) -> bool {
        starts.any(|job| self.is_followed() || self.table.is_start_awaited(job))
    }

    /// Waits for that moment.
    pub fn wait_for_births(&mut self) {
        self.spawner.births.wait();
        self.see_births();
    }

    /// Takes those that are on their way no more.
    pub fn see_births(&mut self) {
        while let Some(event) = self.birth() {
            self.handle(event);
        }
    }

    /// Whether a job may be saying something.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.ears.are_open()
    }

    /// What has become of one of the children that were on their way.
    fn birth(&mut self) -> Option<Event> {
        let (outfit, born) = self.spawner.births.take()?;
        Some(match born {
            Ok(pid) => self.born(pid, outfit),
            Err((stage, errno)) => {
                let Outfit { job, exec, group, .. } = outfit;
                self.trees.give_up(group);
                self.ears.stop(&job);
                let fault = Fault { exec, stage, errno, snag: None };
                warn!("job `{job}`: {fault}");
                Event::SpawnFailed(job, fault)
            }
        })
    }

    /// A job has the process that was made for it.
    fn born(&mut self, pid: Pid, outfit: Outfit) -> Event {
        let Outfit { job, begun, group, bounds, kept, log, tty, .. } = outfit;
        self.connect(&job, kept, &log, tty);
        // Who had its number has ended.
        self.strangers.forget(pid);
        self.trees.plant(&job, pid, group);
        if let Some(bounds) = bounds {
            self.trees.bound(&job, &bounds);
        }
        Event::Spawned(job, pid, begun)
    }

    /// A new run of the job writes to these, and reads from these, and from no others.
    fn connect(&mut self, job: &JobId, kept: Kept, log: &Log, tty: bool) {
        let Kept { stdin, stdout, stderr } = kept;
        for (channel, end) in [(Channel::Stdout, stdout), (Channel::Stderr, stderr)] {
            match end {
                Some(end) => self.outputs.capture(job, channel, log, end),
                None => self.outputs.release(job, channel),
            }
        }
        match stdin {
            Some(end) => self.inputs.keep(job, end, tty),
            None => self.inputs.close(job),
        }
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Spawn(id, spec) => {
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

    /// Begins to start a process of the job, with all that is kept for it.
    fn start(&mut self, id: &JobId, spec: &Arc<Spec>) -> Result<(), Fault> {
        let wire = spec.wire().map_err(|_| Fault {
            exec: id.to_string(),
            stage: Stage::Prepare,
            errno: Errno::EINVAL,
            snag: None,
        })?;
        let was_deleted = spec.adoption.as_ref().is_some_and(|adoption| adoption.was_deleted);
        let mark = if was_deleted { DELETED } else { "" };
        let exec = format!("{}{mark}", shortened(&wire.exec));
        let passed = match self.lend(id, spec) {
            Ok(passed) => passed,
            Err((errno, snag)) => {
                return Err(Fault { exec, stage: Stage::Listen, errno, snag: Some(snag.into()) });
            }
        };
        self.begin(id, spec, &wire, &exec, &passed).map_err(|(stage, errno)| Fault {
            exec,
            stage,
            errno,
            snag: None,
        })
    }

    fn begin(
        &mut self,
        id: &JobId,
        spec: &Arc<Spec>,
        wire: &JobSpec,
        exec: &str,
        passed: &Passed,
    ) -> Result<(), (Stage, Errno)> {
        // What it was heard on before is not this run's.
        self.ears.stop(id);
        if spec.notifies() || spec.ready != Ready::Exec {
            self.may_keep().map_err(|errno| (Stage::Notify, errno))?;
        }
        if Kept::wanted(wire) > 0 {
            let ready = self.may_keep().and_then(|()| self.outputs.prepare());
            ready.map_err(|errno| (Stage::Stdout, errno))?;
        }
        let mouth = Mouth::open(spec).map_err(|errno| (Stage::Notify, errno))?;
        let lent = (passed, &mouth);
        let (mut child, kept, group) = match self.begin_in_group(id, spec, wire, lent) {
            // A group that was used before may have been left in a state that it cannot be in.
            Err((Stage::Clone, Errno::EBUSY | Errno::ENODEV | Errno::EOPNOTSUPP)) => {
                self.begin_in_group(id, spec, wire, lent)
            }
            Err((Stage::Clone, errno)) if self.trees.go_without_groups(errno) => {
                self.begin_in_group(id, spec, wire, lent)
            }
            begun => begun,
        }?;
        if spec.boot.is_some() {
            // It may have init's terminal.
            child.see_through();
        }
        let has_late =
            |settings: &&Settings| settings.settings().any(|(name, _)| name == cgroup::LATE);
        let bounds = wire.cgroup.as_ref().filter(has_late).cloned().map(Box::new);
        // From now on, though it is the job's only when it has exec'ed: it may have a lot to say.
        self.ears.listen(id, mouth);
        let (job, exec, begun) = (id.clone(), exec.to_owned(), Moment::now());
        let (log, tty) = (wire.log.clone(), wire.tty);
        let outfit = Outfit { job, exec, begun, group, bounds, kept, log, tty };
        self.spawner.births.add(child, outfit);
        Ok(())
    }

    fn begin_in_group(
        &mut self,
        id: &JobId,
        spec: &Arc<Spec>,
        wire: &JobSpec,
        (passed, mouth): (&Passed, &Mouth),
    ) -> Result<(Unborn, Kept, Option<Group>), (Stage, Errno)> {
        // `boot` stays where init is, whatever that is a part of.
        let taken = match &spec.boot {
            Some(_) => Ok(None),
            None => self.trees.take_group(id, wire.cgroup.as_ref()),
        };
        let (group, handle) = taken.map_err(|errno| (Stage::Cgroup, errno))?.unzip();
        let lent = Lent { passed, mouth, group: handle.as_ref().map(Handle::as_raw) };
        match self.spawner.spawn(spec, wire, &lent) {
            Ok((child, kept)) => Ok((child, kept, group)),
            Err(failure) => {
                self.trees.give_up(group);
                Err(failure)
            }
        }
    }

    fn seen(&mut self, id: JobId, tree: Tree, events: &mut VecDeque<Event>) {
        if matches!(tree, Tree::Empty { .. }) {
            self.ears.stop(&id);
            self.outputs.drain(&id);
        }
        events.push_back(Event::Tree(id, tree));
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
    fn is_of(&mut self, job: &JobId, pid: i32) -> bool {
        let is_main = Pid::new(pid).is_some_and(|pid| self.table.job_of(pid) == Some(job));
        is_main || self.trees.contains(job, pid)
    }

    fn name_main(&mut self, job: &JobId, pid: Pid) {
        if !self.trees.contains(job, pid.as_raw()) {
            warn!("job `{job}`: MAINPID={pid} is not a process of it, and is ignored");
        } else if self.trees.name_heir(job, pid) {
            self.handle(Event::Says(job.clone(), Notice::Main(pid)));
        }
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

    fn follow(&self, from: Option<chronicle::Place>) -> Following {
        let (seq, life) = (self.table.changes(), self.chronicle.life());
        let since = from.map(|from| self.chronicle.since(from, seq));
        let (after, jobs) = match (from, since) {
            (Some(from), Some(Since::Kept)) => (from.seq, Vec::new()),
            (_, Some(Since::Kept | Since::Missed(_)) | None) => (seq, self.table.list()),
        };
        Following { since, jobs, seq, life, events: self.chronicle.follow(after, seq) }
    }

    fn is_followed(&self) -> bool {
        self.chronicle.is_followed()
    }

    fn tell_changed(&self, id: &JobId, seq: u64) {
        if self.chronicle.is_open() {
            match self.table.info(id) {
                Some(job) => self.tell(seq, &JobEvent::Job { seq, job }),
                None => self.tell_gone(id, seq),
            }
        }
    }

    fn tell_gone(&self, id: &JobId, seq: u64) {
        if self.chronicle.is_open() {
            self.tell(seq, &JobEvent::Gone { seq, id: id.to_string() });
        }
    }

    fn tell(&self, seq: u64, event: &JobEvent<Shown>) {
        // What init shows of a job has no part that JSON cannot hold.
        let line = serde_json::to_string(event).unwrap_or_default();
        self.chronicle.tell(seq, format!("{line}\n").into());
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
