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

/// How long a process that was just made is left alone while others are in line to be made: it is hardly ready yet, and
/// asking all of a crowd at once would hold back those that are not even started.
const STARTS_FIRST: Duration = Duration::from_millis(500);

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
    drop(timeout(STARTS_FIRST, subject.init.all_started()).await);
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
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

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

    /// An init that takes what it is asked and answers nothing until the sender is dropped, an app that listens, and a
    /// job that is in line to be started.
    async fn beside_a_start() -> (Subject, TcpListener, tokio::sync::oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = Server::Tcp(listener.local_addr().expect("it is bound"), None);
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        let (asked, was_asked) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            drop(stream.read_u8().await);
            asked.send(()).expect("somebody waits for it");
            drop(ended.await);
        });
        let app = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = Port::new(app.local_addr().expect("it is bound").port()).expect("not 0");
        let place = Place::Port(port);
        let id = InstanceId::new(AppName::parse("a").expect("a name"), 1);
        let spec = Arc::new(sample("a", 1).job(1, &place, Revision::default()));
        let init = Init::through(server);
        tokio::spawn({
            let (init, spec) = (init.clone(), Arc::clone(&spec));
            async move { drop(init.start("b.1", &spec).await) }
        });
        was_asked.await.expect("it is asked");
        (Subject { id, place, spec, age: Duration::ZERO, init }, app, held)
    }

    async fn first_verdict(subject: Subject) -> Health {
        let told = std::sync::Mutex::new(None);
        let tell = async |verdict: Verdict| {
            *told.lock().expect("no panic") = Some(verdict.health);
            false
        };
        watch(Check::default(), subject, Health::Unknown, tell).await;
        let health = told.into_inner().expect("no panic");
        health.expect("it was told")
    }

    #[tokio::test]
    async fn others_are_started_before_one_is_asked() {
        let (subject, _app, held) = beside_a_start().await;
        let begun = Instant::now();
        let mut watching = std::pin::pin!(first_verdict(subject));
        let verdict = timeout(STARTS_FIRST / 5, &mut watching).await;
        let is_late = begun.elapsed() >= STARTS_FIRST;
        assert!(verdict.is_err() || is_late, "it was asked at once: {verdict:?}");
        drop(held);
        if verdict.is_err() {
            assert_eq!(watching.await, Health::Ready);
        }
    }

    #[tokio::test]
    async fn others_that_are_not_started_do_not_keep_one_from_being_asked() {
        let (subject, _app, held) = beside_a_start().await;
        assert_eq!(first_verdict(subject).await, Health::Ready);
        drop(held);
    }
}
