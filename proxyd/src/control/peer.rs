//! Who may use the control socket: root, and the user that proxyd runs as.

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use nix::unistd::geteuid;
use tokio::net::UnixListener;

use crate::control::failure::Failure;

/// The uid at the other end, as the kernel knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Nobody's if the kernel does not tell.
    uid: u32,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer { uid: stream.io().peer_cred().map_or(u32::MAX, |credentials| credentials.uid()) }
    }
}

pub(crate) async fn check(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if peer.uid == 0 || peer.uid == geteuid().as_raw() {
        Ok(next.run(request).await)
    } else {
        Err(Failure::Stranger(peer.uid))
    }
}
