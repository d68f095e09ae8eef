//! Connections to targets on which HTTP/2 is spoken: each is shared by many requests of a worker.
//!
//! There are few of them: one more is made only when those that are there have no room. One that is not used is closed
//! after a time, and one to a target that is retired with its last request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{Error, IoSlice, Result};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use h2::client::{Builder, Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::select;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::sifted::Sifted;
use super::strand::Strand;
use crate::clock::{self, sleep_until};
use crate::crowd::Place;
use crate::limits;
use crate::socket::Socket;
use crate::target::Target;
use crate::upstream::Upstream;

/// A worker's connections of this kind, by the target's number.
#[derive(Debug, Default)]
pub(crate) struct Trunks {
    by_target: RefCell<HashMap<u64, Rc<Bundle>, RandomState>>,
}

/// Those to one target.
#[derive(Debug, Default)]
struct Bundle {
    trunks: RefCell<Vec<Rc<Trunk>>>,
    /// Who makes one more: the others wait, and look again.
    making: Mutex<()>,
}

/// One connection.
#[derive(Debug)]
struct Trunk {
    send: SendRequest<Bytes>,
    in_use: Cell<usize>,
    used: Cell<Instant>,
}

/// A request's place on a connection; dropping it leaves it.
#[derive(Debug)]
pub(super) struct Ticket(Rc<Trunk>);

impl Trunks {
    /// A stream on a connection that is there.
    pub(crate) fn idle(&self, target: &Target) -> Option<Upstream> {
        let bundle = Rc::clone(self.by_target.borrow().get(&target.number)?);
        bundle.stream()
    }

    /// The same on one that is made, by us or by who was first.
    pub(crate) async fn connect(
        &self,
        target: &Target,
        (within, idle): (Duration, Duration),
        fresh: bool,
        place: Place,
    ) -> Result<Upstream> {
        let bundle = {
            let mut all = self.by_target.borrow_mut();
            Rc::clone(all.entry(target.number).or_default())
        };
        let make = async {
            let _making = bundle.making.lock().await;
            if let Some(stream) = bundle.stream().filter(|_| !fresh) {
                return Ok(stream);
            }
            let upstream = Upstream::connect(&target.address, within, place).await?;
            let (send, connection) = builder()
                .handshake(Sifted::new(Carried(upstream), 0))
                .await
                .map_err(Error::other)?;
            let (in_use, used) = (Cell::new(0), Cell::new(Instant::now()));
            let trunk = Rc::new(Trunk { send, in_use, used });
            spawn_local(carry(connection, Rc::downgrade(&bundle), Rc::downgrade(&trunk), idle));
            if !target.is_retired() {
                bundle.trunks.borrow_mut().push(Rc::clone(&trunk));
            }
            Ok(Trunk::stream(trunk))
        };
        clock::within(within, make).await.ok_or(std::io::ErrorKind::TimedOut)?
    }

    /// Lets go of connections to targets that are not `live` any more: each is closed with its last request.
    pub(crate) fn keep(&self, live: impl Fn(u64) -> bool) {
        self.by_target.borrow_mut().retain(|&number, _| live(number));
    }
}

impl Bundle {
    /// On the connection that was made first and has room, so that what was made for a moment ends.
    fn stream(&self) -> Option<Upstream> {
        let mut trunks = self.trunks.borrow_mut();
        trunks.retain(|trunk| trunk.is_open());
        trunks.iter().find(|trunk| trunk.has_room()).map(|trunk| Trunk::stream(Rc::clone(trunk)))
    }

    fn leave(&self, trunk: &Weak<Trunk>) {
        self.trunks.borrow_mut().retain(|other| !std::ptr::eq(Rc::as_ptr(other), trunk.as_ptr()));
    }
}

impl Trunk {
    /// Whether it takes requests, as far as is known: its other side may have said that it goes away.
    fn is_open(&self) -> bool {
        let look = self.send.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        !matches!(look, Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.in_use.get() < self.send.current_max_send_streams().min(limits::H2_TRUNK_STREAMS)
    }

    fn stream(trunk: Rc<Trunk>) -> Upstream {
        trunk.in_use.set(trunk.in_use.get() + 1);
        let send = trunk.send.clone();
        Upstream::on(Socket::Strand(Box::new(Strand::to_target(send, Ticket(trunk)))))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.in_use.set(self.0.in_use.get().saturating_sub(1));
        self.0.used.set(Instant::now());
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(limits::H2_HEAD)
        .initial_window_size(limits::H2_TRUNK_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_TRUNK_WINDOW)
        .max_send_buffer_size(limits::H2_SEND_BUFFER)
        .max_concurrent_reset_streams(limits::H2_RESET_STREAMS)
        .data_frame_budget(limits::H2_TRUNK_FRAMES);
    builder
}

/// Moves the frames of a connection until it ends: by the other side, or when it was not used for so long.
async fn carry(
    mut connection: Connection<Sifted<Carried>, Bytes>,
    bundle: Weak<Bundle>,
    trunk: Weak<Trunk>,
    idle: Duration,
) {
    let unused = async {
        while let Some(trunk) = trunk.upgrade() {
            let until = match trunk.in_use.get() {
                0 => trunk.used.get() + idle,
                _ => Instant::now() + idle,
            };
            if until <= Instant::now() {
                return;
            }
            drop(trunk);
            sleep_until(until).await;
        }
    };
    let over = select! {
        _ = &mut connection => true,
        () = unused => false,
    };
    if let Some(bundle) = bundle.upgrade() {
        bundle.leave(&trunk);
    }
    if !over {
        // Nobody has it any more, so that it ends.
        let _ = connection.await;
    }
}

/// A connection that the frames own.
#[derive(Debug)]
struct Carried(Upstream);

impl AsyncRead for Carried {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut &self.0.socket).poll_read(cx, to)
    }
}

impl AsyncWrite for Carried {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut &self.0.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut &self.0.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut &self.0.socket).poll_shutdown(cx)
    }
}
