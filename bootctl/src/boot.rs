//! `bootctl boot`: from the first breath to the last.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Sender};
use tracing::{error, info, warn};

use crate::act::Hands;
use crate::admin;
use crate::admin::socket::{Socket, SocketError};
use crate::cli::{ConfigDir, RUN_DIR};
use crate::client::{self, Init};
use crate::collecting::Place;
use crate::config::{self, parse_listen};
use crate::early::{self, Early, button};
use crate::event::Event;
use crate::makeshift::{self, Flaw};
use crate::proxy;
use crate::release::{Shelf, clear};
use crate::runlevel::Level;
use crate::snapshot;
use crate::store::{Store, StoreError};
use crate::supervise::{Fixed, Supervisor};
use crate::takeover::{self, TakeOverError};
use crate::token::{Token, TokenError};

/// Be the supervisor: read the config, start what it declares, and keep it so
///
/// Started by init. May be killed and started again at any time: it adopts what runs. SIGTERM
/// winds down: requests finish, then the apps are stopped, then the proxy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  init -- bootctl boot
  init --listen 127.0.0.1:7001 -- bootctl boot --config ./conf --proxy-listen 127.0.0.1:8080 \\
       --run-dir /tmp/run --state-dir /tmp/state --log-dir /tmp/log")]
pub(crate) struct Boot {
    #[command(flatten)]
    pub(crate) config: ConfigDir,

    /// Where init's job API is [env: `INIT_API`, set by init]
    #[arg(long, value_name = "ADDR", env = "BOOTCTL_INIT")]
    pub(crate) init: Option<SocketAddr>,

    /// Where the proxy listens, instead of what bootctl.toml says
    #[arg(long, value_name = "ADDR:PORT", env = "BOOTCTL_PROXY_LISTEN", value_parser = listen)]
    pub(crate) proxy_listen: Option<SocketAddr>,

    /// Where it listens for https, instead of what bootctl.toml says
    #[arg(long, value_name = "ADDR:PORT", env = "BOOTCTL_PROXY_TLS_LISTEN", value_parser = listen)]
    pub(crate) proxy_tls_listen: Option<SocketAddr>,

    /// Where the control sockets are
    #[arg(long, value_name = "DIR", env = "BOOTCTL_RUN_DIR", default_value = RUN_DIR)]
    pub(crate) run_dir: PathBuf,

    /// Where it is kept which apps are stopped
    #[arg(long, value_name = "DIR", env = "BOOTCTL_STATE_DIR", default_value = "/var/lib/bootctl")]
    pub(crate) state_dir: PathBuf,

    /// Where logs are, instead of what bootctl.toml says
    #[arg(long, value_name = "DIR", env = "BOOTCTL_LOG_DIR")]
    pub(crate) log_dir: Option<PathBuf>,

    /// The proxy's program [default: the one next to bootctl]
    #[arg(long, value_name = "PATH", env = "BOOTCTL_PROXYD")]
    pub(crate) proxyd: Option<PathBuf>,

    /// Take the place of the bootctl that runs, if its config has `take_over = true`; no app notices
    #[arg(long)]
    pub(crate) take_over: bool,

    /// Words that a kernel command line adds; but for bootctl.runlevel=N they are ignored
    #[arg(hide = true)]
    pub(crate) words: Vec<String>,
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    parse_listen(text).ok_or("write a numeric address and a port, such as 0.0.0.0:80")
}

/// How much news may wait to be taken.
const QUEUE: usize = 1024;
/// From the start until what only a start needs is let go of: a thousand apps are started by then.
const THRIFT: Duration = Duration::from_secs(3);

/// Why it does not boot.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    InitApi(#[from] BadAddress),
    #[error("{0}; without it nothing is started or changed: repair it and boot again")]
    Config(#[from] Flaw),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    #[error("the folder {} cannot be used: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the event loop cannot be set up: {0}")]
    Runtime(std::io::Error),
}

/// Supervises until it is told to end.
pub(crate) fn run(boot: &Boot) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    if !boot.words.is_empty() {
        info!("words of the command line: {}", boot.words.join(" "));
    }
    let early = early::prepare();
    match supervise(boot, early.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(boot: &Boot, early: Option<&Early>) -> Result<(), BootError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BootError::Runtime)?;
    runtime.block_on(async {
        let token = Token::of_init_or(early.and_then(Early::token_file))?;
        let init = Init::at(init_address(boot.init)?, token.as_ref());
        if let Some(early) = early {
            early.settle(&init).await;
        }
        fs::create_dir_all(&boot.run_dir)
            .map_err(|source| BootError::Folder { path: boot.run_dir.clone(), source })?;
        let run_dir = absolute(&boot.run_dir)?;
        let lost = early.and_then(|early| makeshift::lost(early, &boot.config.path));
        let footing = makeshift::footing(&boot.config.path, lost, &run_dir, &init).await?;
        config::write::sweep(&boot.config.path);
        // The gate is told of it, and works in another folder.
        let state_dir = std::path::absolute(&boot.state_dir).unwrap_or(boot.state_dir.clone());
        let store = Store::open(&state_dir)?;
        if boot.take_over {
            takeover::ask(&run_dir).await?;
        }
        let (_socket, listener) = Socket::bind(&run_dir)?;
        if let Err(error) = snapshot::hold_lock(&run_dir) {
            warn!("the lock that tells the proxy of bootctl cannot be held: {error}");
        }
        let (tell, events) = mpsc::channel(QUEUE);
        let door = tell.clone();
        let state = store.folder().to_owned();
        let folders = admin::Folders { state, config: boot.config.path.clone() };
        let usage = admin::Usage::of(init.clone(), run_dir.clone());
        tokio::spawn(async move {
            if let Err(error) = admin::serve(listener, door, usage, folders).await {
                error!("the control socket is out of service: {error}");
            }
        });
        tokio::spawn(client::follow(init.clone(), tell.clone()));
        tokio::spawn(heed_signals(tell.clone()));
        tokio::spawn(button::heed(init.clone()));
        let collector = collector_place(boot, init_address(boot.init)?);
        let fixed = Fixed {
            collector,
            config: boot.config.path.clone(),
            listen: boot.proxy_listen,
            tls_listen: boot.proxy_tls_listen,
            proxyd: boot.proxyd.as_ref().map(|path| path.to_string_lossy().into_owned()),
            runlevel: runlevel(&boot.words)
                .or_else(|| early.and_then(Early::runlevel)?.parse().ok()),
        };
        let hands = Hands { init, run_dir, tell };
        for remains in Shelf::new(&state_dir).remains() {
            info!("{} is removed: it was left half done", remains.display());
            tokio::task::spawn_blocking(move || drop(clear(&remains)));
        }
        tokio::spawn(async {
            tokio::time::sleep(THRIFT).await;
            init_pages::let_go_of_rest();
        });
        Supervisor::new(fixed, footing, store, hands).run(events).await;
        if early.is_some() {
            early::rest();
        }
        info!("wound down");
        Ok(())
    })
}

/// The runlevel that the command line asks for, as a machine's kernel does.
fn runlevel(words: &[String]) -> Option<Level> {
    let level = words.iter().rev().find_map(|word| word.strip_prefix("bootctl.runlevel="))?;
    level.parse().inspect_err(|why| warn!("bootctl.runlevel={level} is ignored: {why}")).ok()
}

/// What the collector is started from: the program that this one is.
fn collector_place(boot: &Boot, init: SocketAddr) -> Place {
    let exec = std::env::current_exe().unwrap_or_else(|_| "bootctl".into());
    let exec = exec.to_string_lossy().into_owned();
    // A relative folder is this process's, the collector has another one.
    let folder =
        boot.log_dir.as_ref().map(|path| std::path::absolute(path).unwrap_or(path.clone()));
    Place { build: proxy::build(&exec), exec, init, folder }
}

fn absolute(path: &Path) -> Result<PathBuf, BootError> {
    path.canonicalize().map_err(|source| BootError::Folder { path: path.to_owned(), source })
}

/// The option, what init says, or init's default.
/// An `INIT_API` that says nothing.
#[derive(Debug, thiserror::Error)]
#[error("INIT_API is {0:?}, which is no address such as 127.0.0.1:1")]
pub(crate) struct BadAddress(String);

/// Where init's API is: where the command line says, else where init says, else where it is by
/// default.
pub(crate) fn init_address(told: Option<SocketAddr>) -> Result<SocketAddr, BadAddress> {
    match (told, std::env::var("INIT_API").ok().filter(|text| !text.is_empty())) {
        (Some(address), _) => Ok(address),
        (None, Some(text)) => text.parse().map_err(|_| BadAddress(text)),
        (None, None) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))),
    }
}

/// The first SIGTERM or SIGINT winds down, the second ends at once.
async fn heed_signals(tell: Sender<Event>) {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return error!("SIGTERM and SIGINT cannot be heeded");
    };
    for round in 0.. {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if round > 0 {
            error!("told twice: ending at once; what runs is left to init");
            std::process::exit(1);
        }
        drop(tell.send(Event::WindDown).await);
    }
}
