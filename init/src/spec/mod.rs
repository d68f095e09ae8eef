//! A job spec that has been checked: what the core and the spawner work with.

mod adoption;
mod confine;
mod error;
mod listen;

use std::ffi::CString;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use adoption::Adoption;
pub use confine::{Confinement, Limit};
pub use error::{Field, SpecError};
use init_wire::{JobSpec, Policy, Ready, Restart, Stdio};
pub use listen::{Address, Listen, Options, UnixName, is_fd_name};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::account::{Accounts, Identity};
use crate::limits::MAX_BODY;
use crate::signal::Signal;

/// The longest delay or timeout a spec may ask for, in milliseconds: a year.
const MAX_MS: u64 = 365 * 24 * 3600 * 1000;
/// The longest name and path that the kernel takes.
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4095;
/// Bytes that may be kept of a stream.
const LOG_BYTES: RangeInclusive<u32> = 4096..=16 * 1024 * 1024;
/// The most descriptors one job may be lent: sockets, and what it has stored.
pub const MAX_FDS: u32 = 64;
/// The highest descriptor that a job can be told to say on that it is ready.
const MAX_READY_FD: u32 = 2 + MAX_FDS;

/// A checked spec. Equal specs are the same job.
///
/// There may be many thousands, and most of a spec is needed only when its process is started or
/// it is shown; so that part is kept as the JSON text it came as.
#[derive(Debug)]
pub struct Spec {
    text: Box<RawValue>,
    /// The same as it was read, for the first start.
    fresh: Mutex<Option<Box<JobSpec>>>,
    /// Whom to run as; `None` is init itself.
    pub identity: Option<Box<Identity>>,
    /// When it is ready.
    pub ready: Ready,
    /// How long it may be silent.
    pub watchdog: Option<Duration>,
    /// When to start it again, if ever.
    pub restart: Option<Box<Restart>>,
    /// The polite signal of `stop`.
    pub stop_signal: Signal,
    /// How long the polite signal has.
    pub stop_timeout: Duration,
    /// Whether it reads what only init can write.
    pub is_tied: bool,
    /// The sockets to lend, in order.
    pub listeners: Box<[Listen]>,
    /// How many descriptors it may store for its next run.
    pub store_max: usize,
    /// What init itself was started with: only for the boot job.
    pub boot: Option<Box<Boot>>,
    /// Which process to take over instead of the first start.
    pub adoption: Option<Box<Adoption>>,
}

/// What `boot` inherits byte for byte, where the spec can only show text. It shares init's
/// terminal instead of leading a session of its own, and its end is not its group's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        if self.adoption.is_some() || other.adoption.is_some() {
            return self.adoption == other.adoption;
        }
        // Everything else follows from these.
        self.text.get() == other.text.get()
            && self.identity == other.identity
            && self.listeners == other.listeners
            && self.boot == other.boot
    }
}

impl Spec {
    /// Checks `wire`; `own` is init's own user and group id.
    pub fn check(wire: &JobSpec, accounts: &Accounts, own: (u32, u32)) -> Result<Self, SpecError> {
        check_texts(wire)?;
        check_restart(&wire.restart)?;
        Confinement::check(wire)?;
        confine::oom_score_adj(wire.oom_score_adj)?;
        let adoption = Adoption::check(wire)?;
        wire.cgroup.as_ref().map_or(Ok(()), confine::cgroup)?;
        if wire.stop.timeout_ms > MAX_MS {
            return Err(SpecError::range("stop.timeout_ms", "at most a year"));
        }
        if wire.watchdog_ms.is_some_and(|ms| !(1..=MAX_MS).contains(&ms)) {
            return Err(SpecError::range("watchdog_ms", "from 1 to a year, in milliseconds"));
        }
        let listeners = listen::check(&wire.fds, accounts, own)?;
        if listeners.len().saturating_add(store_max(wire)) > MAX_FDS as usize {
            return Err(SpecError::range("fd_store_max", "at most 64, less the sockets of `fds`"));
        }
        check_ready(wire.ready, listeners.len() + store_max(wire))?;
        let identity = accounts
            .resolve(wire.user.as_ref(), wire.group.as_ref(), wire.groups.as_deref(), own)
            .map_err(SpecError::account)?;
        let spec = Self::of(wire, identity, listeners)?;
        Ok(Self { adoption: adoption.map(Box::new), ..spec })
    }

    /// The spec of `wire`, the names in which mean this identity and these sockets.
    fn of(
        wire: &JobSpec,
        identity: Option<Identity>,
        listeners: Box<[Listen]>,
    ) -> Result<Self, SpecError> {
        let stop_signal = Signal::from_wire(&wire.stop.signal).ok_or(SpecError::UnknownSignal)?;
        Ok(Self {
            text: serde_json::value::to_raw_value(wire)?,
            fresh: Mutex::default(),
            identity: identity.map(Box::new),
            ready: wire.ready,
            watchdog: wire.watchdog_ms.map(Duration::from_millis),
            restart: Some(&wire.restart)
                .filter(|rule| rule.policy != Policy::Never)
                .map(|rule| Box::new(rule.clone())),
            stop_signal,
            stop_timeout: Duration::from_millis(wire.stop.timeout_ms),
            is_tied: wire.tty || wire.stdin == Stdio::Pipe,
            listeners,
            store_max: store_max(wire),
            boot: None,
            adoption: None,
        })
    }

    /// Whether the whole process group is told what `boot` is told.
    #[must_use]
    pub fn as_group(&self) -> bool {
        self.boot.as_ref().is_some_and(|boot| boot.as_group)
    }

    /// The same for the boot job.
    #[must_use]
    pub fn of_boot(self, boot: Boot) -> Self {
        Self { boot: Some(Box::new(boot)), ..self }
    }

    /// The same with what it was read from, which spares reading it once more.
    #[must_use]
    pub fn with(self, wire: JobSpec) -> Self {
        Self { fresh: Mutex::new(Some(Box::new(wire))), ..self }
    }

    /// The spec as it came.
    pub fn wire(&self) -> Result<JobSpec, serde_json::Error> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).take();
        fresh.map_or_else(|| serde_json::from_slice(self.text.get().as_bytes()), |fresh| Ok(*fresh))
    }

    /// Bytes that it takes, nearly.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.text.get().len()
    }

    /// Bytes that it may come to take: a process that is taken over adds what it was started with.
    #[must_use]
    pub fn most(&self) -> usize {
        self.size() + self.adoption.as_ref().map_or(0, |_| MAX_BODY)
    }

    /// Whether it is told where to say how it is.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.ready == Ready::Notify || self.watchdog.is_some() || self.store_max > 0
    }
}

/// Writing a spec down and reading it again: its names stay what they meant when it came.
pub mod shared {
    use std::sync::Arc;

    use init_wire::JobSpec;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    use super::{Adoption, Boot, Identity, Listen, Spec};

    #[derive(Serialize, Deserialize)]
    struct Kept {
        text: Box<RawValue>,
        identity: Option<Identity>,
        listeners: Box<[Listen]>,
        boot: Option<Boot>,
        adoption: Option<Adoption>,
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(spec: &Arc<Spec>, to: S) -> Result<S::Ok, S::Error> {
        let identity = spec.identity.as_deref().cloned();
        let boot = spec.boot.as_deref().cloned();
        let adoption = spec.adoption.as_deref().cloned();
        let (text, listeners) = (spec.text.clone(), spec.listeners.clone());
        Kept { text, identity, listeners, boot, adoption }.serialize(to)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Spec>, D::Error> {
        let Kept { text, identity, listeners, boot, adoption } = Kept::deserialize(from)?;
        let wire: JobSpec =
            serde_json::from_slice(text.get().as_bytes()).map_err(D::Error::custom)?;
        let spec = Spec::of(&wire, identity, listeners).map_err(D::Error::custom)?;
        let (boot, adoption) = (boot.map(Box::new), adoption.map(Box::new));
        Ok(Arc::new(Spec { text, boot, adoption, ..spec }))
    }
}

/// A spec as the API shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown(pub Arc<Spec>);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.text.serialize(serializer)
    }
}

fn store_max(wire: &JobSpec) -> usize {
    usize::try_from(wire.fd_store_max).unwrap_or(usize::MAX)
}

fn check_ready(ready: Ready, taken: usize) -> Result<(), SpecError> {
    let Ready::Fd(fd) = ready else { return Ok(()) };
    let (least, most) = (3 + u32::try_from(taken).unwrap_or(MAX_FDS), MAX_READY_FD);
    if (least..=most).contains(&fd) {
        Ok(())
    } else {
        Err(SpecError::BadReadyFd { fd, least, most })
    }
}

fn check_texts(wire: &JobSpec) -> Result<(), SpecError> {
    if wire.exec.is_empty() && wire.adopt.is_none() {
        return Err(SpecError::Empty { field: "exec".into() });
    }
    let no_nul = |field: &'static str, text: &str| {
        if text.contains('\0') { Err(SpecError::Nul { field: field.into() }) } else { Ok(()) }
    };
    no_nul("exec", &wire.exec)?;
    no_nul("arg0", wire.arg0.as_deref().unwrap_or_default())?;
    let longest = if wire.exec.contains('/') { MAX_PATH } else { MAX_NAME };
    if wire.exec.len() > longest {
        return Err(SpecError::range(
            "exec",
            "a name of at most 255 bytes, or a path of at most 4095",
        ));
    }
    if wire.exec.contains('/') && !wire.exec.starts_with('/') {
        return Err(SpecError::Relative { field: "exec".into(), path: wire.exec.clone() });
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
        Stdio::File(path) => absolute(field, path),
        Stdio::Pipe if field != "stdin" => {
            Err(SpecError::range(field, "`log`: `pipe` is for stdin"))
        }
        Stdio::Log if field == "stdin" => {
            Err(SpecError::range(field, "`pipe`: `log` is for stdout and stderr"))
        }
        Stdio::Null | Stdio::Inherit | Stdio::Pipe | Stdio::Log => Ok(()),
    };
    if !(LOG_BYTES.contains(&wire.log.bytes)) {
        return Err(SpecError::range("log.bytes", "from 4096 to 16777216"));
    }
    let has_streams = (&wire.stdin, &wire.stdout, &wire.stderr)
        != (&Stdio::Null, &Stdio::Inherit, &Stdio::Inherit);
    if wire.tty && has_streams {
        return Err(SpecError::range("tty", "without stdin, stdout and stderr: it is all three"));
    }
    stdio("stdin", &wire.stdin)?;
    stdio("stdout", &wire.stdout)?;
    stdio("stderr", &wire.stderr)?;
    wire.cwd.as_deref().map_or(Ok(()), |cwd| absolute("cwd", cwd))
}

fn absolute(field: &'static str, path: &str) -> Result<(), SpecError> {
    if path.contains('\0') {
        return Err(SpecError::Nul { field: field.into() });
    }
    if !path.starts_with('/') {
        return Err(SpecError::Relative { field: field.into(), path: path.to_owned() });
    }
    Ok(())
}

fn check_restart(rule: &Restart) -> Result<(), SpecError> {
    let within = |field: &'static str, value: u64| {
        if value > MAX_MS {
            Err(SpecError::range(field, "at most a year, in milliseconds"))
        } else {
            Ok(())
        }
    };
    within("restart.delay_ms", rule.delay_ms)?;
    within("restart.max_delay_ms", rule.max_delay_ms)?;
    within("restart.reset_after_ms", rule.reset_after_ms)?;
    within("restart.window_ms", rule.window_ms)?;
    if !(1.0..=1000.0).contains(&rule.factor) {
        return Err(SpecError::range("restart.factor", "from 1 to 1000"));
    }
    if !(0.0..=1.0).contains(&rule.jitter) {
        return Err(SpecError::range("restart.jitter", "from 0 to 1"));
    }
    if rule.limit > 10_000 {
        return Err(SpecError::range("restart.limit", "at most 10000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use init_wire::{
        Bound, Cgroup, FdSpec, Rlimit, RlimitHalves, RlimitName, Setting, SignalName, Stop,
        Unlimited,
    };

    use super::*;

    fn field(change: impl FnOnce(&mut JobSpec)) -> Option<String> {
        let mut wire = JobSpec::new("/bin/true");
        change(&mut wire);
        let checked = Spec::check(&wire, &Accounts::default(), (0, 0));
        checked.err().map(|error| error.field().to_owned())
    }

    fn assert_bad(expected: &str, change: impl FnOnce(&mut JobSpec)) {
        assert_eq!(field(change).as_deref(), Some(expected));
    }

    #[test]
    fn b20_each_bad_field_is_named() {
        assert_eq!(field(|_| ()), None);
        assert_bad("exec", |s| s.exec.clear());
        assert_bad("exec", |s| s.exec = "bin/true".into());
        assert_bad("args", |s| s.args.push("a\0b".into()));
        assert_bad("cwd", |s| s.cwd = Some("tmp".into()));
        assert_bad("stdout", |s| s.stdout = Stdio::File("log".into()));
        assert_bad("stdin", |s| s.stdin = Stdio::Log);
        assert_bad("stdout", |s| s.stdout = Stdio::Pipe);
        assert_bad("log.bytes", |s| s.log.bytes = 4095);
        assert_bad("tty", |s| (s.tty, s.stdout) = (true, Stdio::Log));
        assert_bad("envs", |s| drop(s.envs.insert("A=B".into(), String::new())));
        assert_bad("restart.factor", |s| s.restart.factor = 0.5);
        assert_bad("restart.factor", |s| s.restart.factor = f64::NAN);
        assert_bad("restart.delay_ms", |s| s.restart.delay_ms = u64::MAX);
        assert_bad("stop.signal", |s| {
            s.stop = Stop { signal: SignalName::Number(77), timeout_ms: 0 };
        });
        assert_bad("watchdog_ms", |s| s.watchdog_ms = Some(0));
    }

    #[test]
    fn what_confines_is_checked() {
        for umask in ["", "8", "01000", "1777", "u=rwx", "-22", "+22"] {
            assert_bad("umask", |s| s.umask = Some(umask.into()));
        }
        for umask in ["0", "22", "027", "0077", "777"] {
            assert_eq!(field(|s| s.umask = Some(umask.into())), None, "{umask}");
        }
        assert_bad("nice", |s| s.nice = Some(20));
        assert_bad("nice", |s| s.nice = Some(-21));
        assert_bad("oom_score_adj", |s| s.oom_score_adj = Some(1001));
        assert_bad("capabilities", |s| s.capabilities = Some(vec!["FLY".into()]));
        let halves = RlimitHalves { soft: Bound::None(Unlimited::Unlimited), hard: Bound::At(1) };
        let limits = BTreeMap::from([(RlimitName::Nofile, Rlimit::Each(halves))]);
        assert_bad("rlimits.nofile", |s| s.rlimits = limits);
    }

    #[test]
    fn settings_of_a_control_group_are_checked() {
        let set = |change: fn(&mut Cgroup, Setting), text: &str| {
            let mut cgroup = Cgroup::default();
            change(&mut cgroup, Setting::Text(text.into()));
            field(|s| s.cgroup = Some(cgroup))
        };
        for bad in ["", "-1", "1 2", "256M", "1\n2"] {
            let found = set(|c, v| c.memory_max = Some(v), bad);
            assert_eq!(found.as_deref(), Some("cgroup.memory_max"), "{bad:?}");
        }
        assert_eq!(set(|c, v| c.memory_max = Some(v), "max"), None);
        assert_eq!(set(|c, v| c.cpu_max = Some(v), "5000 100000"), None);
        assert_eq!(set(|c, v| c.cpu_weight = Some(v), "0").as_deref(), Some("cgroup.cpu_weight"));
    }

    #[test]
    fn the_descriptor_for_readiness_must_be_free() {
        let socket = FdSpec::new("a", "tcp:127.0.0.1:0");
        for (fd, good) in [(0, false), (2, false), (3, false), (4, true), (66, true), (67, false)] {
            let found = field(|s| {
                s.fds.push(socket.clone());
                s.ready = Ready::Fd(fd);
            });
            assert_eq!(found.is_none(), good, "{fd}");
        }
    }

    #[test]
    fn i04_what_is_stored_has_its_place_behind_the_sockets() {
        let socket = FdSpec::new("a", "tcp:127.0.0.1:0");
        for (store, good) in [(0, true), (63, true), (64, false), (u32::MAX, false)] {
            let found = field(|s| {
                s.fds.push(socket.clone());
                s.fd_store_max = store;
            });
            assert_eq!(found.is_none(), good, "{store}");
            assert!(found.is_none_or(|field| field == "fd_store_max"));
        }
        for (fd, good) in [(5, false), (6, true)] {
            let found = field(|s| {
                s.fds.push(socket.clone());
                s.fd_store_max = 2;
                s.ready = Ready::Fd(fd);
            });
            assert_eq!(found.is_none(), good, "{fd}");
        }
    }

    #[test]
    fn a_spec_is_kept_as_it_came() {
        let mut wire = JobSpec::new("/bin/true");
        wire.args.push("x".into());
        let spec = Spec::check(&wire, &Accounts::default(), (0, 0)).unwrap();
        assert_eq!(spec.wire().unwrap(), wire);
        let shown = serde_json::to_string(&Shown(Arc::new(spec))).unwrap();
        assert_eq!(shown, r#"{"exec":"/bin/true","args":["x"]}"#);
    }
}
