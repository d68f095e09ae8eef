//! Who may use the control socket: root, and the user that bootctl runs as. The kernel tells.
//!
//! They include the gate, which says on whose behalf it asks; any other of them may do all anyway, and is believed.
//! Whoever else gets as far as this, by another mode of the socket's file say, has a line in the audit log for each
//! change that he has asked for, under his own name.

use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use nix::unistd::geteuid;
use tokio::net::UnixListener;

use super::refused;
use crate::account::owners;
use crate::audit::{Asker, Audit, Line};
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

/// The word for programs.
const FORBIDDEN: &str = "forbidden";

pub(super) async fn check(
    State(audit): State<Arc<Audit>>,
    peer: ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let ConnectInfo(Peer { uid, pid }) = peer;
    let own = geteuid().as_raw();
    if uid == Some(0) || uid == Some(own) {
        let asker = asker(request.headers(), uid, pid);
        request.extensions_mut().insert(asker);
        return next.run(request).await;
    }
    if !request.method().is_safe() {
        let asker = asker(&HeaderMap::new(), uid, pid);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let end = (Some(StatusCode::FORBIDDEN.as_u16()), FORBIDDEN);
        audit.note(&Line::new(&asker, request.method().as_str(), path, end));
    }
    let message = format!("{} may ask bootctl here; nothing was changed", owners(own));
    refused(StatusCode::FORBIDDEN, FORBIDDEN, &message)
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
