//! The process: listeners, workers, the control thread, and the way out.
//!
//! ```text
//!   serving ──TERM, INT──▶ draining ──the grace is over──▶ streams only ──theirs is over──▶ exit 0
//!                             │                                └──last stream gone──▶ exit 0
//!                             ├──last connection gone──▶ exit 0
//!                             └──a second one──▶ exit at once
//! ```

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use thiserror::Error;
use tokio::sync::watch;

use crate::access_log::{LogWriter, Reopener};
use crate::cli::Cli;
use crate::control::{self, Monitor};
use crate::crowd::Crowd;
use crate::inherited::{CannotInherit, Inherited};
use crate::limits;
use crate::listener::{self, Listener};
use crate::readiness;
use crate::registry::Registry;
use crate::say::say;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::teller;
use crate::tls::{self, Scheme};
use crate::worker::{self, Phase, Worker};

/// Why proxyd does not serve.
#[derive(Debug, Error)]
pub enum CannotServe {
    /// Nobody could ever connect.
    #[error(
        "there is nothing to listen on: pass a TCP listener named `http` or `https` through LISTEN_FDS, \
         as init does, or use --listen or --listen-tls ADDR:PORT"
    )]
    NoListener,
    /// Nobody could ever tell it a route.
    #[error(
        "there is no control socket: pass a unix listener named `control` through LISTEN_FDS, \
         as init does, or use --control PATH, or serve by a file with --config FILE"
    )]
    NoControl,
    /// Everybody would wait for ever.
    #[error(
        "there is no control socket for the `PUT /door` that --wait waits for: add --control PATH, or \
         leave --wait out"
    )]
    NoDoor,
    /// What was passed is not what it should be.
    #[error("{0}")]
    Inherited(String),
    /// `--listen` failed.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// `--monitor` failed.
    #[error("cannot listen on {address}: {source}; choose another with --monitor")]
    Monitor {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// `--control` failed.
    #[error("cannot create the control socket {path}: {source}; choose another with --control")]
    Control {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `--config` is wrong.
    #[error("the config file cannot be used:\n{0}")]
    Config(String),
    /// `--state` is there and cannot be read, or not be set aside.
    #[error("cannot go on with the snapshot {path}: {source}; choose another with --state")]
    State {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `--access-log` failed.
    #[error("cannot append to the access log {path}: {source}; choose another with --access-log")]
    AccessLog {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// All workers have ended, though nobody told them to.
    #[error("no worker could run; what stopped each is told above")]
    NoWorker,
    /// The system refused something that it usually grants.
    #[error("cannot {what}: {source}")]
    System {
        /// What was refused.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl CannotServe {
    /// 2 for what the caller can put right, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            CannotServe::NoWorker | CannotServe::System { .. } => 1,
            CannotServe::NoListener
            | CannotServe::NoControl
            | CannotServe::NoDoor
            | CannotServe::Inherited(_)
            | CannotServe::Listen { .. }
            | CannotServe::Monitor { .. }
            | CannotServe::Control { .. }
            | CannotServe::Config(_)
            | CannotServe::State { .. }
            | CannotServe::AccessLog { .. } => 2,
        }
    }
}

impl From<CannotInherit> for CannotServe {
    fn from(error: CannotInherit) -> CannotServe {
        CannotServe::Inherited(error.to_string())
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> CannotServe {
    move |source| CannotServe::System { what, source }
}

/// What the main thread waits for.
enum Event {
    Signal,
    WorkerAccepts,
    WorkerDone,
}

/// Serves until it is told to stop and has drained.
///
/// # Errors
/// When it cannot begin; once it serves, it ends well.
pub(crate) fn run(cli: Cli) -> Result<(), CannotServe> {
    // Before anything else is opened: the passed descriptors are taken by number.
    let mut inherited = Inherited::take()?;
    for (addresses, listeners) in
        [(cli.listen, &mut inherited.http), (cli.listen_tls, &mut inherited.https)]
    {
        for address in addresses {
            let listener = listener::bind(address);
            listeners.push(listener.map_err(|source| CannotServe::Listen { address, source })?);
        }
    }
    let bound = cli.monitor.into_iter().map(|address| {
        TcpListener::bind(address).map_err(|source| CannotServe::Monitor { address, source })
    });
    let own_monitors: Vec<TcpListener> = bound.collect::<Result<_, _>>()?;
    let socket = cli.control;
    if let Some(path) = &socket {
        let listener = control::bind(path)
            .map_err(|source| CannotServe::Control { path: path.clone(), source })?;
        inherited.control.push(listener);
    }
    let Inherited { http, https, control, monitors } = inherited;
    let monitors =
        own_monitors.into_iter().map(Monitor::own).chain(monitors.into_iter().map(Monitor::passed));
    let monitors: Vec<Monitor> = monitors.collect();
    if http.is_empty() && https.is_empty() {
        return Err(CannotServe::NoListener);
    }
    if control.is_empty() && cli.config.is_none() {
        return Err(CannotServe::NoControl);
    }
    if control.is_empty() && cli.wait {
        return Err(CannotServe::NoDoor);
    }
    raise_file_limit();
    let workers = cli.workers.or_else(|| thread::available_parallelism().ok());
    let workers = workers.map_or(1, std::num::NonZero::get);
    let registry = Arc::new(Registry::new(workers, !cli.wait));
    if !https.is_empty() {
        registry.look(|state| state.keyring().tickets().begin());
    }
    let gauges = Arc::clone(&registry.gauges);
    let log = LogWriter::start(&cli.access_log, cli.access_log_format, gauges)
        .map_err(|source| CannotServe::AccessLog { path: cli.access_log, source })?;
    let source = cli.config.map(|path| Source::new(path, Arc::clone(&registry)));
    if let Some(source) = &source {
        source.read().map_err(|error| CannotServe::Config(error.to_string()))?;
    }
    let snapshot = cli.state.map(|path| keep_snapshot(path, &registry)).transpose()?;
    if snapshot.as_ref().is_some_and(|snapshot| snapshot.was_open) {
        match cli.teller {
            Some(path) => teller::open_without(path, Arc::clone(&registry))
                .map_err(system("start the teller's thread"))?,
            None => registry.door.unlock(),
        }
    }
    let (phase, phases) = watch::channel(Phase::Serving);
    let grace = Duration::from_secs(cli.grace);
    let stream_grace = cli.stream_grace.map_or(grace, Duration::from_secs);
    let (events, coming) = channel();
    watch_signals(&events, log.reopener(), source)?;
    // Whoever reads this may send a signal.
    announce([
        ("listening", http.iter().collect()),
        ("listening for TLS", https.iter().collect()),
        ("metrics and probes are", monitors.iter().map(Monitor::listener).collect()),
    ]);
    let listener = |scheme| move |socket| Listener { socket, scheme };
    let secure = https.into_iter().map(listener(Scheme::Https));
    let public: Vec<_> = http.into_iter().map(listener(Scheme::Http)).chain(secure).collect();
    start_workers(workers, &public, &registry, &log, (&phases, stream_grace), &events)?;
    tls::watch_files(Arc::clone(&registry)).map_err(system("watch files"))?;
    start_control(control, monitors, &phases, &registry)?;
    let let_go = || {
        thread::sleep(limits::THRIFT);
        init_pages::let_go_of_rest();
    };
    let spawned = thread::Builder::new().name("thrift".to_owned()).spawn(let_go);
    spawned.map_err(system("start the thread that tidies up"))?;
    drop((public, events));

    let told = wait(&coming, workers, (grace, stream_grace), |next| {
        registry.gauges.draining.store(true, Ordering::Relaxed);
        phase.send_replace(next);
    });
    if let Some(snapshot) = snapshot {
        snapshot.finish();
    }
    log_last_lines(log);
    if let Some(path) = socket {
        // Ours, so that whoever comes next finds no socket that nobody listens on.
        let _ = std::fs::remove_file(path);
    }
    if told { Ok(()) } else { Err(CannotServe::NoWorker) }
}

/// Each connection needs two descriptors; the soft limit is a remnant of select(2).
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Not being allowed to only means that accepting rests earlier.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Tells where it listens, for whoever asked for port 0.
fn announce(all: [(&str, Vec<&TcpListener>); 3]) {
    for (what, listeners) in all {
        for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
            say!("proxyd: {what} on {address}");
        }
    }
}

fn keep_snapshot(path: PathBuf, registry: &Arc<Registry>) -> Result<Snapshot, CannotServe> {
    let started = Snapshot::start(path.clone(), Arc::clone(registry));
    started.map_err(|source| CannotServe::State { path, source })
}

fn watch_signals(
    events: &Sender<Event>,
    log: Reopener,
    source: Option<Source>,
) -> Result<(), CannotServe> {
    let watched = [SIGTERM, SIGINT, SIGHUP, SIGUSR1];
    let mut signals = Signals::new(watched).map_err(system("watch for signals"))?;
    let events = events.clone();
    let reader = source.map(start_reader).transpose()?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if matches!(signal, SIGHUP | SIGUSR1) {
                    log.reopen();
                    if let (SIGHUP, Some(reader)) = (signal, &reader) {
                        // A reader that panicked has said so.
                        let _ = reader.send(());
                    }
                } else if events.send(Event::Signal).is_err() {
                    return;
                }
            }
        })
        .map_err(system("start the signal thread"))?;
    Ok(())
}

/// Reads the config file anew whenever it is told to. A file system that hangs must not keep anybody
/// from hearing the next signal.
fn start_reader(source: Source) -> Result<Sender<()>, CannotServe> {
    let (tell, told) = channel();
    let read = move || {
        for () in &told {
            // What was told meanwhile is told by now.
            while told.try_recv().is_ok() {}
            readiness::reloading();
            source.read_again();
            readiness::ready();
        }
    };
    let thread = thread::Builder::new().name("config".to_owned());
    thread.spawn(read).map_err(system("start the config thread"))?;
    Ok(tell)
}

fn start_workers(
    count: usize,
    listeners: &[Listener],
    registry: &Arc<Registry>,
    log: &LogWriter,
    (phases, stream_grace): (&watch::Receiver<Phase>, Duration),
    events: &Sender<Event>,
) -> Result<(), CannotServe> {
    let crowd = Arc::new(Crowd::new(count));
    for number in 0..count {
        let duplicate = |listener: &Listener| {
            listener.socket.set_nonblocking(true)?;
            Ok(Listener { socket: listener.socket.try_clone()?, scheme: listener.scheme })
        };
        let own: io::Result<Vec<Listener>> = listeners.iter().map(duplicate).collect();
        let own = own.map_err(system("duplicate a listener"))?;
        let (registry, end) = (Arc::clone(registry), log.end());
        let (crowd, phases) = (Arc::clone(&crowd), phases.clone());
        let events = events.clone();
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                let worker = Worker::new(number, registry, end, crowd, stream_grace);
                let told = events.clone();
                let accepts = move || drop(told.send(Event::WorkerAccepts));
                if let Err(error) = worker::run(worker, own, phases, accepts) {
                    say!("proxyd: worker {number} cannot run: {error}");
                }
                let _ = events.send(Event::WorkerDone);
            })
            .map_err(system("start a worker"))?;
    }
    Ok(())
}

fn start_control(
    listeners: Vec<UnixListener>,
    monitors: Vec<Monitor>,
    phases: &watch::Receiver<Phase>,
    registry: &Arc<Registry>,
) -> Result<(), CannotServe> {
    let (registry, phases) = (Arc::clone(registry), phases.clone());
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            if let Err(error) = control::run(listeners, monitors, &phases, registry) {
                say!("proxyd: the control socket cannot be served: {error}");
            }
        })
        .map_err(system("start the control thread"))?;
    Ok(())
}

/// Waits for the first signal, then for the workers, the graces, or the second signal. `false`: it
/// ended without a signal.
fn wait(
    coming: &Receiver<Event>,
    workers: usize,
    (grace, stream_grace): (Duration, Duration),
    enter: impl Fn(Phase),
) -> bool {
    let mut left = workers;
    let mut to_come = workers;
    let mut deadline: Option<Instant> = None;
    // When the last stream must have ended, if it had to be told.
    let mut last: Option<Instant> = None;
    while left > 0 {
        let event = match deadline {
            None => coming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => {
                coming.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
        };
        match event {
            Ok(Event::WorkerDone) => left -= 1,
            Ok(Event::WorkerAccepts) => {
                to_come -= 1;
                if to_come == 0 {
                    readiness::ready();
                }
            }
            Ok(Event::Signal) if deadline.is_none() => {
                say!(
                    "proxyd: draining: no new connections, open ones have {grace:?}, streams \
                     {stream_grace:?}"
                );
                let now = Instant::now();
                deadline = Some(now + grace);
                last = Some(now + stream_grace + limits::CLOSE_TIME + limits::LINGER_TIME);
                readiness::stopping();
                enter(Phase::Draining);
            }
            Ok(Event::Signal) => {
                say!("proxyd: told again to stop: open connections are cut");
                break;
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some(last) = last.take() else {
                    say!("proxyd: the grace is over: open connections are cut");
                    break;
                };
                // Workers without streams end now.
                deadline = deadline.max(Some(last));
                enter(Phase::StreamsOnly);
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    deadline.is_some()
}

/// Gives the log a moment for its last lines; a writer that hangs does not keep the process.
fn log_last_lines(log: LogWriter) {
    let (done, written) = channel();
    let finish = move || {
        log.finish();
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(finish).is_ok() {
        let _ = written.recv_timeout(Duration::from_secs(1));
    }
}
