//! Asks one process whether it is ready, for as long as it lives.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use http::Method;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::health::{Check, Health, Probe, Watch};
use crate::http::Server;
use crate::name::Port;
use crate::place::Place;

/// Probes again and again, and tells what is known whenever that changes. Ends when nobody
/// listens any more, which `tell` answers with false.
pub(crate) async fn watch(
    check: Check,
    place: Place,
    from: Health,
    tell: impl AsyncFn(Health) -> bool,
) {
    let begun = Instant::now();
    let mut watch = Watch::new(from);
    let mut known = from;
    loop {
        let passed = passes(&check, &place).await;
        let health = watch.step(&check, passed);
        if health != known && !tell(health).await {
            return;
        }
        known = health;
        tokio::time::sleep(watch.wait(&check, begun.elapsed())).await;
    }
}

async fn passes(check: &Check, place: &Place) -> bool {
    match (&check.probe, place) {
        (Probe::Tcp, Place::Port(port) | Place::Fd(port)) => {
            let connect = TcpStream::connect(loopback(*port));
            timeout(check.timeout, connect).await.is_ok_and(|c| c.is_ok())
        }
        (Probe::Tcp, Place::Unix(path)) => {
            timeout(check.timeout, UnixStream::connect(path)).await.is_ok_and(|c| c.is_ok())
        }
        (Probe::Http(path), place) => {
            let server = match place {
                Place::Port(port) | Place::Fd(port) => Server::Tcp(loopback(*port), None),
                Place::Unix(socket) => Server::Unix(socket.clone()),
            };
            let answer = server.ask(Method::GET, path, None::<&()>, check.timeout).await;
            answer.is_ok_and(|a| a.status.is_success() || a.status.is_redirection())
        }
    }
}

fn loopback(port: Port) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()))
}
