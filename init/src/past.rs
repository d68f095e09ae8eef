//! What a running process was started with, as far as the kernel still tells: its program, arguments,
//! environment, directory and user.
//!
//! Arguments and environment lie in the process's own memory. Reading them waits for whatever that
//! memory waits for, a dead file server perhaps, or a debugger; so they are read on a thread of their
//! own, which nobody waits for longer than a second. init has no other threads, and this one does
//! nothing but read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use init_wire::{Account, JobSpec};
use nix::errno::Errno;
use nix::unistd::{Gid, getgid, getgroups, getuid};
use serde::{Deserialize, Serialize};

use crate::event::{DELETED, number};
use crate::limits::MAX_BODY;
use crate::sys;

/// So often a process is looked at that runs another program just then, or seems to.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Variables that are about one run of a program, and wrong in the next.
const OF_A_RUN: [&str; 6] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// What a process was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    exec: String,
    /// The program's file is not there any more.
    pub was_deleted: bool,
    /// Not even its name was told.
    is_wordless: bool,
    arg0: Option<String>,
    args: Vec<String>,
    envs: BTreeMap<String, String>,
    cwd: String,
    status: Status,
}

/// What the kernel says of its rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Status {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: Option<String>,
    no_new_privs: bool,
}

/// What could not be read, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unread {
    /// The kernel refuses.
    #[error("cannot read the {field} of process {pid}: {}; give `{field}` in the spec", errno.desc())]
    Refused {
        /// The process.
        pid: i32,
        /// The field that it was to be.
        field: Cow<'static, str>,
        /// The kernel's reason.
        #[serde(with = "number")]
        errno: Errno,
    },
    /// Bytes that JSON cannot hold.
    #[error("the {field} of process {pid} are no UTF-8 text; give `{field}` in the spec")]
    NotText {
        /// The process.
        pid: i32,
        /// The field that it was to be.
        field: Cow<'static, str>,
    },
    /// More than a spec may be.
    #[error("process {0} was started with more than {MAX_BODY} bytes of arguments and environment")]
    TooLarge(i32),
    /// Its files are not init's.
    #[error(
        "process {0} lives in another mount namespace or root, where init cannot start anything; \
         give `exec` and `cwd` in the spec"
    )]
    Elsewhere(i32),
    /// Its memory does not answer.
    #[error("process {0} does not let itself be read; give `exec`, `args` and `envs` in the spec")]
    Silent(i32),
    /// No thread to read with.
    #[error("init has no thread to read process {0} with; try again later")]
    NoReader(i32),
    /// What was read cannot be started.
    #[error("process {pid} cannot be started again as it was: {field}: {reason}")]
    Unfit {
        /// The process.
        pid: i32,
        /// The field at fault.
        field: String,
        /// The reason.
        reason: String,
    },
}

/// What is to be read, because the spec does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a field of the spec each")]
pub struct Wanted {
    exec: bool,
    args: bool,
    envs: bool,
    cwd: bool,
    account: bool,
}

impl Wanted {
    /// What `wire` leaves open.
    #[must_use]
    pub fn of(wire: &JobSpec) -> Self {
        let exec = wire.exec.is_empty();
        Self {
            exec,
            args: exec && wire.args.is_empty(),
            envs: wire.envs.is_empty(),
            cwd: wire.cwd.is_none(),
            account: wire.user.is_none() && wire.group.is_none() && wire.groups.is_none(),
        }
    }
}

impl Wanted {
    /// Whether the user is.
    #[must_use]
    pub fn reads_account(self) -> bool {
        self.account
    }
}

impl Past {
    /// Reads what is wanted of a process. May wait for the process's memory.
    pub fn read(pid: i32, wanted: Wanted) -> Result<Self, Unread> {
        // One that runs another program meanwhile is looked at again. For a moment of that it has no words, not even its
        // name: else only who has wiped them off has none.
        let mut looks = 1;
        loop {
            let past = Self::read_once(pid, wanted)?;
            let is_the_same = !wanted.exec || past.exec_link_is(pid);
            if is_the_same && (!past.is_wordless || looks == LOOKS) {
                return Ok(past);
            }
            if looks == LOOKS {
                return Err(Unread::Silent(pid));
            }
            looks += 1;
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    fn read_once(pid: i32, wanted: Wanted) -> Result<Self, Unread> {
        let mut past =
            Self { status: Status::read(pid).ok_or(Unread::Silent(pid))?, ..Self::default() };
        if wanted.exec {
            if !is_here(pid, "ns/mnt") || !is_here(pid, "root") {
                return Err(Unread::Elsewhere(pid));
            }
            let link = link(pid, "exe", "exec")?;
            let path = link.strip_suffix(DELETED).filter(|_| !Path::new(&link).exists());
            past.was_deleted = path.is_some_and(|path| !Path::new(path).exists());
            path.unwrap_or(&link).clone_into(&mut past.exec);
            let words = words(pid, "cmdline", "args")?;
            past.is_wordless = words.is_empty();
            let mut words = words.into_iter();
            past.arg0 = words.next().filter(|arg0| *arg0 != past.exec);
            if wanted.args {
                past.args = words.collect();
            }
        }
        if wanted.envs {
            for variable in words(pid, "environ", "envs")? {
                let Some((name, value)) = variable.split_once('=') else { continue };
                if !name.is_empty() && !OF_A_RUN.contains(&name) {
                    // Of two with one name, programs see the first.
                    past.envs.entry(name.to_owned()).or_insert_with(|| value.to_owned());
                }
            }
        }
        if wanted.cwd {
            past.cwd = link(pid, "cwd", "cwd")?;
        }
        Ok(past)
    }

    fn exec_link_is(&self, pid: i32) -> bool {
        link(pid, "exe", "exec")
            .is_ok_and(|link| link == self.exec || link.strip_suffix(DELETED) == Some(&self.exec))
    }

    /// Completes `wire` with what was read.
    pub fn complete(self, wire: &mut JobSpec, wanted: Wanted) {
        if wanted.exec {
            wire.exec = self.exec;
            wire.arg0 = wire.arg0.take().or(self.arg0);
        }
        if wanted.args {
            wire.args = self.args;
        }
        if wanted.envs {
            wire.envs = self.envs;
        }
        if wanted.cwd {
            wire.cwd = Some(self.cwd).filter(|cwd| cwd != "/");
        }
        let Status { uid, gid, groups, umask, no_new_privs } = self.status;
        let is_own = (uid, gid) == (getuid().as_raw(), getgid().as_raw());
        let own_groups = getgroups().unwrap_or_default();
        let has_ours = own_groups.into_iter().map(Gid::as_raw).eq(groups.iter().copied());
        // Who is not root can start nobody but himself, and set no groups.
        if wanted.account && !(is_own && (has_ours || uid != 0)) {
            wire.user = Some(Account::Id(uid));
            wire.group = Some(Account::Id(gid));
            wire.groups = Some(groups.into_iter().map(Account::Id).collect());
        }
        wire.umask = wire.umask.take().or(umask);
        wire.no_new_privs |= no_new_privs;
    }
}

impl Status {
    fn read(pid: i32) -> Option<Self> {
        Some(Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?))
    }

    /// The real ids: a program that has given up rights for a while, or has got them from its file,
    /// was started by these.
    fn parse(text: &str) -> Self {
        let words = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().split_whitespace()
        };
        let first = |name| words(name).next().and_then(|word| word.parse().ok());
        let umask = words("Umask:").next().filter(|umask| *umask != "0022");
        Self {
            uid: first("Uid:").unwrap_or_default(),
            gid: first("Gid:").unwrap_or_default(),
            groups: words("Groups:").filter_map(|word| word.parse().ok()).collect(),
            umask: umask.map(str::to_owned),
            no_new_privs: first("NoNewPrivs:") == Some(1),
        }
    }
}

/// Whose process it is.
#[must_use]
pub fn owner_of(pid: i32) -> Option<u32> {
    Status::read(pid).map(|status| status.uid)
}

/// The process that a thread is of, where it is of another.
#[must_use]
pub fn process_of(thread: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    process.trim().parse().ok().filter(|process| *process != thread)
}

/// Whether a link of a process leads to where init's own leads.
fn is_here(pid: i32, name: &str) -> bool {
    let own = fs::read_link(format!("/proc/self/{name}")).ok();
    // What init may not read will be told of the program.
    fs::read_link(format!("/proc/{pid}/{name}")).map_or(true, |link| Some(link) == own)
}

fn link(pid: i32, name: &str, field: &'static str) -> Result<String, Unread> {
    let path = fs::read_link(format!("/proc/{pid}/{name}")).map_err(|error| Unread::Refused {
        pid,
        field: field.into(),
        errno: sys::errno(&error),
    })?;
    let bytes = path.into_os_string().into_vec();
    String::from_utf8(bytes).map_err(|_| Unread::NotText { pid, field: field.into() })
}

/// The texts in a file of a process, each ended by a NUL.
fn words(pid: i32, name: &str, field: &'static str) -> Result<Vec<String>, Unread> {
    let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/{name}"))
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| Unread::Refused { pid, field: field.into(), errno: sys::errno(&error) })?;
    if bytes.len() > MAX_BODY {
        return Err(Unread::TooLarge(pid));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Unread::NotText { pid, field: field.into() })?;
    let text = text.strip_suffix('\0').unwrap_or(&text);
    Ok(if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z08_rights_are_read_as_the_kernel_shows_them() {
        let text = "Name:\tx\nUmask:\t0077\nUid:\t0\t33\t33\t33\nGid:\t5\t5\t5\t5\n\
                    Groups:\t27 100 \nNoNewPrivs:\t1\n";
        let status = Status::parse(text);
        assert_eq!((status.uid, status.gid, status.groups), (0, 5, vec![27, 100]));
        assert_eq!((status.umask.as_deref(), status.no_new_privs), (Some("0077"), true));
        assert_eq!(Status::parse("Umask:\t0022\n").umask, None);
    }

    #[test]
    fn z08_what_a_spec_says_is_not_read() {
        let mut wire = JobSpec::new("/bin/own");
        wire.cwd = Some("/tmp".into());
        let wanted = Wanted::of(&wire);
        let own = i32::try_from(std::process::id()).unwrap();
        let past = Past::read(own, wanted).unwrap();
        past.complete(&mut wire, wanted);
        assert_eq!((wire.exec.as_str(), wire.cwd.as_deref()), ("/bin/own", Some("/tmp")));
        assert!(wire.args.is_empty() && wire.envs.contains_key("PATH"), "{wire:?}");
        let mut wire = JobSpec::new("");
        let wanted = Wanted::of(&wire);
        Past::read(own, wanted).unwrap().complete(&mut wire, wanted);
        assert_eq!(wire.exec, std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(wire.args, std::env::args().skip(1).collect::<Vec<_>>());
    }
}
