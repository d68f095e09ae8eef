//! Accepting connections, and telling those of other users that they may not.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::peer::Owners;
use crate::limits::{
    ACCEPT_PAUSE, DENIED_TIMEOUT, HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_DENIED, MAX_HEAD,
};
use crate::sys;

/// Serves `api` on `listener` until the runtime ends. Users other than root and `own_uid` are
/// refused.
pub async fn serve(listener: TcpListener, api: Router, own_uid: u32) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let Ok(owners) = listener.local_addr().map(Owners::choose) else { return };
    let denied = Arc::new(Semaphore::new(MAX_DENIED));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or memory: it passes, and those who wait stay in the queue.
                warn!("cannot accept an API connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if may(owners, &stream, remote, own_uid) {
            let api = api.clone();
            tokio::spawn(async move {
                converse(stream, api).await;
                drop(seat);
            });
        } else if let Ok(place) = Arc::clone(&denied).try_acquire_owned() {
            tokio::spawn(async move {
                let _ = timeout(DENIED_TIMEOUT, deny(stream)).await;
                drop(place);
            });
        }
    }
}

fn may(owners: Owners, stream: &TcpStream, remote: SocketAddr, own_uid: u32) -> bool {
    let Ok(local) = stream.local_addr() else { return false };
    let allowed = owners.owner(remote, local).is_some_and(|uid| uid == 0 || uid == own_uid);
    // In this order: a peer that has reset its connection may have made room for somebody else's
    // socket with the same address. If ours is still connected after the question, the answer
    // was about ours.
    allowed && sys::is_connected(stream)
}

async fn converse(stream: TcpStream, api: Router) {
    // Answers are small and whole; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(api))
        .await;
    if let Err(error) = served {
        debug!("API connection ended: {error}");
    }
}

/// Says why, and reads what the client sends meanwhile, so that it gets to read the answer.
async fn deny(mut stream: TcpStream) -> std::io::Result<()> {
    const BODY: &str = "{\"error\":\"not_allowed\",\"message\":\"only root and the user that init \
                        runs as may use this API; try again as one of them\"}";
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        BODY.len()
    );
    stream.write_all(format!("{head}{BODY}").as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
