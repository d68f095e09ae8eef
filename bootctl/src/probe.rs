//! Asks one process whether it is ready, for as long as it lives.
//!
//! One question after the other, each bounded by its timeout. A command that asks is a job of init
//! like any other, `APP.N.health`, and cleared when it has answered; see [`command`].

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use init_wire::{JobSpec, LastExit, Policy, Ready, Restart, SignalName, Stdio, Stop};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::client::{Init, InitError};
use crate::health::{Check, ENV_PROBE, Fault, Health, Probe, Watch};
use crate::http::{HttpError, Server};
use crate::name::{InstanceId, Port};
use crate::place::Place;
use crate::socket_file;

/// What tells a job that asks from others: the instance that it asks is in its environment, too.
pub(crate) const ENV_MARK: &str = "BOOTCTL_HEALTH";

/// Who is asked.
pub(crate) struct Subject {
    pub(crate) id: InstanceId,
    pub(crate) place: Place,
    pub(crate) spec: Arc<JobSpec>,
    /// How long its process has lived when the watch begins.
    pub(crate) age: Duration,
    pub(crate) init: Init,
}

/// What has become known: how it is, and why if it does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) health: Health,
    pub(crate) fault: Option<Fault>,
}

/// Probes again and again, and tells what is known whenever that changes. Ends when nobody
/// listens any more, which `tell` answers with false.
pub(crate) async fn watch(
    check: Check,
    subject: Subject,
    from: Health,
    tell: impl AsyncFn(Verdict) -> bool,
) {
    let begun = Instant::now();
    let mut watch = Watch::new(from);
    let mut known = Verdict { health: from, fault: None };
    loop {
        // Between two questions there is nothing of one: there may be a thousand who wait.
        let fault = Box::pin(ask(&check, &subject)).await.err();
        let age = subject.age.saturating_add(begun.elapsed());
        let health = watch.step(&check, age, fault.is_none());
        let verdict = Verdict { health, fault };
        if verdict != known && !tell(verdict.clone()).await {
            return;
        }
        known = verdict;
        tokio::time::sleep(watch.wait(&check, begun.elapsed())).await;
    }
}

async fn ask(check: &Check, subject: &Subject) -> Result<(), Fault> {
    let place = &subject.place;
    if let Place::Unix(path) = place {
        admit(path)?;
    }
    let within = check.timeout;
    match &check.probe {
        // init tells of a process that it runs only when it has said so.
        Probe::Notify | Probe::Alive => Ok(()),
        Probe::Tcp => timeout(within, connect(place)).await.unwrap_or(Err(Fault::TooSlow(within))),
        Probe::Http(path) => {
            let server = match place {
                Place::Port(port) | Place::Fd(port) => Server::Tcp(loopback(*port), None),
                Place::Unix(socket) => Server::Unix(socket.clone()),
                Place::Nowhere => return Ok(()),
            };
            match server.status(path, subject.id.app.as_str(), within).await {
                Ok(status) if status.is_success() || status.is_redirection() => Ok(()),
                Ok(status) => Err(Fault::Status { path: path.clone(), status: status.as_u16() }),
                Err(error) => Err(no_answer(path, &error)),
            }
        }
        Probe::Exec(words) => run(words, subject, within).await,
    }
}

/// The proxy is let in before anybody is told that it may come.
fn admit(path: &Path) -> Result<(), Fault> {
    socket_file::admit(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Fault::NoSocket(path.to_owned()),
        _ => Fault::Connect(error.to_string()),
    })
}

async fn connect(place: &Place) -> Result<(), Fault> {
    let connected = match place {
        Place::Port(port) | Place::Fd(port) => TcpStream::connect(loopback(*port)).await.map(drop),
        Place::Unix(path) => UnixStream::connect(path).await.map(drop),
        Place::Nowhere => Ok(()),
    };
    connected.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Fault::Refused,
        _ => Fault::Connect(error.to_string()),
    })
}

fn no_answer(path: &str, error: &HttpError) -> Fault {
    match error {
        refused if refused.is_refused() => Fault::Refused,
        HttpError::TooSlow(within) => Fault::TooSlow(*within),
        HttpError::Connect(error) => Fault::Connect(error.to_string()),
        other => Fault::NoAnswer { path: path.to_owned(), why: other.to_string() },
    }
}

fn loopback(port: Port) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()))
}

/// The job's name.
fn name(id: &InstanceId) -> String {
    format!("{id}.health")
}

/// The job that asks an instance: the same user, rights, folder and environment; no place of its
/// own, so it is lent no listener.
fn command(words: &[String], id: &InstanceId, spec: &JobSpec) -> Option<JobSpec> {
    let (program, args) = words.split_first()?;
    let mut envs = spec.envs.clone();
    envs.remove(ENV_PROBE);
    envs.insert(ENV_MARK.into(), id.to_string());
    Some(JobSpec {
        exec: program.clone(),
        arg0: None,
        args: args.to_vec(),
        envs,
        fds: Vec::new(),
        fd_store_max: 0,
        watchdog_ms: None,
        adopt: None,
        ready: Ready::Exec,
        restart: Restart { policy: Policy::Never, ..Restart::default() },
        // Whoever is told to end has had its time.
        stop: Stop { signal: SignalName::Name("KILL".into()), timeout_ms: 0 },
        stdout: Stdio::Null,
        stderr: Stdio::Null,
        ..spec.clone()
    })
}

async fn run(words: &[String], subject: &Subject, within: Duration) -> Result<(), Fault> {
    let Subject { id, spec, init, .. } = subject;
    let not_run = |error: InitError| Fault::NotRun(error.to_string());
    let Some(command) = command(words, id, spec) else { return Ok(()) };
    match init.run(&name(id), &command, within).await.map_err(not_run)? {
        Some(Some(LastExit::Code(0))) => Ok(()),
        Some(exit) => Err(Fault::Exit { program: command.exec, exit: told(exit) }),
        None => Err(Fault::TooSlow(within)),
    }
}

fn told(exit: Option<LastExit>) -> String {
    match exit {
        Some(LastExit::Code(code)) => format!("exit code {code}"),
        Some(LastExit::Signal(signal)) => signal,
        None => "an unknown result".into(),
    }
}

/// Which instance a job asks, if it is one of ours that ask.
pub(crate) fn asks(id: &str, spec: &JobSpec) -> Option<String> {
    let whom = spec.envs.get(ENV_MARK)?;
    (format!("{whom}.health") == id).then(|| whom.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{identify, sample};
    use crate::name::AppName;
    use crate::order::Revision;

    #[test]
    fn a_command_that_asks_is_not_the_instance() {
        let port = Port::new(9000).expect("not 0");
        let id = InstanceId::new(AppName::parse("a").expect("a name"), 1);
        for place in [Place::Port(port), Place::Fd(port), Place::Unix("/x".into())] {
            let spec = sample("a", 1).job(1, &place, Revision::default());
            let command = command(&["true".into()], &id, &spec).expect("a command");
            assert_eq!(identify(&name(&id), &command), None);
            assert_eq!(asks(&name(&id), &command).as_deref(), Some("a.1"));
            assert_eq!(asks("other", &command), None);
            assert_eq!(asks("a.1", &spec), None);
            assert_eq!(command.envs.get("PORT"), spec.envs.get("PORT"));
            assert!(command.fds.is_empty());
        }
    }
}
