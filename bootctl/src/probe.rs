//! Asks one process whether it is ready, for as long as it lives.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use http::Method;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::health::{Check, Health, Probe, Watch};
use crate::http::Server;
use crate::name::Port;

/// Probes again and again, and tells what is known whenever that changes. Ends when nobody
/// listens any more, which `tell` answers with false.
pub(crate) async fn watch(
    check: Check,
    port: Port,
    from: Health,
    tell: impl AsyncFn(Health) -> bool,
) {
    let begun = Instant::now();
    let mut watch = Watch::new(from);
    let mut known = from;
    loop {
        let passed = passes(&check, port).await;
        let health = watch.step(&check, passed);
        if health != known && !tell(health).await {
            return;
        }
        known = health;
        tokio::time::sleep(watch.wait(&check, begun.elapsed())).await;
    }
}

async fn passes(check: &Check, port: Port) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
    match &check.probe {
        Probe::Tcp => {
            timeout(check.timeout, TcpStream::connect(address)).await.is_ok_and(|c| c.is_ok())
        }
        Probe::Http(path) => Server::Tcp(address, None)
            .ask(Method::GET, path, None::<&()>, check.timeout)
            .await
            .is_ok_and(|a| a.status.is_success() || a.status.is_redirection()),
    }
}
