//! An address by DHCP, for as long as bootctl lives: asked for, taken, renewed at half of its time.
//!
//! ```text
//! discover ──offer──▶ take ──yes──▶ kept ──half of its time──▶ renew ──yes──▶ kept
//!     ▲                └─no─────┐                                └─no─┐
//!     └─────────────────────────┴────────────────────────────────────┘
//! ```
//!
//! A server that is silent is asked for ever, ever more seldom. What it has lent is kept meanwhile, also beyond
//! its time: a machine that can be reached is worth more than an address that might be somebody else's by then.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{error, info, warn};

use super::dhcp::{Answer, Card, Lease, Question};
use super::{Interface, resolver};
use crate::early::complain;
use crate::early::words::is_host_name;

const CLIENT: u16 = 68;
const SERVER: u16 = 67;
/// How long an answer is waited for, at first and at most; the times between double.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_mins(1);
/// As long as an Ethernet frame.
const LARGEST: usize = 1500;

/// Gets an address and keeps it. `has` becomes true with the first one. `names` says whether the machine takes its
/// name from the server, because nobody else has named it.
pub(super) async fn keep(interface: Interface, names: bool, has: watch::Sender<bool>) {
    let name = interface.name.clone();
    let (socket, card) = match open(&interface) {
        Ok(opened) => opened,
        Err(error) => return error!("{name} cannot ask for an address: {error}"),
    };
    loop {
        let mut lease = ask_until_lent(&socket, card, &name).await;
        loop {
            take(&interface, &lease, names);
            has.send_replace(true);
            sleep(lease.time / 2).await;
            match exchange(&socket, card, Question::Renew(lease.ip), lease.time / 4).await {
                Some(Answer::Yes(renewed)) => lease = renewed,
                Some(Answer::No) => {
                    warn!("{name} may not keep {}: it asks for another address", lease.ip);
                    break;
                }
                Some(Answer::Offer(_)) | None => {
                    warn!("nobody has renewed the lease of {}", lease.ip);
                }
            }
        }
    }
}

fn open(interface: &Interface) -> io::Result<(UdpSocket, Card)> {
    let card = interface.card()?;
    let socket = std::net::UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT)))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::BindToDevice, &(&interface.name).into())?;
    Ok((UdpSocket::from_std(socket)?, card))
}

async fn ask_until_lent(socket: &UdpSocket, card: Card, name: &str) -> Lease {
    let mut patience = FIRST;
    loop {
        if let Some(Answer::Offer(offer)) =
            exchange(socket, card, Question::Discover, patience).await
        {
            let question = Question::Take(offer.ip, offer.server);
            match exchange(socket, card, question, patience).await {
                Some(Answer::Yes(lease)) => return lease,
                // Who has no address to lend says so again.
                Some(Answer::No) => sleep(patience).await,
                Some(Answer::Offer(_)) | None => {}
            }
        } else if patience == FIRST {
            warn!("nobody lends {name} an address; it goes on asking");
        }
        patience = patience.saturating_mul(2).min(MOST);
    }
}

/// Asks, and waits for an answer to that.
async fn exchange(
    socket: &UdpSocket,
    card: Card,
    question: Question,
    within: Duration,
) -> Option<Answer> {
    let number = number();
    let everybody = SocketAddr::from((Ipv4Addr::BROADCAST, SERVER));
    let by = Instant::now().checked_add(within)?;
    if let Err(error) = socket.send_to(&question.bytes(number, card), everybody).await {
        warn!("cannot ask for an address: {error}");
        sleep(within).await;
        return None;
    }
    let mut bytes = [0; LARGEST];
    loop {
        let (length, from) = timeout_at(by, socket.recv_from(&mut bytes)).await.ok()?.ok()?;
        let answer = Answer::parse(bytes.get(..length)?, number, card);
        let fits = |answer: &Answer| match question {
            Question::Discover => matches!(answer, Answer::Offer(_)),
            Question::Take(..) | Question::Renew(_) => !matches!(answer, Answer::Offer(_)),
        };
        if let Some(answer) = answer.filter(fits) {
            return Some(with_server(answer, from.ip()));
        }
    }
}

/// Some servers do not say who they are.
fn with_server(mut answer: Answer, from: IpAddr) -> Answer {
    if let (Answer::Offer(lease) | Answer::Yes(lease), IpAddr::V4(from)) = (&mut answer, from)
        && lease.server.is_unspecified()
    {
        lease.server = from;
    }
    answer
}

/// A number that tells one question from another one.
fn number() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let bytes = RandomState::new().hash_one(0_u8).to_le_bytes();
    bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).unwrap_or_default()
}

fn take(interface: &Interface, lease: &Lease, names: bool) {
    let Some(address) = lease.address() else { return };
    match interface.set(&address) {
        Ok(()) => info!(
            "{} has {address} for {} s, lent by {}",
            interface.name,
            lease.time.as_secs(),
            lease.server
        ),
        Err(error) => error!("{} cannot have {address}: {error}", interface.name),
    }
    resolver::write(&lease.resolvers);
    if names && let Some(name) = lease.hostname.as_deref().filter(|name| is_host_name(name)) {
        complain("set the host name", nix::unistd::sethostname(name));
    }
}
