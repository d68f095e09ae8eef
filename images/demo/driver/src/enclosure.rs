//! The pid namespace that init is the first process of, as far as this user may make one.
//!
//! The network stays the machine's own: the demo is there to be reached.

use std::num::ParseIntError;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::{env, fmt, fs};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};

/// Internal: become the first process of the new namespace and exec what follows.
pub(crate) const FIRST: &str = "--first";
/// Internal: try an enclosure and tell by the exit code whether it can be had.
pub(crate) const PROBE: &str = "--probe";

/// How init is kept apart from the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enclosure {
    /// A pid namespace, made by root: init is PID 1.
    Pid,
    /// A pid namespace within a user namespace: init is PID 1, and nobody special.
    UserAndPid,
    /// None: init is a subreaper.
    Subreaper,
}

impl Enclosure {
    /// The best of those that can be had here.
    pub(crate) fn best() -> Self {
        let can = |kind: &Self| kind.probe().is_some_and(|ok| ok);
        [Self::Pid, Self::UserAndPid].into_iter().find(can).unwrap_or(Self::Subreaper)
    }

    /// What to tell people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Pid => "as PID 1 of a pid namespace of its own",
            Self::UserAndPid => "as PID 1 of a pid and user namespace of its own",
            Self::Subreaper => "as a subreaper, without a namespace",
        }
    }

    /// A command that runs `program` as the first process inside, ended by our own end.
    ///
    /// Once it runs, `leave` lets what we start afterwards be outside again.
    pub(crate) fn command(self, program: &str) -> Result<Command, String> {
        let as_whom = if self == Self::UserAndPid { Ids::ours().to_string() } else { "-".into() };
        self.enter()?;
        let demo = env::current_exe().map_err(|e| format!("cannot find the demo itself: {e}"))?;
        let mut command = Command::new(demo);
        command.args([FIRST, &as_whom, program]).process_group(0).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts nothing more inside. Within a user namespace the kernel forbids that; then what we
    /// start stays inside, which does it no harm.
    pub(crate) fn leave() {
        if let Ok(ours) = fs::File::open("/proc/self/ns/pid") {
            let _stays_inside = setns(ours, CloneFlags::CLONE_NEWPID);
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::UserAndPid => "user-and-pid",
            Self::Subreaper => "subreaper",
        }
    }

    /// Tries it in a process of its own.
    fn probe(self) -> Option<bool> {
        let mut command = Command::new(env::current_exe().ok()?);
        command.args([PROBE, self.name()]).stdout(Stdio::null()).stderr(Stdio::null());
        Some(command.status().ok()?.success())
    }

    fn enter(self) -> Result<(), String> {
        let ids = Ids::ours();
        let flags = match self {
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::UserAndPid => CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUSER,
            Self::Subreaper => return Ok(()),
        };
        unshare(flags).map_err(|e| format!("cannot make a namespace: {e}"))?;
        if self == Self::UserAndPid {
            Ids { user: 0, group: 0 }.stand_for(ids)?;
        }
        Ok(())
    }
}

/// A user and its group.
#[derive(Clone, Copy)]
struct Ids {
    user: u32,
    group: u32,
}

impl Ids {
    fn ours() -> Self {
        Self { user: geteuid().as_raw(), group: getegid().as_raw() }
    }

    /// In the user namespace that was just made, these are what `outer` is outside.
    fn stand_for(self, outer: Self) -> Result<(), String> {
        let write = |file: &str, text: String| {
            let path = format!("/proc/self/{file}");
            fs::write(&path, text).map_err(|e| format!("cannot write {path}: {e}"))
        };
        write("setgroups", "deny".into())?;
        write("uid_map", format!("{} {} 1", self.user, outer.user))?;
        write("gid_map", format!("{} {} 1", self.group, outer.group))
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user, self.group)
    }
}

impl FromStr for Ids {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { user: user.parse()?, group: group.parse()? })
    }
}

/// `--probe KIND`: goes all the way to a mounted /proc.
pub(crate) fn probe(kind: &str) -> Result<(), String> {
    let kinds = [Enclosure::Pid, Enclosure::UserAndPid, Enclosure::Subreaper];
    let kind = kinds.into_iter().find(|k| k.name() == kind).ok_or("no such enclosure")?;
    match kind.command("true")?.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => Err("cannot be had".into()),
    }
}

/// `--first IDS PROGRAM ARGS…`: gives the new namespace its /proc, and execs the program; as root
/// of nothing but that namespace it would seem to have rights that it has not, so with IDS it is
/// again who it was outside.
pub(crate) fn become_first(as_whom: &str, program: &str, args: &[&str]) -> String {
    if std::process::id() == 1
        && let Err(error) = own_proc()
    {
        return format!("cannot mount a /proc: {error}");
    }
    if let Ok(ids) = as_whom.parse::<Ids>() {
        let shed = unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| e.to_string());
        if let Err(error) = shed.and_then(|()| ids.stand_for(Ids { user: 0, group: 0 })) {
            return format!("cannot be {ids} again: {error}");
        }
    }
    // Last, because a change of user forgets it.
    if let Err(error) = set_pdeathsig(Signal::SIGTERM) {
        return format!("cannot ask to be told of the demo's end: {error}");
    }
    format!("cannot run {program}: {}", Command::new(program).args(args).exec())
}

fn own_proc() -> nix::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
}
