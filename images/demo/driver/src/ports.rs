//! Where the API and the proxy listen: as told by the environment, else on free high ports.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below the range that the kernel takes ports of outgoing connections from.
const FROM: u16 = 18_000;
const UNTIL: u16 = 32_000;

/// The address that the variable's port gives, else the first free one, other than `taken`.
pub(crate) fn choose(variable: &str, taken: Option<SocketAddr>) -> Result<SocketAddr, String> {
    if let Ok(text) = env::var(variable) {
        let port = text.parse().map_err(|_| format!("{variable}={text} is not a port number"))?;
        return match SocketAddr::from((Ipv4Addr::LOCALHOST, port)) {
            address if TcpListener::bind(address).is_ok() => Ok(address),
            address => Err(format!("{variable}: {address} is in use; name another port")),
        };
    }
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Start somewhere else in each process, so that two demos rarely want the same port.
    let offset = u16::try_from(std::process::id() % 1000).unwrap_or_default() * 8;
    let mut candidates = (FROM + offset..UNTIL).chain(FROM..FROM + offset).map(at);
    candidates
        .find(|&address| Some(address) != taken && TcpListener::bind(address).is_ok())
        .ok_or_else(|| format!("no free port from {FROM} to {UNTIL}; name one with {variable}"))
}
