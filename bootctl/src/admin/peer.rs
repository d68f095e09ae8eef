//! Who may use the control socket: root, and the user that bootctl runs as. The kernel tells.
//!
//! They include the gate, which says on whose behalf it asks; any other of them may do all anyway, and is believed.

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use nix::unistd::geteuid;
use tokio::net::UnixListener;

use super::refused;
use crate::audit::Asker;
use crate::gate::{FROM, WHO};

/// The user and the process at the other end, if the kernel knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    uid: Option<u32>,
    pid: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        let uid = credentials.map(|credentials| credentials.uid());
        Self { uid, pid: credentials.and_then(|credentials| credentials.pid()) }
    }
}

pub(super) async fn check(peer: ConnectInfo<Peer>, mut request: Request, next: Next) -> Response {
    let ConnectInfo(Peer { uid, pid }) = peer;
    if uid == Some(0) || uid == Some(geteuid().as_raw()) {
        let asker = asker(request.headers(), uid, pid);
        request.extensions_mut().insert(asker);
        return next.run(request).await;
    }
    let message = "only root and the user that bootctl runs as may do this; try it with sudo";
    refused(StatusCode::FORBIDDEN, "forbidden", message)
}

fn asker(headers: &HeaderMap, uid: Option<u32>, pid: Option<i32>) -> Asker {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Asker {
        who: text(WHO).map_or_else(|| shown("uid", uid), str::to_owned),
        from: text(FROM).map_or_else(|| shown("pid", pid), str::to_owned),
    }
}

fn shown(what: &str, number: Option<impl std::fmt::Display>) -> String {
    number.map_or_else(|| format!("{what} unknown"), |number| format!("{what} {number}"))
}
