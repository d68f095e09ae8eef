//! Where an instance is asked: a port, a socket's path, or a listener that init holds for it.
//!
//! A place is given away by the planner and written in the job's spec; from there it is read again.
//! Nothing is opened or looked at here.

use std::fmt;
use std::path::{Path, PathBuf};

use init_wire::{FdSpec, JobSpec};

use crate::app::ENV_APP;
use crate::name::{InstanceId, Port};
use crate::socket_file::LEAST_DELAY;

/// The port that an instance has to listen on.
pub(crate) const ENV_PORT: &str = "PORT";
/// The path of the socket that it has to listen on.
pub(crate) const ENV_SOCKET: &str = "SOCKET";
/// The name of its listener in `LISTEN_FDNAMES`.
const LISTENER: &str = "http";
/// The name of its socket's file.
const SOCKET: &str = "sock";

/// What an app wants its instances to listen on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    /// On `$PORT`.
    #[default]
    Port,
    /// On the unix socket `$SOCKET`.
    Unix,
    /// On what it is handed as descriptor 3.
    Fd,
    /// On nothing that we know of: nobody sends it requests.
    Nowhere,
}

/// One instance's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Port(Port),
    Unix(PathBuf),
    /// init listens there, whether the instance runs or not.
    Fd(Port),
    Nowhere,
}

impl Place {
    /// The place that a job was given.
    pub(crate) fn of(spec: &JobSpec) -> Option<Self> {
        if let Some(text) = spec.envs.get(ENV_PORT) {
            return text.parse().ok().map(Self::Port);
        }
        if let Some(fd) = spec.fds.iter().find(|fd| fd.name == LISTENER) {
            let (_, port) = fd.listen.rsplit_once(':')?;
            return port.parse().ok().map(Self::Fd);
        }
        match spec.envs.get(ENV_SOCKET) {
            Some(path) => Some(Self::Unix(path.into())),
            None => spec.envs.contains_key(ENV_APP).then_some(Self::Nowhere),
        }
    }

    /// An instance's socket below the folder of all sockets. Each instance has a folder of its own
    /// in there, which is its user's: nobody else can be where it is expected.
    pub(crate) fn socket(folder: &Path, id: &InstanceId) -> Self {
        Self::Unix(folder.join(id.to_string()).join(SOCKET))
    }

    /// Gives it to a job.
    pub(crate) fn equip(&self, spec: &mut JobSpec) {
        match self {
            Self::Port(port) => drop(spec.envs.insert(ENV_PORT.into(), port.to_string())),
            Self::Unix(path) => {
                spec.envs.insert(ENV_SOCKET.into(), path.to_string_lossy().into_owned());
                // What an earlier process has left is cleared meanwhile.
                let least = u64::try_from(LEAST_DELAY.as_millis()).unwrap_or(u64::MAX);
                let restart = &mut spec.restart;
                restart.jitter = restart.jitter.min(0.5);
                restart.delay_ms = restart.delay_ms.max(least.saturating_mul(2));
                restart.max_delay_ms = restart.max_delay_ms.max(least.saturating_mul(2));
            }
            Self::Fd(port) => spec.fds.push(FdSpec::new(LISTENER, tcp(*port))),
            Self::Nowhere => {}
        }
    }

    pub(crate) fn kind(&self) -> PlaceKind {
        match self {
            Self::Port(_) => PlaceKind::Port,
            Self::Unix(_) => PlaceKind::Unix,
            Self::Fd(_) => PlaceKind::Fd,
            Self::Nowhere => PlaceKind::Nowhere,
        }
    }

    pub(crate) fn port(&self) -> Option<Port> {
        match self {
            Self::Port(port) | Self::Fd(port) => Some(*port),
            Self::Unix(_) | Self::Nowhere => None,
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Port(_) | Self::Fd(_) | Self::Nowhere => None,
        }
    }

    /// Where somebody is asked, in a sentence.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Port(port) | Self::Fd(port) => format!("on port {port}"),
            Self::Unix(path) => format!("at {}", path.display()),
            Self::Nowhere => "nowhere".into(),
        }
    }

    /// In the proxy's words; empty where nobody is sent.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Port(port) | Self::Fd(port) => tcp(*port),
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Nowhere => String::new(),
        }
    }
}

fn tcp(port: Port) -> String {
    format!("tcp:127.0.0.1:{port}")
}

/// As people see it: the port, or the path.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) | Self::Fd(port) => port.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Nowhere => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::AppName;

    #[test]
    fn a_job_tells_its_place() {
        let port = Port::new(9001).expect("not 0");
        let id = InstanceId::new(AppName::parse("shop.example").expect("a name"), 2);
        let socket = Place::socket(Path::new("/run/x/apps"), &id);
        for (place, address) in [
            (Place::Port(port), "tcp:127.0.0.1:9001"),
            (Place::Fd(port), "tcp:127.0.0.1:9001"),
            (socket, "unix:/run/x/apps/shop.example.2/sock"),
        ] {
            let mut spec = JobSpec::new("server");
            assert_eq!(Place::of(&spec), None);
            place.equip(&mut spec);
            assert_eq!(Place::of(&spec).as_ref(), Some(&place));
            assert_eq!(place.address(), address);
        }
    }
}
