//! The core under generated sequences of events: whatever happens in whatever order, the table
//! loses no process, runs no job twice, and answers every request once.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends by a panic")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use init::account::Accounts;
use init::adoption::NotAdoptable;
use init::clock::Moment;
use init::event::{Command, Effect, Ending, Event, Fault, Reply, Stage, Ticket, Until};
use init::id::{JobId, Pid};
use init::job::{Notice, Tree};
use init::shutdown::BootExit;
use init::signal::{Exit, Signal};
use init::spec::Spec;
use init::table::{Rules, Table};
use init_wire::{JobSpec, Policy, Ready, Restart, Status};
use nix::errno::Errno;
use proptest::prelude::*;

const MAX_JOBS: usize = 6;

/// One thing that the world does to the table.
#[derive(Clone, Copy, Debug)]
enum Step {
    Start {
        name: Option<u8>,
        spec: u8,
        until_end: bool,
        fails: bool,
    },
    StartAgain(u8),
    Stop(u8),
    Restart(u8),
    Remove(u8),
    Signal(u8, bool),
    Await(u8, bool),
    Say(u8, Saying),
    Abandon(u8),
    Fork(u8),
    /// Somebody outside starts a process, with a number that was used before where one is free.
    Stranger {
        reuses: bool,
    },
    /// A process that was let go of, or never was init's, is to be a job.
    Adopt {
        name: u8,
        which: u8,
        until_end: bool,
    },
    Detach(u8),
    /// A process that not even SIGKILL ends, as in a call to a dead server; and its end all the same.
    Stick(u8),
    Exit {
        which: u8,
        code: u8,
    },
    Pass {
        ms: u16,
    },
    Terminate,
    FailNextSpawns(u8),
    /// From now on a start is told only after so many further steps, as of a program on a slow disk.
    SlowStarts(u8),
}

/// What a job says of itself.
#[derive(Clone, Copy, Debug)]
enum Saying {
    Ready,
    Reloading,
    Text,
    Alive,
    Watchdog(u16),
    Broken,
    Extend(u16),
    /// Another process of its tree is to be the main one, now or when the present one has ended.
    Main {
        which: u8,
        now: bool,
    },
}

fn sayings() -> impl Strategy<Value = Saying> {
    prop_oneof![
        3 => Just(Saying::Ready),
        1 => Just(Saying::Reloading),
        1 => Just(Saying::Text),
        3 => Just(Saying::Alive),
        2 => (0..900_u16).prop_map(Saying::Watchdog),
        1 => Just(Saying::Broken),
        1 => (0..900_u16).prop_map(Saying::Extend),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(which, now)| Saying::Main { which, now }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..4_u8;
    let step = prop_oneof![
        6 => (proptest::option::weighted(0.9, 0..4_u8), 0..6_u8, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(name, spec, until_end, fails)| Step::Start { name, spec, until_end, fails }),
        2 => name.clone().prop_map(Step::StartAgain),
        3 => name.clone().prop_map(Step::Stop),
        2 => name.clone().prop_map(Step::Restart),
        3 => name.clone().prop_map(Step::Remove),
        2 => (name.clone(), any::<bool>()).prop_map(|(id, kill)| Step::Signal(id, kill)),
        1 => (name.clone(), any::<bool>()).prop_map(|(id, ready)| Step::Await(id, ready)),
        4 => (name.clone(), sayings()).prop_map(|(id, saying)| Step::Say(id, saying)),
        1 => any::<u8>().prop_map(Step::Abandon),
        2 => any::<u8>().prop_map(Step::Fork),
        1 => any::<u8>().prop_map(Step::Stick),
        2 => any::<bool>().prop_map(|reuses| Step::Stranger { reuses }),
        4 => (name.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(name, which, until_end)| Step::Adopt { name, which, until_end }),
        2 => name.clone().prop_map(Step::Detach),
        6 => (any::<u8>(), 0..2_u8).prop_map(|(which, code)| Step::Exit { which, code }),
        4 => (0..2000_u16).prop_map(|ms| Step::Pass { ms }),
        1 => (1..3_u8).prop_map(Step::FailNextSpawns),
        2 => (0..5_u8).prop_map(Step::SlowStarts),
    ];
    prop::collection::vec(prop_oneof![60 => step, 1 => Just(Step::Terminate)], 1..120)
}

/// The kernel, as far as the table can tell.
struct World {
    table: Table,
    base: Instant,
    passed: Duration,
    /// Living processes: their group, and whether they ignore the polite signal.
    processes: BTreeMap<i32, Process>,
    leaders: BTreeMap<i32, JobId>,
    /// The group of each job's last run.
    trees: BTreeMap<JobId, i32>,
    heirs: BTreeMap<JobId, i32>,
    /// Ends of adopted processes that the table has not been told of: nobody reaps them for init.
    unseen: VecDeque<i32>,
    /// Numbers of processes that have ended.
    free: BTreeSet<i32>,
    /// The jobs that have stored descriptors, and under which spec.
    stores: BTreeMap<JobId, Arc<Spec>>,
    next_pid: i32,
    last_group: i32,
    next_ticket: u64,
    open: BTreeSet<Ticket>,
    answered: BTreeSet<Ticket>,
    failing_spawns: u8,
    slowness: u8,
    /// Starts that the table has not been told of, and the steps until then.
    on_their_way: Vec<(u8, Event)>,
    changes: u64,
    end: Option<u8>,
}

#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that the world knows")]
struct Process {
    group: i32,
    stubborn: bool,
    stuck: bool,
    /// Somebody else's child: init is told of its end later.
    foreign: bool,
    /// It dies as soon as it can.
    killed: bool,
}

impl World {
    fn new(boot_exit: BootExit) -> Self {
        let max_specs = usize::MAX / 2;
        let rules = Rules {
            max_jobs: MAX_JOBS,
            max_specs,
            boot_exit,
            grace: Duration::from_secs(5),
            seed: 7,
        };
        Self {
            table: Table::new(rules),
            base: Instant::now(),
            passed: Duration::ZERO,
            processes: BTreeMap::new(),
            leaders: BTreeMap::new(),
            trees: BTreeMap::new(),
            heirs: BTreeMap::new(),
            unseen: VecDeque::new(),
            free: BTreeSet::new(),
            stores: BTreeMap::new(),
            next_pid: 100,
            last_group: 0,
            next_ticket: 0,
            open: BTreeSet::new(),
            answered: BTreeSet::new(),
            failing_spawns: 0,
            slowness: 0,
            on_their_way: Vec::new(),
            changes: 0,
            end: None,
        }
    }

    fn now(&self) -> Moment {
        Moment { mono: self.base + self.passed, wall: SystemTime::UNIX_EPOCH + self.passed }
    }

    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.table.step(self.now(), event) {
                self.perform(effect, &mut events);
            }
        }
        self.check();
    }

    fn spawn(&mut self, id: JobId, spec: &Arc<Spec>, events: &mut VecDeque<Event>) {
        assert!(self.end.is_none(), "a spawn after the end");
        if let Some(stored) = self.stores.get(&id)
            && !self.table.is_another(&id)
        {
            assert_eq!(stored, spec, "what was stored is for the same spec only");
        }
        if self.failing_spawns > 0 {
            self.failing_spawns -= 1;
            let fault =
                Fault { exec: "x".into(), stage: Stage::Exec, errno: Errno::ENOENT, snag: None };
            return self.tell(Event::SpawnFailed(id, fault), events);
        }
        // A number that the table still knows is the one that a start may get.
        let pid = self.unseen.front().copied().filter(|pid| self.free.remove(pid));
        let pid = pid.unwrap_or_else(|| self.new_pid());
        let stubborn = spec.wire().unwrap().args == ["stubborn"];
        assert!(!self.trees.contains_key(&id) || self.members(&id).is_empty(), "two runs");
        let group = self.new_group();
        self.processes
            .insert(pid, Process { group, stubborn, stuck: false, foreign: false, killed: false });
        self.tell(Event::Spawned(id, Pid::new(pid).unwrap(), self.now()), events);
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Spawn(id, spec) => self.spawn(id, &spec, events),
            Effect::Adopt(id, spec) => {
                assert!(self.end.is_none(), "an adoption after the end");
                self.adopt(id, &spec, events);
            }
            Effect::LetGo(id, pid, _) => self.let_go(&id, pid.as_raw()),
            Effect::Signal(pid, signal, ticket) => {
                assert!(
                    self.processes.contains_key(&pid.as_raw())
                        || self.unseen.contains(&pid.as_raw())
                        || signal == Signal::CONT,
                    "a signal to a stranger"
                );
                // The rim has a handle: whoever has the number now is not meant.
                if !self.unseen.contains(&pid.as_raw()) {
                    self.hit(pid.as_raw(), signal, events);
                }
                if let Some(ticket) = ticket {
                    self.answer(ticket);
                }
            }
            Effect::SignalGroup(leader, signal) => {
                let of_leader = self.processes.get(&leader.as_raw()).map(|leader| leader.group);
                let of_group = |(pid, process): (&i32, &Process)| {
                    (Some(process.group) == of_leader).then_some(*pid)
                };
                let group: Vec<_> = self.processes.iter().filter_map(of_group).collect();
                for pid in group {
                    self.hit(pid, signal, events);
                }
            }
            Effect::SignalTree(id, signal) => {
                for pid in self.members(&id) {
                    self.hit(pid, signal, events);
                }
            }
            Effect::Probe(id) => {
                let heir = self.heirs.remove(&id).filter(|heir| self.members(&id).contains(heir));
                let is_leaving =
                    self.table.info(&id).is_some_and(|job| job.status != Status::Stopping);
                if let Some(heir) = heir.filter(|_| is_leaving) {
                    self.leaders.insert(heir, id.clone());
                }
                events.push_back(self.look(id, heir));
            }
            Effect::Look(id) => events.push_back(self.look(id, None)),
            Effect::KillTree(id) => {
                events.push_back(self.look(id.clone(), None));
                for pid in self.members(&id) {
                    self.hit(pid, Signal::KILL, events);
                }
            }
            Effect::Reply(ticket, reply) => {
                if let Reply::Created(job) | Reply::Job(job) = &reply {
                    assert!(job.pid.is_none_or(|pid| pid > 1));
                }
                self.answer(ticket);
            }
            Effect::Changed(_, seq) | Effect::Gone(_, seq) => {
                self.changes += 1;
                assert_eq!(seq, self.changes, "changes are numbered without a gap");
            }
            Effect::ReleaseListeners => {}
            Effect::ReleaseStore(id) => drop(self.stores.remove(&id)),
            Effect::End(_, code) => {
                assert!(self.end.replace(code).is_none(), "two ends");
                let is_stuck = |pid| self.processes.get(pid).is_some_and(|process| process.stuck);
                assert!(
                    self.leaders.keys().all(is_stuck),
                    "the end with jobs alive: {:?} {:?} {:?}",
                    self.leaders,
                    self.unseen,
                    self.processes.keys()
                );
                assert!(self.on_their_way.is_empty(), "the end with jobs on their way");
            }
        }
    }

    fn new_pid(&mut self) -> i32 {
        self.next_pid += 1;
        self.next_pid - 1
    }

    /// Names a group for ever, as a number alone does not.
    fn new_group(&mut self) -> i32 {
        self.last_group += 1;
        self.last_group
    }

    /// Its group goes on, and is no job's.
    fn let_go(&mut self, id: &JobId, pid: i32) {
        assert_eq!(self.leaders.remove(&pid).as_ref(), Some(id), "whom it lets go of");
        self.trees.remove(id);
        self.heirs.remove(id);
        if let Some(process) = self.processes.get(&pid) {
            assert!(!process.killed || process.stuck, "let go of, and killed");
        }
        self.unseen.retain(|unseen| *unseen != pid);
    }

    /// What the rim makes of an adoption: it refuses whom it does not find, and jobs' processes.
    fn adopt(&mut self, id: JobId, spec: &Arc<Spec>, events: &mut VecDeque<Event>) {
        let pid = spec.adoption.as_ref().unwrap().pid;
        let group = self.processes.get(&pid).map(|process| process.group);
        let owner = self.trees.iter().find(|(_, tree)| Some(**tree) == group);
        let event = match (group, owner) {
            (None, _) => Event::NotAdopted(id, NotAdoptable::NoSuchProcess(pid)),
            (Some(_), Some((job, _))) => {
                Event::NotAdopted(id, NotAdoptable::OfJob { pid, job: job.clone() })
            }
            (Some(_), None) => {
                // What is read of it makes the spec longer.
                let mut wire = spec.wire().unwrap();
                wire.args = vec!["read".into()];
                let mut read = Spec::check(&wire, &Accounts::default(), (0, 0)).unwrap();
                read.adoption.clone_from(&spec.adoption);
                Event::Adopted(id, Pid::new(pid).unwrap(), self.now(), Arc::new(read))
            }
        };
        self.tell(event, events);
    }

    /// Tells the table of a start, now or later.
    fn tell(&mut self, event: Event, events: &mut VecDeque<Event>) {
        match self.slowness {
            0 => {
                self.give_birth(&event);
                events.push_back(event);
            }
            steps => self.on_their_way.push((steps, event)),
        }
    }

    fn give_birth(&mut self, event: &Event) {
        if let Event::Spawned(id, pid, _) | Event::Adopted(id, pid, ..) = event {
            // Who had the number, and was not init's, has ended: the rim tells no more of him.
            self.unseen.retain(|unseen| *unseen != pid.as_raw());
            self.leaders.insert(pid.as_raw(), id.clone());
            let group = self.processes.get(&pid.as_raw()).map_or(0, |process| process.group);
            self.trees.insert(id.clone(), group);
            self.heirs.remove(id);
        }
    }

    fn is_on_its_way(&self, id: &str) -> bool {
        self.on_their_way.iter().any(|(_, event)| {
            matches!(
                event,
                Event::Spawned(job, ..)
                | Event::SpawnFailed(job, _)
                | Event::Adopted(job, ..)
                | Event::NotAdopted(job, _) if job.as_str() == id
            )
        })
    }

    /// Tells of starts whose time has come.
    fn let_births_happen(&mut self) {
        self.on_their_way.iter_mut().for_each(|(steps, _)| *steps = steps.saturating_sub(1));
        while let Some(at) = self.on_their_way.iter().position(|(steps, _)| *steps == 0) {
            let (_, event) = self.on_their_way.remove(at);
            let event = self.look_once_more(event);
            self.give_birth(&event);
            self.feed(event);
        }
    }

    /// As the rim does: who has ended since, or is another job's by now, is not taken over.
    fn look_once_more(&self, event: Event) -> Event {
        let Event::Adopted(id, pid, ..) = &event else { return event };
        let (id, pid) = (id.clone(), pid.as_raw());
        let Some(process) = self.processes.get(&pid) else {
            return Event::NotAdopted(id, NotAdoptable::NoSuchProcess(pid));
        };
        match self.trees.iter().find(|(_, group)| **group == process.group) {
            Some((job, _)) => Event::NotAdopted(id, NotAdoptable::OfJob { pid, job: job.clone() }),
            None => event,
        }
    }

    /// As the rim does: that a process runs is told before that it has ended or says something.
    fn born_first(&mut self, pid: i32) {
        let is_it =
            |event: &Event| matches!(event, Event::Spawned(_, born, _) if born.as_raw() == pid);
        if let Some(at) = self.on_their_way.iter().position(|(_, event)| is_it(event)) {
            let (_, event) = self.on_their_way.remove(at);
            self.give_birth(&event);
            self.feed(event);
        }
    }

    fn hit(&mut self, pid: i32, signal: Signal, events: &mut VecDeque<Event>) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let is_ours = self.trees.values().any(|group| *group == process.group);
        assert!(is_ours, "a signal to somebody who is no job's: {pid}");
        process.killed |= signal == Signal::KILL;
        if signal == Signal::CONT || process.stuck {
            return;
        }
        if signal == Signal::KILL || !process.stubborn {
            let number = if signal == Signal::KILL { 9 } else { 15 };
            events.extend(self.bury(pid, Exit::Signal(number)));
            events.push_back(Event::OrphansReaped);
        }
    }

    /// A process ends. Of somebody else's, init is told later.
    fn bury(&mut self, pid: i32, exit: Exit) -> Option<Event> {
        let process = self.processes.remove(&pid)?;
        let leads = self.leaders.contains_key(&pid);
        if process.foreign && leads {
            self.unseen.push_back(pid);
            self.free.insert(pid);
            return None;
        }
        self.leaders.remove(&pid);
        self.free.insert(pid);
        Some(Event::Reaped(Pid::new(pid).unwrap(), exit))
    }

    /// Tells of the end of those who were not init's.
    fn see_ends(&mut self) {
        while let Some(pid) = self.unseen.pop_front() {
            self.leaders.remove(&pid);
            self.feed(Event::Reaped(Pid::new(pid).unwrap(), Exit::Unknown));
        }
    }

    fn look(&mut self, id: JobId, heir: Option<i32>) -> Event {
        let tree = if self.members(&id).is_empty() {
            // Its number may be another's from now on.
            self.trees.remove(&id);
            Tree::Empty { oom: false }
        } else {
            Tree::Left { heir: heir.and_then(Pid::new) }
        };
        Event::Tree(id, tree)
    }

    fn members(&self, id: &JobId) -> Vec<i32> {
        let group = self.trees.get(id);
        let all = self.processes.iter().filter(|(_, process)| Some(&process.group) == group);
        all.map(|(pid, _)| *pid).collect()
    }

    /// What the rim makes of a datagram of the job's.
    fn say(&mut self, id: JobId, saying: Saying) {
        let ms = |ms: u16| Duration::from_millis(ms.into());
        if self.leaders.values().any(|job| *job == id)
            && !self.is_on_its_way(id.as_str())
            && let Some(spec) = self.table.spec(&id).filter(|spec| spec.store_max > 0)
        {
            self.stores.insert(id.clone(), Arc::clone(spec));
        }
        let notice = match saying {
            Saying::Ready => Notice::Ready,
            Saying::Reloading => Notice::Reloading,
            Saying::Text => Notice::Text("up".into()),
            Saying::Alive => Notice::Alive,
            Saying::Watchdog(limit) => Notice::Watchdog(ms(limit)),
            Saying::Broken => Notice::Broken,
            Saying::Extend(more) => Notice::Extend(ms(more)),
            Saying::Main { which, now } => {
                let Some(pid) = pick(&self.members(&id).into_iter().collect(), which) else {
                    return;
                };
                if !now {
                    self.heirs.insert(id, pid);
                    return;
                }
                let status = self.table.info(&id).map(|job| job.status);
                if matches!(status, Some(Status::Running | Status::Starting)) {
                    self.leaders.retain(|_, job| *job != id);
                    self.leaders.insert(pid, id.clone());
                }
                Notice::Main(Pid::new(pid).unwrap())
            }
        };
        self.feed(Event::Says(id, notice));
    }

    fn answer(&mut self, ticket: Ticket) {
        assert!(self.answered.insert(ticket), "{ticket:?} is answered twice");
        assert!(self.open.remove(&ticket), "{ticket:?} was not open");
    }

    fn ask(&mut self, command: Command) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.open.insert(ticket);
        self.feed(Event::Asked(ticket, command));
    }

    fn exit(&mut self, pid: i32, exit: Exit) {
        self.born_first(pid);
        if !self.processes.contains_key(&pid) {
            return;
        }
        if let Some(reaped) = self.bury(pid, exit) {
            self.feed(reaped);
        }
        self.feed(Event::OrphansReaped);
    }

    fn take(&mut self, step: Step) {
        self.let_births_happen();
        if self.end.is_some() {
            return;
        }
        match step {
            Step::Start { name, spec: number, until_end, fails } => {
                self.failing_spawns = u8::from(fails);
                let before = self.table.list().len();
                let (answered, next) = (self.answered.len(), self.next_pid);
                let until = if until_end { Until::Ended } else { Until::Ready };
                self.ask(Command::Start { id: name.map(id), spec: spec(number), until });
                let told = self.slowness == 0;
                if told && fails && self.failing_spawns == 0 && self.next_pid == next {
                    assert!(self.answered.len() > answered, "a failed start is told");
                    assert_eq!(before, self.table.list().len(), "and leaves no phantom");
                }
                self.failing_spawns = 0;
            }
            Step::StartAgain(name) => self.ask(Command::StartAgain(id(name))),
            Step::Stop(name) => self.ask(Command::Stop(id(name))),
            Step::Restart(name) => self.ask(Command::Restart(id(name))),
            Step::Remove(name) => self.ask(Command::Remove(id(name))),
            Step::Signal(name, kill) => {
                let signal = if kill { Signal::KILL } else { Signal::TERM };
                self.ask(Command::Signal(id(name), signal));
            }
            Step::Await(name, ready) => {
                let until = if ready { Until::Ready } else { Until::Ended };
                self.ask(Command::Await(id(name), until));
            }
            Step::Say(name, saying) => self.say(id(name), saying),
            Step::Abandon(which) => {
                if let Some(ticket) = pick(&self.open, which) {
                    self.open.remove(&ticket);
                    self.answered.insert(ticket);
                    self.feed(Event::Abandoned(ticket));
                }
            }
            Step::Fork(which) => {
                let parents: BTreeSet<_> = self.processes.keys().copied().collect();
                if let Some(parent) = pick(&parents, which) {
                    self.born_first(parent);
                    let Some(process) = self.processes.get(&parent).copied() else { return };
                    let pid = self.new_pid();
                    self.processes.insert(pid, process);
                }
            }
            Step::Stranger { reuses } => {
                let free: Vec<_> = self.free.iter().copied().collect();
                let free = free
                    .into_iter()
                    .find(|pid| reuses && !self.unseen.contains(pid) && self.free.remove(pid));
                let pid = free.unwrap_or_else(|| self.new_pid());
                let (group, stuck) = (self.new_group(), false);
                let process =
                    Process { group, stubborn: false, stuck, foreign: true, killed: false };
                self.processes.insert(pid, process);
            }
            Step::Adopt { name, which, until_end } => {
                let all: BTreeSet<_> = self.processes.keys().copied().collect();
                let pid = pick(&all, which).unwrap_or(99);
                let until = if until_end { Until::Ended } else { Until::Up };
                self.ask(Command::Start { id: Some(id(name)), spec: adopting(pid), until });
            }
            Step::Detach(name) => {
                self.ask(Command::Detach(id(name)));
            }
            Step::Stick(which) => {
                let all: BTreeSet<_> = self.processes.keys().copied().collect();
                if let Some(process) =
                    pick(&all, which).and_then(|pid| self.processes.get_mut(&pid))
                {
                    process.stuck = true;
                }
            }
            Step::Exit { which, code } => {
                let all: BTreeSet<_> = self.processes.keys().copied().collect();
                if let Some(pid) = pick(&all, which) {
                    self.exit(pid, Exit::Code(code));
                }
            }
            Step::Pass { ms } => self.pass(Duration::from_millis(ms.into())),
            Step::Terminate => self.feed(Event::Terminate(Ending::Exit)),
            Step::FailNextSpawns(count) => self.failing_spawns = count,
            Step::SlowStarts(steps) => self.slowness = steps,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
        self.see_ends();
        if self.end.is_some() {
            return;
        }
        // Starts are paced: a few ticks may be due at once, but not for ever.
        for _ in 0..100 {
            self.feed(Event::Tick);
            if self.end.is_some()
                || self.table.next_deadline().is_none_or(|at| at > self.now().mono)
            {
                return;
            }
        }
        panic!("a deadline that stays in the past is a busy loop");
    }

    fn check(&self) {
        let jobs = self.table.list();
        assert!(jobs.len() <= MAX_JOBS);
        let specs: usize = jobs.iter().map(|job| job.spec.0.size()).sum();
        if self.on_their_way.is_empty() {
            assert_eq!(self.table.specs(), specs, "what specs take is counted");
        }
        for job in &jobs {
            let own: Vec<_> = self.leaders.iter().filter(|(_, id)| id.as_str() == job.id).collect();
            assert!(own.len() <= 1, "{} has {} main processes", job.id, own.len());
            let pid = own.first().map(|(pid, _)| pid.unsigned_abs());
            assert_eq!(job.pid, pid, "the table knows the main process of {}", job.id);
            match job.status {
                Status::Starting if self.is_on_its_way(&job.id) => assert!(job.pid.is_none()),
                Status::Running | Status::Starting => assert!(job.pid.is_some()),
                Status::Success | Status::Failed | Status::Backoff => assert!(job.pid.is_none()),
                Status::Stopping => {}
            }
        }
        for id in self.leaders.values() {
            assert!(jobs.iter().any(|job| job.id == id.as_str()), "{id} runs without a job");
        }
        for (id, spec) in &self.stores {
            let is_its = |job: &init::job::View| job.id == id.as_str() && job.spec.0 == *spec;
            assert!(jobs.iter().any(is_its), "{id} has stored something and is not there");
        }
        let waits =
            |job: &init::job::View| matches!(job.status, Status::Stopping | Status::Backoff);
        if self.end.is_none() && self.table.next_deadline().is_none() {
            assert!(!jobs.iter().any(waits), "somebody waits for a deadline that is not set");
        }
    }

    /// Whatever happened, init ends when it is told to, and nobody is left without an answer.
    fn finish(&mut self) {
        self.processes.values_mut().for_each(|process| process.stuck = false);
        let dead = |(pid, process): (&i32, &Process)| process.killed.then_some(*pid);
        for pid in self.processes.iter().filter_map(dead).collect::<Vec<_>>() {
            self.exit(pid, Exit::Signal(9));
        }
        if self.end.is_some() {
            return;
        }
        self.feed(Event::Terminate(Ending::Exit));
        // The grace, the time for killing, and no more.
        for _ in 0..85 {
            if self.end.is_some() {
                break;
            }
            self.let_births_happen();
            if self.end.is_none() {
                self.pass(Duration::from_millis(100));
            }
        }
        assert!(self.end.is_some(), "init does not end: {:?}", self.table);
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
    }
}

fn pick<T: Copy>(all: &BTreeSet<T>, which: u8) -> Option<T> {
    all.iter().nth(usize::from(which) % all.len().max(1)).copied()
}

fn id(number: u8) -> JobId {
    JobId::parse(["a", "b", "c", "boot"][usize::from(number)]).unwrap()
}

fn spec(number: u8) -> Arc<Spec> {
    let mut wire = JobSpec::new("/bin/x");
    let policy = [Policy::Never, Policy::Always, Policy::OnFailure, Policy::Never];
    let policy = policy[usize::from(number % 4)];
    wire.restart =
        Restart { policy, delay_ms: u64::from(number % 2) * 300, limit: 5, ..Restart::default() };
    wire.stop.timeout_ms = 700;
    if number == 3 {
        wire.args.push("stubborn".into());
    }
    if number >= 4 {
        wire.ready = Ready::Notify;
        wire.watchdog_ms = Some(400);
        wire.fd_store_max = number.into();
    }
    Arc::new(Spec::check(&wire, &Accounts::default(), (0, 0)).unwrap())
}

fn adopting(pid: i32) -> Arc<Spec> {
    let mut wire = JobSpec::new("");
    wire.adopt = Some(pid.unsigned_abs());
    wire.restart = Restart {
        policy: [Policy::Always, Policy::Never][usize::from(pid % 2 == 0)],
        ..Restart::default()
    };
    wire.stop.timeout_ms = 700;
    Arc::new(Spec::check(&wire, &Accounts::default(), (0, 0)).unwrap())
}

fn rule() -> impl Strategy<Value = BootExit> {
    prop_oneof![
        Just(BootExit::End),
        Just(BootExit::Stay),
        Just(BootExit::Respawn),
        Just(BootExit::Shutdown)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_process_is_lost_and_every_request_is_answered(
        rule in rule(),
        boots in any::<bool>(),
        steps in steps(),
    ) {
        let mut world = World::new(rule);
        if boots {
            world.feed(Event::Boot(spec(0)));
        }
        for step in steps {
            if world.end.is_some() {
                break;
            }
            world.take(step);
        }
        if world.end.is_none() {
            world.finish();
        }
        // Who waits for what cannot end learns of init's end by that of his connection.
        let stuck = world.processes.values().any(|process| process.stuck);
        prop_assert!(world.open.is_empty() || stuck);
    }
}
