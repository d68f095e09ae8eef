//! From options, and what an earlier init has left, to a life.

use std::env;
use std::fs::File;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::socket::Backlog;
use nix::unistd::{chdir, getgid, getpid, getuid};
use tracing::{error, info, warn};

use super::alarm::Alarm;
use super::boot::boot_spec;
use super::life::Life;
use super::storm::Storm;
use super::survival::{self, Notes};
use super::{Init, access};
use crate::access::Access;
use crate::account::AccountError;
use crate::api::{self, Api, Handover};
use crate::door::Door;
use crate::event::Event;
use crate::forward::Forward;
use crate::inherit::{Inherited, Lost};
use crate::limits::{BACKLOG, MAX_CONNECTIONS, MAX_JOBS, MAX_SPECS};
use crate::machine::Watchdog;
use crate::notice::Ears;
use crate::options::{self, Options};
use crate::reactor::{Facts, Reactor};
use crate::renew::{self, Handed, State, Unreadable};
use crate::shutdown::BootExit;
use crate::signals::Signals;
use crate::spawn::Spawner;
use crate::spec::SpecError;
use crate::stranger::Strangers;
use crate::sys::crash::Crash;
use crate::table::{Rules, Table};
use crate::terminal::{Pause, Terminal};
use crate::token::TokenError;
use crate::{descriptor, log, machine, sys};

/// From then on init keeps no more of its own program mapped than what it uses.
const STARTED_UP: Duration = Duration::from_millis(300);

/// What an earlier init has left in this process.
pub struct Past {
    /// What it knew.
    pub state: Box<State>,
    /// The bytes of captured output.
    pub bytes: BufReader<File>,
    /// The file that both are of.
    pub file: OwnedFd,
    /// How it has crashed, if it has.
    pub crash: Option<Crash>,
}

impl Past {
    /// A descriptor more of the API's listener.
    #[must_use]
    pub fn listener(&self) -> Option<OwnedFd> {
        let listener = Inherited::new([self.state.listener]).claim(self.state.listener).ok()?;
        let same = listener.try_clone();
        // The first one is yet to be claimed.
        let _ = listener.into_raw_fd();
        same.ok()
    }

    /// Leaves out what is not true any more, and answers what to go on with if that fails, too. To be
    /// called before anything is opened.
    pub fn prepare(&mut self) -> Option<OwnedFd> {
        if self.crash.is_some() {
            self.state.leave_out_lost();
        }
        if self.crash.is_some_and(survival::is_suspect) {
            self.state.leave_out_suspects();
        }
        if self.crash.is_some_and(|crash| crash.is_older) {
            self.state.leave_out_latest();
            let files = [self.file.as_raw_fd(), self.bytes.get_ref().as_raw_fd()];
            sys::close_all_but(self.state.fds().into_iter().chain(files));
        }
        self.file.try_clone().ok()
    }
}

/// What is there of an earlier init in this process that is gone on without.
#[derive(Default)]
pub struct Remains {
    /// Where the API listens.
    listener: Option<OwnedFd>,
    /// The ends of jobs' pipes and terminals: closed, they would be the end of these jobs.
    streams: Vec<OwnedFd>,
    /// How often that has crashed.
    crashes: u32,
}

impl Remains {
    /// All that is worth keeping, when nobody uses any of it any more; the rest is closed.
    #[must_use]
    pub fn gather(listener: Option<OwnedFd>, crashes: u32) -> Self {
        let kept = listener.as_ref().map(AsRawFd::as_raw_fd).into_iter().chain(log::descriptor());
        let streams = sys::streams_but(&kept.collect::<Vec<_>>());
        Self { listener, streams, crashes }
    }
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
    /// Its own code has failed.
    #[error("a defect in init: it could not begin")]
    Defect,
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

impl Init {
    /// Listens, becomes the reaper of orphans, and starts `boot`.
    pub fn start(options: Options, in_vm: bool, remains: Remains) -> Result<Self, StartError> {
        Self::begin(options, in_vm, remains, None)
    }

    /// Goes on where another init has left off in this process: with its state, the bytes of which
    /// follow in the reader.
    pub fn resume(
        options: Options,
        in_vm: bool,
        (past, good): (Past, Option<OwnedFd>),
    ) -> Result<Self, StartError> {
        let state = &past.state;
        if state.pid != std::process::id() {
            return Err(Unreadable::Process(state.pid).into());
        }
        // What the options name is named from there.
        let _ = env::set_current_dir(&state.cwd);
        Self::begin(options, in_vm, Remains::default(), Some((past, good)))
    }

    fn begin(
        options: Options,
        in_vm: bool,
        remains: Remains,
        past: Option<(Past, Option<OwnedFd>)>,
    ) -> Result<Self, StartError> {
        let kernel = |what| move |source| StartError::Kernel { what, source };
        become_reaper().map_err(kernel("become the reaper of orphans"))?;
        if in_vm && past.is_none() {
            machine::bring_up_loopback();
        }
        let (past, good) = past.unzip();
        let crash = past.as_ref().and_then(|past| past.crash);
        let mut inherited = Inherited::new(past.iter().flat_map(|past| past.state.fds()));
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
        let listener = match &past {
            Some(Past { state, .. }) => Some(inherited.claim(state.listener)?),
            None => remains.listener,
        };
        let (listener, address) = match listener {
            Some(listener) => again(listener)?,
            None => listen_somewhere(options.listen, in_vm)?,
        };
        let facts = facts(&listener, past.as_ref().map(|past| past.state.as_ref()));
        if past.is_some() {
            survival::be_prepared(&facts, crash, good.flatten());
        }
        info!("listening on {address}");

        let rules = rules(&options, in_vm);
        let boot_exit = rules.boot_exit;
        let held = past.as_ref().and_then(|past| past.state.terminal);
        let terminal = held.map_or_else(Terminal::find, Terminal::again);
        let (ears, messages) = Ears::new();
        let (strangers, sights) = Strangers::new();
        let stdin = terminal.is_some().then_some(0);
        let spawner = match &past {
            Some(Past { state, .. }) => Spawner::restore(stdin, (state.oom, state.nofile)),
            None => Spawner::new(stdin, descriptor::raise_limit()),
        };
        let table = Table::new(rules);
        let mut reactor = Reactor::new(table, spawner, ears, strangers, in_vm, facts);
        let is_pid_1 = getpid().as_raw() == 1;
        let pause = Pause::new(terminal, !is_pid_1);
        let own = (getuid().as_raw(), getgid().as_raw());
        let (door, knocks) = Door::new();
        let access = access_of(&options, own.0, in_vm || past.is_some())?;
        let seats = MAX_CONNECTIONS.min(descriptor::keepable() / 2);
        let handover = Handover::default();
        let is_fresh = past.is_none();
        if let Some(past) = past {
            let taken = take_up(past, rules, &mut reactor, (&door, &handover), &mut inherited);
            if let Err(error) = taken {
                // What it holds would be closed otherwise, and be the end of jobs.
                std::mem::forget((reactor, inherited));
                return Err(error);
            }
        }
        reactor.keep_adrift(remains.streams);
        reactor.note_crashes(remains.crashes);
        drop(inherited);
        let (outputs, inputs) = reactor.streams();
        let (door_of_api, life) = (door.clone(), reactor.life());
        let handover_of_api = handover.clone();
        let api = Api { door: door_of_api, own, outputs, inputs, handover: handover_of_api, life };
        let api = Box::pin(api::serve(listener, api, access, seats));
        let has_boot = is_fresh && !options.command.is_empty();
        let boot = || boot_spec(&options, address, boot_exit, in_vm, own);
        let boot = has_boot.then(boot).transpose()?;
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
            notes: Notes::new(crash),
            thrift: Some(Instant::now() + STARTED_UP),
            in_a_row: 0,
            of_clients: 0,
            defects: 0,
            in_hand: None,
            is_prepared: !is_fresh,
        };
        Ok(Self { runtime, api, life })
    }
}

/// Whom the options let in. Where init has to go on, those whom it cannot find out about stay outside.
fn access_of(options: &Options, own: u32, goes_on: bool) -> Result<Access, StartError> {
    match access(options, own) {
        Err(error) if goes_on => {
            error!("{error}; nobody gets what it grants");
            Ok(Access { own, insists: options.insists, ..Access::default() })
        }
        access => access,
    }
}

fn become_reaper() -> io::Result<()> {
    if getpid().as_raw() != 1 {
        set_child_subreaper(true)?;
    }
    Ok(())
}

/// Goes on with what an earlier init has left.
fn take_up(
    past: Past,
    rules: Rules,
    reactor: &mut Reactor,
    (door, handover): (&Door, &Handover),
    inherited: &mut Inherited,
) -> Result<(), StartError> {
    let Past { mut state, mut bytes, crash, .. } = past;
    door.go_on_after(state.tickets);
    let mut signals = std::mem::take(&mut state.signals);
    // A second request to end would mean at once.
    let in_hand =
        state.in_hand.filter(|signal| *signal != libc::SIGTERM || !state.table.is_ending());
    signals.extend(in_hand.filter(|_| crash.is_some_and(|crash| crash.count == 1)));
    let handed = std::mem::take(&mut state.conversations);
    reactor.keep_replies(handed.iter().filter_map(Handed::ticket));
    for handed in handed {
        handover.hand(handed.claim(inherited)?);
    }
    reactor.resume(*state, rules, &mut bytes, inherited)?;
    if let Some(crash) = crash {
        survival::report(crash);
        reactor.recover_from_crash(survival::hold(crash));
        reactor.note_crashes(crash.count);
    }
    signals.into_iter().for_each(sys::raise);
    // Somebody may have ended while nobody looked.
    sys::raise(libc::SIGCHLD);
    Ok(())
}

fn facts(listener: &TcpListener, resumed: Option<&State>) -> Facts {
    let cwd = env::current_dir().unwrap_or_else(|_| "/".into());
    let program = resumed.map(|state| state.program.clone());
    let program = program.unwrap_or_else(|| renew::program(&cwd));
    Facts { listener: listener.as_raw_fd(), cwd, program, pid: std::process::id() }
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
fn again(listener: OwnedFd) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::from(listener);
    let kernel = |source| StartError::Kernel { what: "find its own address", source };
    let address = listener.local_addr().map_err(kernel)?;
    Ok((listener, address))
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

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |since| since.as_secs() ^ u64::from(since.subsec_nanos()))
}
