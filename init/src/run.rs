//! From options to the end: what init does in its life.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use init_wire::{JobSpec, Policy, Restart, SignalName, Stdio};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::socket::Backlog;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, getgid, getpid, getuid, setgroups};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tracing::{error, info, warn};

use crate::access::Access;
use crate::account::{AccountError, Accounts};
use crate::api::{self, Api, Handover, Phase};
use crate::detached::Spared;
use crate::door::{Door, Knock};
use crate::event::{Ending, Event};
use crate::forward::{Course, Forward};
use crate::inherit::{Inherited, Lost};
use crate::limits::{BACKLOG, MAX_CONNECTIONS, MAX_JOBS, MAX_SPECS, TROUBLE};
use crate::machine::Watchdog;
use crate::notice::{Ears, Message, QUEUE};
use crate::options::{self, Instead, Options};
use crate::reactor::{FINISHING, Facts, Reactor, Renewal, RenewalStage, SLOW_START};
use crate::renew::{self, Handed, State, Unreadable, become_program};
use crate::shutdown::BootExit;
use crate::signal::Signal;
use crate::signals::{self, Signals};
use crate::spawn::{DEFAULT_PATH, Spawner};
use crate::spec::{Boot, Spec, SpecError};
use crate::stranger::{Sight, Strangers};
use crate::table::{Rules, Table};
use crate::terminal::{Pause, Terminal};
use crate::token::{TokenError, Tokens};
use crate::{descriptor, machine, process, reaper, sys};

/// How long init waits at its own end for what it has killed to be gone.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// From then on init keeps no more of its own program mapped than what it uses.
const STARTED_UP: Duration = Duration::from_millis(300);
/// How long conversations that wait may take to be handed over.
const HANDING: Duration = Duration::from_millis(200);
/// How often init looks whether it can become another one.
const A_TICK: Duration = Duration::from_millis(1);

/// Turns of clients in a row, before everything else has one.
const TURNS_OF_CLIENTS: u32 = 16;
/// Turns before the connections get theirs, if there is always something to do.
const TURNS_IN_A_ROW: u32 = 8;

/// How often a full queue of messages is emptied before the dead are taken.
const LAST_QUEUES: u32 = 4;

/// How often the tasks of connections get their turn after the end; a few would do.
const LAST_TURNS: u32 = 32;

/// An init that listens and has started `boot`.
pub struct Init {
    runtime: Runtime,
    /// The task that serves the API.
    api: Pin<Box<dyn Future<Output = ()> + Send>>,
    life: Life,
}

/// What its events come from, and what handles them.
struct Life {
    reactor: Reactor,
    signals: Signals,
    knocks: mpsc::UnboundedReceiver<Knock>,
    messages: mpsc::Receiver<Message>,
    sights: mpsc::UnboundedReceiver<Sight>,
    alarm: Alarm,
    forward: Forward,
    pause: Pause,
    watchdog: Option<Watchdog>,
    door: Door,
    handover: Handover,
    storm: Storm,
    /// When what only a start needs is let go of.
    thrift: Option<Instant>,
    /// Turns since a client's, or since the connections had theirs.
    in_a_row: u32,
    /// Turns of clients since all else had one.
    of_clients: u32,
}

/// Why init could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API has no place to listen.
    #[error(
        "cannot listen on {address}: {source}; choose another address with --listen, or free it{}",
        if address.port() < 1024 { " (ports below 1024 need root)" } else { "" }
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The kernel refuses something that init cannot do without.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was asked for.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// What an earlier init has left cannot be gone on with.
    #[error("cannot go on where an earlier init has left off: {0}")]
    State(#[from] Unreadable),
    /// A token file that cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// A grant to a user that does not exist.
    #[error("--grant: {0}")]
    Grant(#[from] AccountError),
    /// The boot command cannot be a job.
    #[error("the boot command: {0}")]
    Boot(#[from] SpecError),
}

impl From<Lost> for StartError {
    fn from(lost: Lost) -> Self {
        Self::State(lost.into())
    }
}

/// What comes before everything: a process state that leaks nothing into children.
pub fn prepare() {
    // Only a wrong argument could make this fail.
    let _ = signals::block();
    descriptor::tidy_inherited();
    umask(Mode::from_bits_truncate(0o022));
    // Whoever may not do this is not root, and his groups are his children's anyway.
    let _ = setgroups(&[]);
}

/// The options from this process's command line and environment.
pub fn options(in_vm: bool) -> Result<Options, Instead> {
    options::parse(env::args_os().skip(1), env::var("INIT_LISTEN").ok(), in_vm, names_program)
}

/// Whether an init with these options could go on: they are known, and what they name is there.
pub fn try_options(in_vm: bool) -> Result<(), Box<dyn std::error::Error>> {
    let options = options(in_vm)?;
    if !in_vm {
        access(&options, getuid().as_raw())?;
    }
    Ok(())
}

fn names_program(word: &str) -> bool {
    let path = env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.into());
    let mut places = path.split(':').map(|folder| format!("{folder}/{word}"));
    let runs = |path: &str| {
        let may = nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
        may && std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
    };
    if word.contains('/') { runs(word) } else { places.any(|place| runs(&place)) }
}

impl Init {
    /// Listens, becomes the reaper of orphans, and starts `boot`.
    pub fn start(options: Options, in_vm: bool) -> Result<Self, StartError> {
        Self::begin(options, in_vm, None)
    }

    /// Goes on where another init has left off in this process: with its state, the bytes of which
    /// follow in the reader.
    pub fn resume(
        options: Options,
        in_vm: bool,
        (state, bytes): (State, BufReader<File>),
    ) -> Result<Self, StartError> {
        if state.pid != std::process::id() {
            return Err(Unreadable::Process(state.pid).into());
        }
        // What the options name is named from there.
        let _ = env::set_current_dir(&state.cwd);
        Self::begin(options, in_vm, Some((Box::new(state), bytes)))
    }

    fn begin(
        options: Options,
        in_vm: bool,
        resumed: Option<(Box<State>, BufReader<File>)>,
    ) -> Result<Self, StartError> {
        let kernel = |what| move |source| StartError::Kernel { what, source };
        if getpid().as_raw() != 1 {
            let set = set_child_subreaper(true).map_err(io::Error::from);
            set.map_err(kernel("become the reaper of orphans"))?;
        }
        if in_vm && resumed.is_none() {
            machine::bring_up_loopback();
        }
        let fds = resumed.as_ref().map(|(state, _)| state.fds()).unwrap_or_default();
        let mut inherited = Inherited::new(fds);
        for skipped in &options.skipped {
            warn!("of the kernel's command line: {skipped}");
        }
        sys::memory::is_enough();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(kernel("start the event loop"))?;
        let entered = runtime.enter();
        let signals = Signals::open().map_err(kernel("read signals"))?;
        let (listener, address) = match &resumed {
            Some((state, _)) => again(&mut inherited, state.listener)?,
            None => listen_somewhere(options.listen, in_vm)?,
        };
        info!("listening on {address}");

        let rules = rules(&options, in_vm);
        let boot_exit = rules.boot_exit;
        let held = resumed.as_ref().and_then(|(state, _)| state.terminal);
        let terminal = held.map_or_else(Terminal::find, Terminal::again);
        let (ears, messages) = Ears::new();
        let (strangers, sights) = Strangers::new();
        let stdin = terminal.is_some().then_some(0);
        let spawner = match &resumed {
            Some((state, _)) => Spawner::restore(stdin, (state.oom, state.nofile)),
            None => Spawner::new(stdin, descriptor::raise_limit()),
        };
        let facts = facts(&listener, resumed.as_ref().map(|(state, _)| state.as_ref()));
        let table = Table::new(rules);
        let mut reactor = Reactor::new(table, spawner, ears, strangers, in_vm, facts);
        let is_pid_1 = getpid().as_raw() == 1;
        let pause = Pause::new(terminal, !is_pid_1);
        let own = (getuid().as_raw(), getgid().as_raw());
        let (door, knocks) = Door::new();
        let access = match access(&options, own.0) {
            // Whom it would have let in stays outside; the machine comes up, and the jobs go on.
            Err(error) if in_vm || resumed.is_some() => {
                error!("{error}; nobody gets what it grants");
                Access { own: own.0, insists: options.insists, ..Access::default() }
            }
            access => access?,
        };
        let seats = MAX_CONNECTIONS.min(descriptor::keepable() / 2);
        let handover = Handover::default();
        let is_fresh = resumed.is_none();
        if let Some((state, mut bytes)) = resumed {
            door.go_on_after(state.tickets);
            let mut state = *state;
            let handed = std::mem::take(&mut state.conversations);
            reactor.keep_replies(handed.iter().filter_map(Handed::ticket));
            for handed in handed {
                handover.hand(handed.claim(&mut inherited)?);
            }
            reactor.resume(state, rules, &mut bytes, &mut inherited)?;
            // Somebody may have ended while nobody looked.
            let _ = nix::sys::signal::raise(nix::sys::signal::SIGCHLD);
        }
        drop(inherited);
        let (outputs, inputs) = reactor.streams();
        let (door_of_api, life) = (door.clone(), reactor.life());
        let handover_of_api = handover.clone();
        let api = Api { door: door_of_api, own, outputs, inputs, handover: handover_of_api, life };
        let api = Box::pin(api::serve(listener, api, access, seats));
        let has_boot = is_fresh && !options.command.is_empty();
        let boot = has_boot.then(|| boot_spec(&options, address, boot_exit, in_vm, own));
        let boot = boot.transpose()?;
        // Where jobs start that do not say otherwise.
        chdir("/").map_err(io::Error::from).map_err(kernel("go to /"))?;
        if let Some(spec) = boot {
            reactor.handle(Event::Boot(Arc::new(spec)));
        }
        let alarm = Alarm::new();
        drop(entered);
        let forward = Forward { rewrites: options.rewrites, in_vm, may_suspend: !is_pid_1 };
        let watchdog = options.watchdog.filter(|_| in_vm).map(Watchdog::new);
        let life = Life {
            reactor,
            signals,
            knocks,
            messages,
            sights,
            alarm,
            forward,
            pause,
            watchdog,
            door,
            handover,
            storm: Storm::default(),
            thrift: Some(Instant::now() + STARTED_UP),
            in_a_row: 0,
            of_clients: 0,
        };
        Ok(Self { runtime, api, life })
    }

    /// Serves until the end. In a VM the machine ends with it and this does not return.
    pub fn run(self) -> ExitCode {
        let Self { runtime, api, mut life } = self;
        let in_vm = life.forward.in_vm;
        let served = runtime.block_on(async move {
            tokio::spawn(api);
            // A task like the connections are, so that they wake each other without a system call.
            let life = tokio::spawn(async move {
                let end = life.live().await;
                if life.reactor.was_asked() {
                    // The last answers are with the connections' tasks: let these write them.
                    for _ in 0..LAST_TURNS {
                        tokio::task::yield_now().await;
                    }
                }
                (end, life.watchdog, life.reactor.spared())
            });
            life.await
        });
        let lost = |_| ((Ending::Exit, 1), None, Spared::default());
        let ((ending, code), watchdog, spared) = served.unwrap_or_else(lost);
        drop(runtime);
        let watchdog = watchdog.map(Watchdog::last);
        bury_the_rest(&spared);
        if in_vm {
            machine::end(ending, watchdog);
        }
        ExitCode::from(code)
    }
}

impl Life {
    /// Handles events until the end, and answers what becomes of the machine, and the exit code.
    async fn live(&mut self) -> (Ending, u8) {
        loop {
            let end = self.reactor.end();
            if end.is_some() || self.reactor.boot().is_none() {
                self.pause.take_back();
            }
            if let Some(end) = end {
                return end;
            }
            if self.reactor.renewal.is_some() {
                self.go_on_renewing().await;
            }
            self.turn().await;
        }
    }

    /// Goes on with becoming another init, as far as that goes now. Does not return when it is done.
    async fn go_on_renewing(&mut self) {
        self.reactor.look_at_renewal();
        let Some(Renewal { stage: RenewalStage::Finishing { by }, .. }) = &self.reactor.renewal
        else {
            return;
        };
        let is_late = *by <= Instant::now();
        if *self.handover.phase().borrow() == Phase::None {
            self.handover.enter(Phase::Finish);
        }
        let is_overdue = *by + FINISHING <= Instant::now();
        let all_wait = self.handover.open() == self.handover.waiting();
        let is_handled = self.knocks.is_empty() && self.signals.is_empty();
        if !self.reactor.is_starting() && is_handled && (all_wait || is_late) {
            self.renew().await;
        } else if is_overdue {
            self.stay(SLOW_START.into());
        }
    }

    /// Hands over the conversations that wait for jobs, to which nothing happens meanwhile, and becomes
    /// the new init. Whoever is still in the middle of something then is cut off.
    async fn renew(&mut self) {
        let Some(program) = self.reactor.renewal.as_ref().map(|renewal| renewal.program.clone())
        else {
            return;
        };
        for _ in 0..LAST_TURNS {
            // Who has just come, or has just been answered, has a turn; and so has what jobs have said.
            self.hear_last_words().await;
        }
        let is_calm = self.knocks.is_empty() && self.signals.is_empty();
        if !is_calm || self.reactor.is_starting() {
            return;
        }
        self.handover.enter(Phase::Now);
        let by = Instant::now() + HANDING;
        while self.handover.open() > 0 && Instant::now() < by {
            let _ = tokio::time::timeout(A_TICK, self.handover.changed()).await;
        }
        let cut_off = self.handover.open();
        if cut_off > 0 {
            warn!("{cut_off} API connections were in the middle of something, and are cut off");
        }
        let conversations = self.handover.take();
        // What is answered from now on, nobody is there to hear.
        let pending = conversations.iter().filter_map(|back| back.pending?.ticket);
        self.reactor.keep_replies(pending);
        while let Ok(knock) = self.knocks.try_recv() {
            self.handle(Happened::Knock(knock));
        }
        for _ in 0..LAST_TURNS {
            self.hear_last_words().await;
        }
        let handed = conversations.iter().map(Handed::of).collect();
        let terminal = self.pause.is_held();
        let state = self.reactor.save(handed, self.door.last_ticket(), terminal);
        let error = match self.reactor.write(&state) {
            Ok(file) => become_program(&program, &state, &file),
            Err(error) => error,
        };
        for back in conversations {
            self.handover.hand(back);
        }
        let program = program.to_string_lossy().into_owned();
        self.stay(format!("init cannot become {program}: {error}"));
    }

    /// init stays what it is.
    fn stay(&mut self, why: String) {
        self.reactor.give_up_renewal(why);
        self.handover.enter(Phase::None);
    }

    /// Waits for one thing to happen and handles it. After a few that nobody has asked for, the
    /// connections get their turn, so that nobody is kept out. A panic in handling it is a defect,
    /// but not the end of PID 1: the jobs and the API are still there.
    async fn turn(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.tick();
        }
        if self.thrift.is_some_and(|at| at <= Instant::now()) {
            self.thrift = None;
            sys::memory::let_go_of_program();
        }
        let expects = self.reactor.expects();
        let next_word = self.watchdog.as_ref().map(Watchdog::deadline);
        let rest = self.storm.rest();
        // Conversations end without telling this task.
        let renewing = self.reactor.renewal.is_some().then(|| Instant::now() + A_TICK);
        let deadlines = [self.reactor.next_deadline(), next_word, rest, renewing, self.thrift];
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
            () = self.alarm.until(deadline) => Happened::Deadline,
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
    fn handle(&mut self, happened: Happened) {
        if catch_unwind(AssertUnwindSafe(|| self.try_to_handle(happened))).is_err() {
            error!("a defect in init: an event could not be handled; init goes on");
        }
    }

    fn try_to_handle(&mut self, happened: Happened) {
        match happened {
            Happened::Signal(libc::SIGCHLD) => self.reap(),
            Happened::Signal(number) => {
                on_signal(&mut self.reactor, number, &self.forward, &mut self.pause);
            }
            Happened::Knock(knock) => self.reactor.answer(knock),
            Happened::Message(message) => self.reactor.hear(message),
            Happened::Sight(sight) => self.reactor.see(sight),
            Happened::Deadline => self.reactor.handle(Event::Tick),
            Happened::Nothing => self.reactor.wait_for_births(),
            Happened::Turn => {}
        }
    }

    /// What the dead have said before they died, as far as it has been read; the reaper asks for the
    /// rest. Where the queue was full, somebody may still have a message in hand.
    async fn hear_last_words(&mut self) {
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

/// Takes orphans that end one after the other, as fast as they come, a few at once: being woken for
/// each costs more than taking it.
#[derive(Default)]
struct Storm {
    /// Turns in a row that have found orphans only.
    turns: u32,
    last: Option<Instant>,
    rest: Option<Instant>,
}

impl Storm {
    /// Turns in a row that make a storm.
    const MANY: u32 = 16;
    /// Orphans wait so long then. So do signals, and jobs that end meanwhile.
    const REST: Duration = Duration::from_millis(1);

    /// Notes a turn.
    fn note(&mut self, turn: &reaper::Turn) {
        let now = Instant::now();
        let last = self.last.replace(now).filter(|last| now < *last + Self::REST);
        let goes_on = turn.orphans > 1 || turn.orphans == 1 && last.is_some();
        self.turns = if goes_on && turn.ours == 0 { self.turns.saturating_add(1) } else { 0 };
        self.rest = (self.turns >= Self::MANY && !turn.more).then(|| now + Self::REST);
    }

    /// Until when nobody is to be taken.
    fn rest(&self) -> Option<Instant> {
        self.rest.filter(|until| *until > Instant::now())
    }
}

enum Happened {
    Signal(i32),
    Knock(Knock),
    Message(Message),
    Sight(Sight),
    Deadline,
    Nothing,
    Turn,
}

/// Wakes init at a deadline. Setting a timer of the runtime's costs more than an event that comes
/// for nothing, so one that has become too early is left as it is.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it will ring.
    set_to: Option<Instant>,
}

impl Alarm {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), set_to: None }
    }

    /// Returns at the deadline, or earlier.
    async fn until(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return std::future::pending().await };
        // The runtime's timers are good to a millisecond; what is due now is due now.
        if deadline <= Instant::now() {
            return;
        }
        if self.set_to.is_none_or(|at| at > deadline) {
            self.sleep.as_mut().reset(deadline.into());
            self.set_to = Some(deadline);
        }
        self.sleep.as_mut().await;
        self.set_to = None;
    }
}

fn facts(listener: &TcpListener, resumed: Option<&State>) -> Facts {
    let cwd = env::current_dir().unwrap_or_else(|_| "/".into());
    let program = resumed.map(|state| state.program.clone());
    let program = program.unwrap_or_else(|| renew::program(&cwd));
    Facts { listener: listener.as_raw_fd(), cwd, program }
}

fn rules(options: &Options, in_vm: bool) -> Rules {
    let boot_exit = options.boot_exit.unwrap_or(match (in_vm, options.command.is_empty()) {
        (true, _) => BootExit::Respawn,
        (false, true) => BootExit::Stay,
        (false, false) => BootExit::End,
    });
    let (max_jobs, max_specs) = (MAX_JOBS, MAX_SPECS);
    Rules { max_jobs, max_specs, boot_exit, grace: options.grace, seed: seed() }
}

/// The listener that an earlier process has had.
fn again(inherited: &mut Inherited, fd: RawFd) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::from(inherited.claim(fd)?);
    let kernel = |source| StartError::Kernel { what: "find its own address", source };
    let address = listener.local_addr().map_err(kernel)?;
    Ok((listener, address))
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

fn access(options: &Options, own: u32) -> Result<Access, StartError> {
    let tokens = options.token_file.as_deref().map(|path| Tokens::read(path, own)).transpose()?;
    let accounts = if options.grants.is_empty() { Accounts::default() } else { Accounts::read()? };
    let grants = options.grants.iter().map(|(user, right)| Ok((accounts.user_id(user)?, *right)));
    let grants = grants.collect::<Result<_, AccountError>>()?;
    let (tokens, insists) = (tokens.map(Arc::new), options.insists);
    Ok(Access { own, grants, tokens, insists, ..Access::default() })
}

/// On the address that is asked for; in a machine, which has to come up, else on the usual one, or
/// any.
fn listen_somewhere(
    asked: SocketAddr,
    in_vm: bool,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = match listen(asked) {
        Err(error) if in_vm => error,
        listening => return listening,
    };
    error!("{error}");
    let others = [options::DEFAULT_LISTEN, SocketAddr::from(([127, 0, 0, 1], 0))];
    others.into_iter().find_map(|address| listen(address).ok()).ok_or(error)
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        // The library's own queue is short: with it full, root would wait a second to be let in.
        nix::sys::socket::listen(&listener, Backlog::new(BACKLOG)?)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| StartError::Listen { address, source })
}

/// The job `boot`: init's own environment, directory and streams, and the address of the API.
/// What is not text is shown with a mark in its place, and handed on as it is.
fn boot_spec(
    options: &Options,
    api: SocketAddr,
    boot_exit: BootExit,
    in_vm: bool,
    own: (u32, u32),
) -> Result<Spec, StartError> {
    let cwd = env::current_dir().unwrap_or_else(|_| "/".into());
    let mut words = options.command.iter().cloned();
    let exec = words.next().unwrap_or_default();
    let exec = if exec.as_bytes().contains(&b'/') { cwd.join(exec).into() } else { exec };
    let args: Vec<OsString> = words.collect();
    let is_ours = |name: &OsString| name == "INIT_API" || name == "INIT_TOKEN_FILE";
    let mut envs: Vec<(OsString, OsString)> =
        env::vars_os().filter(|(name, _)| !is_ours(name)).collect();
    envs.push(("INIT_API".into(), api.to_string().into()));
    if let Some(path) = &options.token_file {
        envs.push(("INIT_TOKEN_FILE".into(), cwd.join(path).into()));
    }
    if in_vm && env::var_os("PATH").is_none() {
        // The kernel gives its first process none.
        envs.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    let shown = |text: &OsStr| text.to_string_lossy().into_owned();
    let mut wire = JobSpec::new(shown(&exec));
    wire.args = args.iter().map(|arg| shown(arg)).collect();
    wire.envs = envs
        .iter()
        .map(|(name, value)| (shown(name), shown(value)))
        .filter(|(name, _)| !name.is_empty() && !name.contains('='))
        .collect();
    wire.cwd = Some(shown(cwd.as_os_str()));
    wire.stdin = Stdio::Inherit;
    wire.stop.timeout_ms = u64::try_from(options.grace.as_millis()).unwrap_or(u64::MAX);
    if let Some(told) = options.rewrites.told(Signal::TERM).filter(|told| *told != Signal::TERM) {
        wire.stop.signal = SignalName::Name(told.to_string());
    }
    if boot_exit == BootExit::Respawn {
        wire.restart = Restart { policy: Policy::Always, delay_ms: 200, ..Restart::default() };
    }
    // None of these can hold a NUL: they come from the kernel as C strings.
    let raw = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let boot = Boot {
        args: args.iter().map(|arg| raw(arg)).collect(),
        envs: envs
            .iter()
            .map(|(name, value)| raw(&[name.as_os_str(), value].join(OsStr::new("="))))
            .collect(),
        cwd: raw(cwd.as_os_str()),
        as_group: options.signal_group,
    };
    Ok(Spec::check(&wire, &Accounts::default(), own)?.of_boot(boot))
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |since| since.as_secs() ^ u64::from(since.subsec_nanos()))
}

/// Nothing that init was responsible for outlives it, but what it has let go of.
fn bury_the_rest(spared: &Spared) {
    let by = Instant::now() + LAST_WAIT;
    let mut dead = 0_u32;
    // The kernel's list may miss somebody whose neighbour in it ends just then.
    let mut is_alone = false;
    while Instant::now() < by {
        match sys::wait_any() {
            Ok(Some(_)) => {
                dead = dead.wrapping_add(1);
                // Who forks without end would otherwise never be killed for all his dead.
                if dead.is_multiple_of(64) {
                    process::kill_what_is_left(spared);
                }
            }
            Ok(None) => {
                let was_alone = is_alone;
                is_alone = !process::kill_what_is_left(spared);
                if is_alone && was_alone && !spared.is_empty() {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
    warn!("some processes did not die by SIGKILL");
}
