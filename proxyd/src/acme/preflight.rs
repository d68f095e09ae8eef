//! A look from here, before an authority looks: does a name resolve, and is it us who answers for it?
//!
//! A name that does not resolve cannot be proved, so the authority is not asked. That we do not reach
//! ourselves may be due to how the network is made; it is only told, and another way to prove comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::domain::Domain;
use super::failure::{Cause, Failure};
use crate::limits;

/// The port that authorities come to.
const PORT: u16 = 80;
/// More of an answer is not ours.
const ANSWER: u64 = 4096;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) blocked: BTreeMap<Domain, Failure>,
    /// We do not answer at port 80 of one.
    pub(super) silent: bool,
}

/// Looks for all of these. `own`: a token, and what only this process answers to it.
pub(super) async fn look(names: &BTreeSet<Domain>, own: Arc<(String, String)>) -> Sight {
    let mut looks = JoinSet::new();
    for name in names.iter().filter(|name| !name.is_wild()).cloned() {
        let own = Arc::clone(&own);
        looks.spawn(async move {
            let found = resolve(&name).await;
            let answers = match &found {
                Ok(addresses) => answers(&name, addresses, &own).await,
                Err(_) => true,
            };
            (name, found.err(), answers)
        });
    }
    let mut sight = Sight::default();
    while let Some(look) = looks.join_next().await {
        let Ok((name, failure, answers)) = look else { continue };
        sight.silent |= !answers;
        if let Some(failure) = failure {
            sight.blocked.insert(name, failure);
        }
    }
    sight
}

async fn resolve(name: &Domain) -> Result<Vec<SocketAddr>, Failure> {
    let failure = |said: String| Failure::new(Cause::Dns, said).of(name.clone());
    let found = timeout(limits::ACME_LOOK_TIME, lookup_host((name.as_str(), PORT))).await;
    let found = found.map_err(|_| failure("it could not be looked up in time".to_owned()))?;
    let found: Vec<SocketAddr> = found.map_err(|error| failure(error.to_string()))?.collect();
    if found.is_empty() { Err(failure("it has no address".to_owned())) } else { Ok(found) }
}

/// Whether it is this process that answers at one of the addresses.
async fn answers(name: &Domain, addresses: &[SocketAddr], own: &(String, String)) -> bool {
    for address in addresses.iter().take(4) {
        if let Ok(Some(true)) = timeout(limits::ACME_LOOK_TIME, ask(name, *address, own)).await {
            return true;
        }
    }
    false
}

async fn ask(
    name: &Domain,
    address: SocketAddr,
    (token, value): &(String, String),
) -> Option<bool> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let ask = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).await.ok()?;
    Some(answer.ends_with(value.as_bytes()))
}
