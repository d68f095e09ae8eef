//! Accepting connections, seating them, and telling those who may not why.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;

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
use super::handover::{Conversation, Line, Pending, Phase, Talk};
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
/// connections of root and init's own user, and some more of others; conversations that have been
/// handed over first. To be called within the runtime; the listener must not block.
pub async fn serve(listener: TcpListener, api: Api, mut access: Access, seats: usize) {
    let Ok(local) = listener.local_addr() else { return };
    let Ok(listener) = sys::watch(listener) else { return };
    let handed = api.handover.take();
    if handed.is_empty() {
        // What only matters once somebody is there does not keep `boot` waiting.
        drop(listener.readable().await);
    }
    let mut owners = Owners::choose(local);
    access.unmapped = account::unmapped();
    let seats = Arc::new(Semaphore::new(seats));
    let denied = Arc::new(Semaphore::new(MAX_DENIED));
    let host = Host { api, access: Arc::new(access), crowd: Crowd::default(), seats };
    for conversation in handed {
        host.go_on(conversation);
    }
    for turn in (0..ACCEPTED_IN_A_ROW).cycle() {
        if turn == 0 {
            // The queue may never be empty, and all else in init runs on this thread.
            yield_now().await;
        }
        host.wait_for_handover().await;
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = host.api.handover.clone().begins() => continue,
        };
        let (stream, remote) = match accepted {
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
        let seat = if !host.access.may_speak(user) {
            Err(Refused::Stranger)
        } else if host.access.is_privileged(user) {
            // Only root can fill these seats, and then waits for himself.
            tokio::select! {
                seat = Arc::clone(&host.seats).acquire_owned() => {
                    seat.map(Seat::Own).map_err(|_| Refused::Full)
                }
                () = host.api.handover.clone().begins() => {
                    let (unread, pending) = (Bytes::new(), None);
                    host.api.handover.hand(Conversation { stream, user, unread, pending });
                    continue;
                }
            }
        } else {
            host.crowd.enter(user, Instant::now()).map(Seat::Shared).ok_or(Refused::Full)
        };
        match seat {
            Ok(seat) => {
                let (unread, pending) = (Bytes::new(), None);
                host.lead(Conversation { stream, user, unread, pending }, seat);
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

/// What all conversations share.
struct Host {
    api: Api,
    access: Arc<Access>,
    crowd: Crowd,
    seats: Arc<Semaphore>,
}

impl Host {
    /// Leads a conversation in a task of its own, to its end or until it is handed over.
    fn lead(&self, conversation: Conversation, seat: Seat) {
        let Conversation { stream, user, unread, pending } = conversation;
        let (api, peer) = (self.api.clone(), Peer { user, access: Arc::clone(&self.access) });
        // From now on, not from its first turn on.
        let member = api.handover.join();
        tokio::spawn(async move {
            let _member = member;
            let handover = api.handover.clone();
            let stream = match awake(stream) {
                Ok(stream) => stream,
                Err(error) => return warn!("cannot serve an API connection: {error}"),
            };
            let begun = (unread, pending);
            if let Some((stream, unread, pending)) = converse(stream, begun, api, peer, seat).await
                && let Ok(stream) = stream.into_std()
            {
                handover.hand(Conversation { stream, user, unread, pending });
            }
        });
    }

    /// Leads one that was led elsewhere before. It has been counted there already.
    fn go_on(&self, conversation: Conversation) {
        let user = conversation.user;
        let seat = if self.access.is_privileged(user) {
            Arc::clone(&self.seats).try_acquire_owned().ok().map(Seat::Own)
        } else {
            self.crowd.enter(user, Instant::now()).map(Seat::Shared)
        };
        self.lead(conversation, seat.unwrap_or(Seat::Free));
    }

    /// While there is a handover, nobody is let in. If it comes to nothing, those who were handed
    /// over are back.
    async fn wait_for_handover(&self) {
        let mut phases = self.api.handover.phase();
        if *phases.borrow() != Phase::None {
            let _ = phases.wait_for(|phase| *phase == Phase::None).await;
        }
        for back in self.api.handover.take() {
            self.go_on(back);
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

/// Answers the requests of one connection, one after the other, `pending` first: it has been asked
/// already. Answers the connection, what has not been read from it, and what is pending, if it is to
/// go on elsewhere.
pub async fn converse<IO>(
    stream: IO,
    (unread, pending): (Bytes, Option<Pending>),
    api: Api,
    peer: Peer,
    seat: Seat,
) -> Option<(IO, Bytes, Option<Pending>)>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head = pending.map(|pending| pending.request()).unwrap_or_default();
    let (line, all_sent) = Line::new([head.as_bytes(), &unread].concat().into(), stream);
    let talk = Talk::new(&api.handover, all_sent);
    let first = Mutex::new(pending);
    let (api, peer, seat, own) = (&api, &peer, &seat, &talk);
    let service = service_fn(|request: Request<Incoming>| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let busy = own.begin(&request);
        let judged = match first {
            Some(_) => Ok(()),
            None if seat.may_ask() => guard::check(&request, peer),
            None => Err(guard::too_many()),
        };
        async move {
            let mut answer = match (judged, first) {
                (Ok(()), Some(pending)) => api.answer_pending(pending, own).await,
                (Ok(()), None) => api.answer(request, own).await,
                (Err(refused), _) => refused.into_answer(),
            };
            answer.body_mut().keep(busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(Patience::default())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(line), service);
    let mut phases = api.handover.phase();
    let mut changes = pin!({
        let mut phases = phases.clone();
        async move { while phases.changed().await.is_ok() {} }
    });
    let pending = poll_fn(|context| {
        if let Poll::Ready(served) = Pin::new(&mut connection).poll(context) {
            return Poll::Ready(Err(served));
        }
        let _ = changes.as_mut().poll(context);
        let phase = *phases.borrow_and_update();
        if !talk.is_clean() {
            return Poll::Pending;
        }
        if phase != Phase::None && talk.is_spoilt() {
            return Poll::Ready(Err(Ok(())));
        }
        talk.hand(phase).map_or(Poll::Pending, |pending| Poll::Ready(Ok(pending)))
    });
    match pending.await {
        Ok(pending) => {
            let parts = connection.into_parts();
            let (stream, rest) = parts.io.into_inner().into_parts();
            Some((stream, [parts.read_buf, rest].concat().into(), pending))
        }
        Err(served) => {
            if let Err(error) = served {
                debug!("API connection ended: {error}");
            }
            None
        }
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
