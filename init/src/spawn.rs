//! From a checked spec to a running process: everything the child needs is made here, before it.

use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;

use crate::descriptor::Stream;
use crate::event::{Fault, Stage};
use crate::id::Pid;
use crate::listen::Keeper;
use crate::spec::Spec;
use crate::sys::child::{self, Image, Stack};
use crate::terminal;

/// Where programs without a slash are looked up when the spec's environment has no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Folders of a `PATH` that are looked into; the rest is ignored.
const MAX_FOLDERS: usize = 256;

/// Starts processes, one at a time.
pub struct Spawner {
    stack: Stack,
    /// `/dev/null` once it has been there.
    null: Option<OwnedFd>,
    /// The terminal that `boot` shares, if init has one.
    terminal: Option<RawFd>,
}

impl Spawner {
    /// A spawner for an init with or without a terminal.
    #[must_use]
    pub fn new(terminal: Option<RawFd>) -> Self {
        Self { stack: Stack::new(), null: None, terminal }
    }

    /// Starts `spec`. When this returns a pid, its program runs.
    pub fn spawn(&mut self, spec: &Spec, keeper: &mut Keeper) -> Result<Pid, Fault> {
        self.try_spawn(spec, keeper).map_err(|(stage, errno)| Fault {
            exec: shortened(&spec.wire.exec),
            stage,
            errno,
        })
    }

    fn try_spawn(&mut self, spec: &Spec, keeper: &mut Keeper) -> Result<Pid, (Stage, Errno)> {
        let wire = &spec.wire;
        let mut open = |stdio, target, stage| {
            Stream::open(stdio, target, &mut self.null).map_err(|errno| (stage, errno))
        };
        let streams = [
            open(&wire.stdin, 0, Stage::Stdin)?,
            open(&wire.stdout, 1, Stage::Stdout)?,
            open(&wire.stderr, 2, Stage::Stderr)?,
        ];
        let lent = keeper.lend(&spec.listeners).map_err(|errno| (Stage::Listen, errno))?;
        let exec = text(&wire.exec)?;
        let (args, envp, cwd) = match &spec.boot {
            Some(boot) => (boot.args.clone(), boot.envs.clone(), boot.cwd.clone()),
            None => (
                wire.args.iter().map(|arg| text(arg)).collect::<Result<_, _>>()?,
                environment(spec)?,
                text(wire.cwd.as_deref().unwrap_or("/"))?,
            ),
        };
        let terminal = self.terminal.filter(|_| spec.boot.is_some());
        let image = Image {
            candidates: candidates(spec)?,
            argv: std::iter::once(exec).chain(args).collect(),
            envp,
            listen_pid: !lent.is_empty(),
            cwd,
            identity: spec.identity.clone(),
            fds: streams.iter().map(Stream::as_raw).chain(lent).collect(),
            terminal,
            foreground: terminal.is_some() && terminal::is_boots(),
        };
        child::spawn(&mut self.stack, image)
    }
}

/// What a message shows of a program's name.
fn shortened(exec: &str) -> String {
    const SHOWN: usize = 200;
    match exec.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", exec.get(..end).unwrap_or_default()),
        None => exec.to_owned(),
    }
}

fn candidates(spec: &Spec) -> Result<Vec<CString>, (Stage, Errno)> {
    let exec = &spec.wire.exec;
    if exec.contains('/') {
        return Ok(vec![text(exec)?]);
    }
    let path = spec.wire.envs.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .take(MAX_FOLDERS)
        .map(|folder| text(&format!("{folder}/{exec}")))
        .collect()
}

fn environment(spec: &Spec) -> Result<Vec<CString>, (Stage, Errno)> {
    let lends = !spec.listeners.is_empty();
    let ours = |name: &str| lends && matches!(name, "LISTEN_FDS" | "LISTEN_FDNAMES" | "LISTEN_PID");
    let mut envp: Vec<CString> = spec
        .wire
        .envs
        .iter()
        .filter(|(name, _)| !ours(name))
        .map(|(name, value)| text(&format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    if lends {
        let names: Vec<_> = spec.listeners.iter().map(|listen| listen.name.as_str()).collect();
        envp.push(text(&format!("LISTEN_FDS={}", names.len()))?);
        envp.push(text(&format!("LISTEN_FDNAMES={}", names.join(":")))?);
    }
    Ok(envp)
}

fn text(text: &str) -> Result<CString, (Stage, Errno)> {
    CString::new(text).map_err(|_| (Stage::Prepare, Errno::EINVAL))
}
