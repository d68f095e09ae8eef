//! A job spec that has been checked: what the core and the spawner work with.

use std::ffi::CString;
use std::net::SocketAddr;
use std::path::PathBuf;

use init_wire::{FdSpec, JobSpec, Restart, Stdio};

use crate::account::{AccountError, Accounts, Identity};
use crate::signal::Signal;

/// The longest delay or timeout a spec may ask for, in milliseconds: a year.
const MAX_MS: u64 = 365 * 24 * 3600 * 1000;
/// The longest name and path that the kernel takes.
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4095;
/// The most sockets one job may be lent.
const MAX_FDS: usize = 64;

/// A checked spec. Equal specs are the same job.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// As the client sent it, and as it is shown.
    pub wire: JobSpec,
    /// Whom to run as; `None` is init itself.
    pub identity: Option<Identity>,
    /// The polite signal of `stop`.
    pub stop_signal: Signal,
    /// The sockets to lend, in order.
    pub listeners: Vec<Listen>,
    /// What init itself was started with: only for the boot job.
    pub boot: Option<Boot>,
}

/// What `boot` inherits byte for byte, where the spec can only show text. It shares init's
/// terminal instead of leading a session of its own, and its end is not its group's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The arguments after the program's name.
    pub args: Vec<CString>,
    /// The environment, `NAME=VALUE` each.
    pub envs: Vec<CString>,
    /// Working directory.
    pub cwd: CString,
    /// Whether its whole process group is told what it is told.
    pub as_group: bool,
}

/// A socket that init keeps for jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Where it listens.
    pub address: Address,
}

/// Where a kept socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `tcp:HOST:PORT`.
    Tcp(SocketAddr),
    /// `unix:/PATH`.
    Unix(PathBuf),
}

/// What is wrong with a spec: the field and the reason.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A text that must not be empty.
    #[error("it must not be empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A NUL byte cannot be handed to a program.
    #[error("it holds a NUL byte, which no program can be given")]
    Nul {
        /// The field.
        field: &'static str,
    },
    /// A path that depends on where init happens to be.
    #[error("`{path}` is not absolute; begin it with /")]
    Relative {
        /// The field.
        field: &'static str,
        /// The path.
        path: String,
    },
    /// A name that cannot be a variable's.
    #[error("`{name}` cannot be a variable's name: it is empty or has an `=`")]
    BadVariable {
        /// The name.
        name: String,
    },
    /// No such signal.
    #[error("there is no such signal; use a name such as TERM or a number from 1 to 64")]
    UnknownSignal,
    /// A number out of its range.
    #[error("it must be {range}")]
    Range {
        /// The field.
        field: &'static str,
        /// The range in words.
        range: &'static str,
    },
    /// A socket address that cannot be read.
    #[error("`{listen}` is not an address; use tcp:HOST:PORT with a numeric host, or unix:/PATH")]
    BadAddress {
        /// The text.
        listen: String,
    },
    /// A socket's name with a character that `LISTEN_FDNAMES` cannot hold.
    #[error("`{name}` cannot be a socket's name: 1 to 255 printable characters without `:`")]
    BadFdName {
        /// The name.
        name: String,
    },
    /// An account that does not exist.
    #[error("{source}")]
    Account {
        /// The field.
        field: &'static str,
        /// The reason.
        source: AccountError,
    },
}

impl SpecError {
    /// The field at fault.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty { field }
            | Self::Nul { field }
            | Self::Relative { field, .. }
            | Self::Range { field, .. }
            | Self::Account { field, .. } => field,
            Self::BadVariable { .. } => "envs",
            Self::UnknownSignal => "stop.signal",
            Self::BadAddress { .. } => "fds.listen",
            Self::BadFdName { .. } => "fds.name",
        }
    }
}

impl Spec {
    /// Whether the whole process group is told what `boot` is told.
    #[must_use]
    pub fn as_group(&self) -> bool {
        self.boot.as_ref().is_some_and(|boot| boot.as_group)
    }

    /// Checks `wire`; `own` is init's own user and group id.
    pub fn check(wire: JobSpec, accounts: &Accounts, own: (u32, u32)) -> Result<Self, SpecError> {
        check_texts(&wire)?;
        check_restart(&wire.restart)?;
        if wire.stop.timeout_ms > MAX_MS {
            return Err(SpecError::Range { field: "stop.timeout_ms", range: "at most a year" });
        }
        let stop_signal = Signal::from_wire(&wire.stop.signal).ok_or(SpecError::UnknownSignal)?;
        if wire.fds.len() > MAX_FDS {
            return Err(SpecError::Range { field: "fds", range: "at most 64 sockets" });
        }
        let listeners = wire.fds.iter().map(Listen::check).collect::<Result<_, _>>()?;
        let identity = accounts
            .resolve(wire.user.as_ref(), wire.group.as_ref(), wire.groups.as_deref(), own)
            .map_err(|source| SpecError::Account { field: field_of(&source), source })?;
        Ok(Self { wire, identity, stop_signal, listeners, boot: None })
    }
}

impl Listen {
    fn check(wire: &FdSpec) -> Result<Self, SpecError> {
        let printable = wire.name.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b':');
        if wire.name.is_empty() || wire.name.len() > 255 || !printable {
            return Err(SpecError::BadFdName { name: wire.name.clone() });
        }
        let bad = || SpecError::BadAddress { listen: wire.listen.clone() };
        let address = match wire.listen.split_once(':').ok_or_else(bad)? {
            ("tcp", rest) => Address::Tcp(rest.parse().map_err(|_| bad())?),
            // 107 bytes are what a socket address of the kernel holds besides its NUL.
            ("unix", path) if path.starts_with('/') && path.len() <= 107 => {
                Address::Unix(path.into())
            }
            _ => return Err(bad()),
        };
        Ok(Self { name: wire.name.clone(), address })
    }
}

fn field_of(error: &AccountError) -> &'static str {
    match error {
        AccountError::UnknownGroup(_) => "group",
        AccountError::UnknownUser(_)
        | AccountError::NoPrimaryGroup(_)
        | AccountError::BadId(_)
        | AccountError::Unreadable { .. } => "user",
    }
}

fn check_texts(wire: &JobSpec) -> Result<(), SpecError> {
    if wire.exec.is_empty() {
        return Err(SpecError::Empty { field: "exec" });
    }
    let no_nul = |field, text: &str| {
        if text.contains('\0') { Err(SpecError::Nul { field }) } else { Ok(()) }
    };
    no_nul("exec", &wire.exec)?;
    let longest = if wire.exec.contains('/') { MAX_PATH } else { MAX_NAME };
    if wire.exec.len() > longest {
        return Err(SpecError::Range {
            field: "exec",
            range: "a name of at most 255 bytes, or a path of at most 4095",
        });
    }
    if wire.exec.contains('/') && !wire.exec.starts_with('/') {
        return Err(SpecError::Relative { field: "exec", path: wire.exec.clone() });
    }
    for arg in &wire.args {
        no_nul("args", arg)?;
    }
    for (name, value) in &wire.envs {
        if name.is_empty() || name.contains('=') {
            return Err(SpecError::BadVariable { name: name.clone() });
        }
        no_nul("envs", name)?;
        no_nul("envs", value)?;
    }
    let stdio = |field, stdio: &Stdio| match stdio {
        Stdio::Null | Stdio::Inherit => Ok(()),
        Stdio::File(path) => absolute(field, path),
    };
    stdio("stdin", &wire.stdin)?;
    stdio("stdout", &wire.stdout)?;
    stdio("stderr", &wire.stderr)?;
    wire.cwd.as_deref().map_or(Ok(()), |cwd| absolute("cwd", cwd))
}

fn absolute(field: &'static str, path: &str) -> Result<(), SpecError> {
    if path.contains('\0') {
        return Err(SpecError::Nul { field });
    }
    if !path.starts_with('/') {
        return Err(SpecError::Relative { field, path: path.to_owned() });
    }
    Ok(())
}

fn check_restart(rule: &Restart) -> Result<(), SpecError> {
    let within = |field, value: u64| {
        if value > MAX_MS {
            Err(SpecError::Range { field, range: "at most a year, in milliseconds" })
        } else {
            Ok(())
        }
    };
    within("restart.delay_ms", rule.delay_ms)?;
    within("restart.max_delay_ms", rule.max_delay_ms)?;
    within("restart.reset_after_ms", rule.reset_after_ms)?;
    within("restart.window_ms", rule.window_ms)?;
    if !(1.0..=1000.0).contains(&rule.factor) {
        return Err(SpecError::Range { field: "restart.factor", range: "from 1 to 1000" });
    }
    if !(0.0..=1.0).contains(&rule.jitter) {
        return Err(SpecError::Range { field: "restart.jitter", range: "from 0 to 1" });
    }
    if rule.limit > 10_000 {
        return Err(SpecError::Range { field: "restart.limit", range: "at most 10000" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use init_wire::{SignalName, Stop};

    use super::*;

    fn field(change: impl FnOnce(&mut JobSpec)) -> Option<&'static str> {
        let mut wire = JobSpec::new("/bin/true");
        change(&mut wire);
        Spec::check(wire, &Accounts::default(), (0, 0)).err().map(|error| error.field())
    }

    #[test]
    fn b20_each_bad_field_is_named() {
        assert_eq!(field(|_| ()), None);
        assert_eq!(field(|s| s.exec.clear()), Some("exec"));
        assert_eq!(field(|s| s.exec = "bin/true".into()), Some("exec"));
        assert_eq!(field(|s| s.args.push("a\0b".into())), Some("args"));
        assert_eq!(field(|s| s.cwd = Some("tmp".into())), Some("cwd"));
        assert_eq!(field(|s| s.stdout = Stdio::File("log".into())), Some("stdout"));
        assert_eq!(field(|s| drop(s.envs.insert("A=B".into(), String::new()))), Some("envs"));
        assert_eq!(field(|s| s.restart.factor = 0.5), Some("restart.factor"));
        assert_eq!(field(|s| s.restart.factor = f64::NAN), Some("restart.factor"));
        assert_eq!(field(|s| s.restart.delay_ms = u64::MAX), Some("restart.delay_ms"));
        assert_eq!(
            field(|s| s.stop = Stop { signal: SignalName::Number(77), timeout_ms: 0 }),
            Some("stop.signal")
        );
    }

    #[test]
    fn b23_addresses_are_numeric_tcp_or_absolute_unix() {
        let listen = |text: &str| {
            Listen::check(&FdSpec { name: "http".into(), listen: text.into() }).is_ok()
        };
        for good in ["tcp:0.0.0.0:80", "tcp:[::1]:0", "unix:/run/x.sock"] {
            assert!(listen(good), "{good}");
        }
        for bad in ["", "80", "tcp:80", "tcp:localhost:80", "unix:x", "udp:1.2.3.4:5"] {
            assert!(!listen(bad), "{bad}");
        }
    }
}
