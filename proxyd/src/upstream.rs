//! A connection to a target, and making one.

use std::io::{ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

use crate::clock::{self, sleep};
use crate::crowd::Place;
use crate::limits;
use crate::socket::Socket;
use crate::target::Address;
use crate::wire::Wire;

/// A connection to a target, and its place among all descriptors.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) socket: Socket,
    /// `None`: it shares a connection that has one.
    _place: Option<Place>,
}

impl Upstream {
    /// One that is part of another.
    pub(crate) fn on(socket: Socket) -> Upstream {
        Upstream { socket, _place: None }
    }

    pub(crate) async fn connect(
        address: &Address,
        within: Duration,
        place: Place,
    ) -> Result<Upstream> {
        let connect = async {
            match address {
                Address::Tcp(address) => Wire::connect(*address).await,
                Address::Unix(path) => connect_unix(path).await,
            }
        };
        let connected = clock::within(within, connect).await;
        let socket = Socket::Wire(connected.ok_or(ErrorKind::TimedOut)??);
        Ok(Upstream { socket, _place: Some(place) })
    }
}

/// A full backlog of a unix socket is told at once, where TCP would wait: so the waiting is ours.
async fn connect_unix(path: &Path) -> Result<Wire> {
    loop {
        match Wire::connect_unix(path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                sleep(limits::BACKLOG_PAUSE).await;
            }
            result => return result,
        }
    }
}
