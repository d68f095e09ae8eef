//! Who may use the control socket: root, and the user that bootctl runs as. The kernel tells.

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use nix::unistd::geteuid;
use tokio::net::UnixListener;

use super::refused;

/// The user at the other end, if the kernel knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

pub(super) async fn check(peer: ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let ConnectInfo(Peer(uid)) = peer;
    if uid == Some(0) || uid == Some(geteuid().as_raw()) {
        return next.run(request).await;
    }
    let message = "only root and the user that bootctl runs as may do this; try it with sudo";
    refused(StatusCode::FORBIDDEN, "forbidden", message)
}
