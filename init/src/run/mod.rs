//! From options to the end: what init does in its life.

mod alarm;
mod boot;
mod life;
mod renewal;
mod storm;
mod survival;

use std::env;
use std::fs::File;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::socket::Backlog;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, getgid, getpid, getuid, setgroups};
use tokio::runtime::Runtime;
use tracing::{error, info, warn};

use self::alarm::Alarm;
use self::boot::boot_spec;
use self::life::{LAST_TURNS, Life};
use self::storm::Storm;
use self::survival::Notes;
pub use self::survival::pause;
use crate::access::Access;
use crate::account::{AccountError, Accounts};
use crate::api::{self, Api, Handover};
use crate::detached::Spared;
use crate::door::Door;
use crate::event::{Ending, Event};
use crate::forward::Forward;
use crate::inherit::{Inherited, Lost};
use crate::limits::{BACKLOG, MAX_CONNECTIONS, MAX_JOBS, MAX_SPECS};
use crate::machine::Watchdog;
use crate::notice::Ears;
use crate::options::{self, Instead, Options};
use crate::reactor::{Facts, Reactor};
use crate::renew::{self, Handed, State, Unreadable};
use crate::shutdown::BootExit;
use crate::signals::{self, Signals};
use crate::spawn::{DEFAULT_PATH, Spawner};
use crate::spec::SpecError;
use crate::stranger::Strangers;
use crate::sys::crash::{Crash, Subject};
use crate::table::{Rules, Table};
use crate::terminal::{Pause, Terminal};
use crate::token::{TokenError, Tokens};
use crate::{descriptor, machine, process, sys};

/// How long init waits at its own end for what it has killed to be gone.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// From then on init keeps no more of its own program mapped than what it uses.
const STARTED_UP: Duration = Duration::from_millis(300);
/// An init that listens and has started `boot`.
pub struct Init {
    runtime: Runtime,
    /// The task that serves the API.
    api: Pin<Box<dyn Future<Output = ()> + Send>>,
    life: Life,
}

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
    /// Leaves out what is not true any more, and answers what to go on with if that fails, too. To be
    /// called before anything is opened.
    fn prepare(&mut self) -> Option<OwnedFd> {
        if self.crash.is_some_and(|crash| crash.is_older) {
            self.state.leave_out();
            let files = [self.file.as_raw_fd(), self.bytes.get_ref().as_raw_fd()];
            sys::close_all_but(self.state.fds().into_iter().chain(files));
        }
        self.file.try_clone().ok()
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
    /// Listens, becomes the reaper of orphans, and starts `boot`. With a listener of an earlier init,
    /// that is the one.
    pub fn start(
        options: Options,
        in_vm: bool,
        listener: Option<OwnedFd>,
    ) -> Result<Self, StartError> {
        Self::begin(options, in_vm, listener, None)
    }

    /// Goes on where another init has left off in this process: with its state, the bytes of which
    /// follow in the reader.
    pub fn resume(options: Options, in_vm: bool, past: Past) -> Result<Self, StartError> {
        let state = &past.state;
        if state.pid != std::process::id() {
            return Err(Unreadable::Process(state.pid).into());
        }
        // What the options name is named from there.
        let _ = env::set_current_dir(&state.cwd);
        Self::begin(options, in_vm, None, Some(past))
    }

    fn begin(
        options: Options,
        in_vm: bool,
        listener: Option<OwnedFd>,
        mut past: Option<Past>,
    ) -> Result<Self, StartError> {
        let kernel = |what| move |source| StartError::Kernel { what, source };
        if getpid().as_raw() != 1 {
            let set = set_child_subreaper(true).map_err(io::Error::from);
            set.map_err(kernel("become the reaper of orphans"))?;
        }
        if in_vm && past.is_none() {
            machine::bring_up_loopback();
        }
        let crash = past.as_ref().and_then(|past| past.crash);
        let good = past.as_mut().and_then(Past::prepare);
        let fds = past.as_ref().map(|past| past.state.fds()).unwrap_or_default();
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
        let listener = match &past {
            Some(Past { state, .. }) => Some(inherited.claim(state.listener)?),
            None => listener,
        };
        let (listener, address) = match listener {
            Some(listener) => again(listener)?,
            None => listen_somewhere(options.listen, in_vm)?,
        };
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
        let facts = facts(&listener, past.as_ref().map(|past| past.state.as_ref()));
        let table = Table::new(rules);
        let mut reactor = Reactor::new(table, spawner, ears, strangers, in_vm, facts);
        survival::be_prepared(&reactor, crash, good);
        let is_pid_1 = getpid().as_raw() == 1;
        let pause = Pause::new(terminal, !is_pid_1);
        let own = (getuid().as_raw(), getgid().as_raw());
        let (door, knocks) = Door::new();
        let access = match access(&options, own.0) {
            // Whom it would have let in stays outside; the machine comes up, and the jobs go on.
            Err(error) if in_vm || past.is_some() => {
                error!("{error}; nobody gets what it grants");
                Access { own: own.0, insists: options.insists, ..Access::default() }
            }
            access => access?,
        };
        let seats = MAX_CONNECTIONS.min(descriptor::keepable() / 2);
        let handover = Handover::default();
        let is_fresh = past.is_none();
        if let Some(Past { state, mut bytes, .. }) = past {
            door.go_on_after(state.tickets);
            let mut state = *state;
            let signals = std::mem::take(&mut state.signals);
            let handed = std::mem::take(&mut state.conversations);
            reactor.keep_replies(handed.iter().filter_map(Handed::ticket));
            for handed in handed {
                handover.hand(handed.claim(&mut inherited)?);
            }
            reactor.resume(state, rules, &mut bytes, &mut inherited)?;
            if let Some(crash) = crash {
                survival::report(crash);
                reactor.recover_from_crash(survival::hold(crash));
            }
            signals.into_iter().for_each(sys::raise);
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
            notes: Notes::new(crash),
            thrift: Some(Instant::now() + STARTED_UP),
            in_a_row: 0,
            of_clients: 0,
        };
        Ok(Self { runtime, api, life })
    }

    /// Serves until the end. In a VM the machine ends with it and this does not return.
    pub fn run(self) -> ExitCode {
        let Self { runtime, api, life } = self;
        let in_vm = life.forward.in_vm;
        let served = runtime.block_on(async move {
            tokio::spawn(async move {
                if AssertUnwindSafe(api).catch_unwind().await.is_err() {
                    // Nobody could reach init any more; the next life can be.
                    std::process::abort();
                }
            });
            // A task like the connections are, so that they wake each other without a system call.
            let life = tokio::spawn(async move {
                let mut subject = Subject::new(life);
                let life = subject.value();
                let end = life.live().await;
                if life.reactor.was_asked() {
                    // The last answers are with the connections' tasks: let these write them.
                    for _ in 0..LAST_TURNS {
                        tokio::task::yield_now().await;
                    }
                }
                (end, life.watchdog.take(), life.reactor.spared())
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
