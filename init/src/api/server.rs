//! Accepting connections, seating them, and telling those who may not why.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::crowd::{Crowd, Place};
use super::guard::{self, Peer};
use super::patience::Patience;
use super::peer::Owners;
use super::routes::Api;
use crate::access::Access;
use crate::account;
use crate::limits::{
    ACCEPT_PAUSE, ACCEPTED_IN_A_ROW, DENIED_TIMEOUT, HEAD_TIMEOUT, MAX_DENIED, MAX_HEAD,
};
use crate::sys;

/// Serves `api` on `listener` until the runtime ends, to whom `access` lets, on at most `seats`
/// connections of root and init's own user, and some more of others. To be called within the
/// runtime; the listener must not block.
pub async fn serve(listener: TcpListener, api: Api, mut access: Access, seats: usize) {
    let Ok(local) = listener.local_addr() else { return };
    let Ok(listener) = sys::watch(listener) else { return };
    // What only matters once somebody is there does not keep `boot` waiting.
    drop(listener.readable().await);
    let mut owners = Owners::choose(local);
    access.unmapped = account::unmapped();
    let seats = Arc::new(Semaphore::new(seats));
    let denied = Arc::new(Semaphore::new(MAX_DENIED));
    let (access, crowd) = (Arc::new(access), Crowd::default());
    for turn in (0..ACCEPTED_IN_A_ROW).cycle() {
        if turn == 0 {
            // The queue may never be empty, and all else in init runs on this thread.
            yield_now().await;
        }
        let (stream, remote) = match accept(&listener).await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or memory: it passes, and those who wait stay in the queue.
                warn!("cannot accept an API connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Up to here nothing is done that could wait, so that a flood of connections does not fill
        // the queue; and who has hung up already, as floods do, gets nothing more.
        let owner = owners.owner(remote, local);
        // In this order: a peer that has reset its connection may have made room for somebody
        // else's socket with the same address. If ours is still connected after the question, the
        // answer was about ours.
        let Some(user) = owner.filter(|_| sys::is_connected(&stream)) else { continue };
        let seat = if !access.may_speak(user) {
            Err(Refused::Stranger)
        } else if access.is_privileged(user) {
            // Only root can fill these seats, and then waits for himself.
            Arc::clone(&seats).acquire_owned().await.map(Seat::Own).map_err(|_| Refused::Full)
        } else {
            crowd.enter(user, Instant::now()).map(Seat::Shared).ok_or(Refused::Full)
        };
        match seat {
            Ok(seat) => {
                let peer = Peer { user, access: Arc::clone(&access) };
                let api = api.clone();
                tokio::spawn(async move {
                    match awake(stream) {
                        Ok(stream) => converse(stream, api, peer, seat).await,
                        Err(error) => warn!("cannot serve an API connection: {error}"),
                    }
                });
            }
            Err(refused) => {
                // Further ones are closed without a word.
                if let Ok(place) = Arc::clone(&denied).try_acquire_owned() {
                    tokio::spawn(async move {
                        if let Ok(stream) = awake(stream) {
                            let _ = timeout(DENIED_TIMEOUT, deny(stream, refused)).await;
                        }
                        drop(place);
                    });
                }
            }
        }
    }
}

async fn accept(listener: &AsyncFd<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        let mut ready = listener.readable().await?;
        if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
            return accepted;
        }
    }
}

/// The same as a stream of the runtime's.
fn awake(stream: TcpStream) -> io::Result<tokio::net::TcpStream> {
    stream.set_nonblocking(true)?;
    // Answers are small and whole; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    tokio::net::TcpStream::from_std(stream)
}

/// What a connection holds while it lasts.
#[derive(Debug)]
pub enum Seat {
    /// One of root's and init's own user's.
    Own(OwnedSemaphorePermit),
    /// One of the others'.
    Shared(Place),
    /// None: nobody counts.
    Free,
}

impl Seat {
    fn may_ask(&self) -> bool {
        match self {
            Self::Own(_) | Self::Free => true,
            Self::Shared(place) => place.may_ask(Instant::now()),
        }
    }
}

/// Why a connection is not listened to.
#[derive(Clone, Copy, Debug)]
enum Refused {
    Stranger,
    Full,
}

/// Answers the requests of one connection, one after the other.
pub async fn converse<IO>(stream: IO, api: Api, peer: Peer, seat: Seat)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (api, peer, seat) = (&api, &peer, &seat);
    let service = service_fn(async |request: Request<Incoming>| {
        let judged =
            if seat.may_ask() { guard::check(&request, peer) } else { Err(guard::too_many()) };
        Ok::<_, Infallible>(match judged {
            Ok(()) => api.answer(request).await,
            Err(refused) => refused.into_answer(),
        })
    });
    let served = http1::Builder::new()
        .timer(Patience::default())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!("API connection ended: {error}");
    }
}

/// Says why, and reads what the client sends meanwhile, so that it gets to read the answer.
async fn deny(mut stream: tokio::net::TcpStream, refused: Refused) -> io::Result<()> {
    let (status, error, message) = match refused {
        Refused::Stranger => (
            "403 Forbidden",
            "not_allowed",
            "only root, the user that init runs as, and whom --grant or --token-file name may use \
             this API; try again as one of them",
        ),
        Refused::Full => (
            "503 Service Unavailable",
            "too_many_connections",
            "this user, or all users but root together, have as many connections as they may; \
             close some",
        ),
    };
    let body = format!("{{\"error\":\"{error}\",\"message\":\"{message}\"}}");
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
