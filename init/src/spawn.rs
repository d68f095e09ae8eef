//! From a checked spec to a running process: everything the child needs is made here, before it.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use init_wire::JobSpec;
use nix::errno::Errno;

use crate::birth::Births;
use crate::event::Stage;
use crate::id::Pid;
use crate::notice::Mouth;
use crate::oom::{self, OomScore};
use crate::spec::{Confinement, Limit, Spec};
use crate::stdio::{Kept, Streams};
use crate::sys::child::{self, Image, Unborn};
use crate::terminal;

/// Where programs without a slash are looked up when the spec's environment has no `PATH`, or an empty one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a start whose `oom_score_adj` differs waits for others that are on their way.
const PATIENCE: Duration = Duration::from_millis(500);

/// Folders of a `PATH` that are looked into; the rest is ignored.
const MAX_FOLDERS: usize = 256;

/// Starts processes.
pub struct Spawner {
    /// Children that have not exec'ed yet.
    pub births: Births,
    /// `/dev/null` once it has been there.
    null: Option<OwnedFd>,
    /// The terminal that `boot` shares, if init has one.
    terminal: Option<RawFd>,
    oom: OomScore,
    /// How many descriptors a process may have that does not say otherwise.
    nofile: Option<Limit>,
}

/// What is lent to a process besides its streams.
#[derive(Debug)]
pub struct Lent<'a> {
    /// What it finds from fd 3 on.
    pub passed: &'a Passed,
    /// What it can speak with.
    pub mouth: &'a Mouth,
    /// Its control group.
    pub group: Option<RawFd>,
}

/// Descriptors that a process is passed as systemd does: its sockets, and what it has stored.
#[derive(Debug, Default)]
pub struct Passed {
    /// In order.
    pub fds: Vec<RawFd>,
    /// Their names with `:` between them.
    pub names: String,
}

type Failure = (Stage, Errno);

impl Spawner {
    /// A spawner for an init with or without a terminal. `nofile` is what init itself was started
    /// with, if it has raised it for itself.
    #[must_use]
    pub fn new(terminal: Option<RawFd>, nofile: Option<Limit>) -> Self {
        Self { births: Births::default(), null: None, terminal, oom: OomScore::default(), nofile }
    }

    /// What a spawner cannot find out again.
    #[must_use]
    pub fn save(&self) -> (Option<oom::Saved>, Option<Limit>) {
        (self.oom.save(), self.nofile)
    }

    /// A spawner that goes on where another was written down.
    #[must_use]
    pub fn restore(
        terminal: Option<RawFd>,
        (oom, nofile): (Option<oom::Saved>, Option<Limit>),
    ) -> Self {
        Self { oom: OomScore::restore(oom), ..Self::new(terminal, nofile) }
    }

    /// Begins to start `spec`, which `wire` is the text of. Answers also what init keeps of its
    /// streams.
    pub fn spawn(
        &mut self,
        spec: &Spec,
        wire: &JobSpec,
        lent: &Lent<'_>,
    ) -> Result<(Unborn, Kept), Failure> {
        let user = spec.identity.as_deref().map(|identity| identity.uid);
        let mut streams = Streams::open(wire, user, &mut self.null)?;
        let name = text(wire.arg0.as_ref().unwrap_or(&wire.exec))?;
        let (args, envp, cwd) = match &spec.boot {
            Some(boot) => (boot.args.clone(), boot.envs.clone(), Some(boot.cwd.clone())),
            None => (
                wire.args.iter().map(|arg| text(arg)).collect::<Result<_, _>>()?,
                environment(spec, wire, lent)?,
                // `/` is init's own.
                wire.cwd.as_deref().filter(|cwd| *cwd != "/").map(text).transpose()?,
            ),
        };
        let terminal = self.terminal.filter(|_| spec.boot.is_some());
        let mut confinement =
            Confinement::check(wire).map_err(|_| (Stage::Prepare, Errno::EINVAL))?;
        let is_set = confinement.rlimits.iter().any(|limit| limit.resource == libc::RLIMIT_NOFILE);
        confinement.rlimits.extend(self.nofile.filter(|_| !is_set));
        let pipe = lent.mouth.pipe.as_ref().map(|(pipe, target)| (pipe.as_raw_fd(), *target));
        let fds = streams.ends().into_iter().chain(lent.passed.fds.iter().copied());
        let image = Image {
            candidates: candidates(wire)?,
            argv: std::iter::once(name).chain(args).collect(),
            envp,
            listen_pid: !lent.passed.fds.is_empty(),
            cwd,
            identity: spec.identity.as_deref().cloned(),
            // Init's own three are where they are to be.
            fds: fds.zip(0..).filter(|(fd, target)| !is_at(*fd, *target)).chain(pipe).collect(),
            terminal,
            owns_terminal: wire.tty,
            foreground: terminal.is_some() && terminal::is_boots(),
            group: lent.group,
            confinement,
        };
        if !self.oom.is(wire.oom_score_adj) {
            // What init takes on is that of all who share its memory.
            if !self.births.see_all_through(PATIENCE) {
                return Err((Stage::OomScoreAdj, Errno::EAGAIN));
            }
            self.oom.take_on(wire.oom_score_adj).map_err(|errno| (Stage::OomScoreAdj, errno))?;
        }
        let stack = self.births.stack().ok_or((Stage::Clone, Errno::EAGAIN))?;
        let begun = child::begin(stack, image);
        let child = begun.map_err(|(stage, errno, stack)| {
            self.births.give_back(stack);
            (stage, errno)
        })?;
        self.oom.note(child.pid());
        Ok((child, std::mem::take(&mut streams.kept)))
    }

    /// A child has been reaped.
    pub fn forget(&mut self, child: Pid) {
        self.oom.forget(child);
    }

    /// When to [rest](Self::rest).
    #[must_use]
    pub fn next_rest(&self) -> Option<Instant> {
        self.oom.next_rest().filter(|_| self.births.is_empty())
    }

    /// Goes back to what init is when nobody is being started, if it is time.
    pub fn rest(&mut self) {
        if self.births.is_empty() {
            self.oom.rest();
        }
    }
}

/// What a message shows of a program's name.
#[must_use]
pub fn shortened(exec: &str) -> String {
    const SHOWN: usize = 200;
    match exec.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", exec.get(..end).unwrap_or_default()),
        None => exec.to_owned(),
    }
}

fn is_at(fd: RawFd, target: u32) -> bool {
    u32::try_from(fd) == Ok(target)
}

fn candidates(wire: &JobSpec) -> Result<Vec<CString>, Failure> {
    let exec = &wire.exec;
    if exec.contains('/') {
        return Ok(vec![text(exec)?]);
    }
    let path = wire.envs.get("PATH").filter(|path| !path.is_empty());
    let path = path.map_or(DEFAULT_PATH, String::as_str);
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .take(MAX_FOLDERS)
        .map(|folder| text(&format!("{folder}/{exec}")))
        .collect()
}

/// What the spec says, and what tells a program of the descriptors that it is lent. Where init
/// itself says something, the spec cannot.
fn environment(spec: &Spec, wire: &JobSpec, lent: &Lent<'_>) -> Result<Vec<CString>, Failure> {
    let mut ours = Vec::new();
    let passed = lent.passed;
    if !passed.fds.is_empty() {
        ours.push(("LISTEN_FDS", passed.fds.len().to_string()));
        ours.push(("LISTEN_FDNAMES", passed.names.clone()));
    }
    if let Some(socket) = &lent.mouth.socket {
        ours.push(("NOTIFY_SOCKET", socket.clone()));
    }
    if let Some(limit) = spec.watchdog {
        ours.push(("WATCHDOG_USEC", limit.as_micros().to_string()));
    }
    let is_ours = |name: &str| {
        ours.iter().any(|(our, _)| *our == name)
            || name == "LISTEN_PID" && !passed.fds.is_empty()
            || name == "WATCHDOG_PID" && spec.watchdog.is_some()
    };
    let theirs = wire.envs.iter().filter(|(name, _)| !is_ours(name));
    let theirs = theirs.map(|(name, value)| text(&format!("{name}={value}")));
    theirs.chain(ours.iter().map(|(name, value)| text(&format!("{name}={value}")))).collect()
}

fn text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| (Stage::Prepare, Errno::EINVAL))
}
