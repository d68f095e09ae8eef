//! From options to the end: what init does in its life.

mod alarm;
mod begin;
mod boot;
mod life;
mod renewal;
mod storm;
mod survival;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getuid, setgroups};
use tokio::runtime::Runtime;
use tracing::warn;

pub use self::begin::{Past, Remains, StartError};
use self::life::{LAST_TURNS, Life};
pub use self::survival::{PAUSE, be_prepared_to_read};
use crate::access::Access;
use crate::account::{AccountError, Accounts};
use crate::detached::Spared;
use crate::machine::Watchdog;
use crate::options::{self, Instead, Options};
use crate::spawn::DEFAULT_PATH;
use crate::sys::crash::Subject;
use crate::token::Tokens;
use crate::{descriptor, machine, process, signals, sys};

/// How long init waits at its own end for what it has killed to be gone.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// An init that listens and has started `boot`.
pub struct Init {
    runtime: Runtime,
    /// The task that serves the API.
    api: Pin<Box<dyn Future<Output = ()> + Send>>,
    life: Life,
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
    // Nothing in it is as if it were not there: a host that passes a variable on may have none.
    let listen = env::var("INIT_LISTEN").ok().filter(|text| !text.is_empty());
    options::parse(env::args_os().skip(1), listen, in_vm, names_program)
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
    let path = env::var("PATH").ok().filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let mut places = path.split(':').map(|folder| format!("{folder}/{word}"));
    let runs = |path: &str| {
        let may = nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
        may && std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
    };
    if word.contains('/') { runs(word) } else { places.any(|place| runs(&place)) }
}

impl Init {
    /// Serves until the end. In a VM the machine ends with it and this does not return.
    pub fn run(self) -> u8 {
        let Self { runtime, api, life } = self;
        let in_vm = life.forward.in_vm;
        let serve = async move {
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
                survival::end_with(end, in_vm);
                if life.reactor.was_asked() {
                    // The last answers are with the connections' tasks: let these write them.
                    for _ in 0..LAST_TURNS {
                        tokio::task::yield_now().await;
                    }
                }
                (end, life.watchdog.take(), life.reactor.spared())
            });
            life.await
        };
        let served = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve)));
        // The event loop itself has failed; all that it has driven is still there.
        let served = served.unwrap_or_else(|_| std::process::abort());
        // Only a note of what init knew is left then, which the next life goes on with.
        let ((ending, code), watchdog, spared) = served.unwrap_or_else(|_| std::process::abort());
        drop(runtime);
        let watchdog = watchdog.map(Watchdog::last);
        bury_the_rest(&spared);
        if in_vm {
            machine::end(ending, watchdog);
        }
        code
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
