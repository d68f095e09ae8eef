//! A connection on which HTTP/2 is spoken, from its preface to its end.
//!
//! ```text
//!   preface ──▶ serving ──told to drain──▶ draining (GOAWAY twice) ──last stream──▶ closed
//!      │           ├──nothing asked for too long──▶ draining
//!      │           ├──flooded──▶ GOAWAY (ENHANCE_YOUR_CALM) ──▶ closed
//!      │           └──takes nothing, or does not end what it begins──▶ closed
//!      └──none in time──▶ closed
//! ```

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::PREFACE;
use super::outbound::Asked;
use super::request::{self, Kind};
use super::sifted::Sifted;
use super::strand::Strand;
use super::watched::{Vitals, Watched};
use crate::buffer::Desk;
use crate::exchange::{self, Next, Read};
use crate::h1::malformed::Malformed;
use crate::limits;
use crate::origin::Peer;
use crate::pace::Pace;
use crate::refusal::Refusal;
use crate::socket::Socket;
use crate::timer::Timer;
use crate::worker::Worker;

/// Serves a client to the end. `ahead`: what came of it already.
pub(crate) async fn serve<I: AsyncRead + AsyncWrite + Unpin>(
    worker: &Rc<Worker>,
    io: I,
    ahead: Option<Box<Desk>>,
    peer: Peer,
    timer: &mut Timer,
) -> Next {
    let front = worker.front();
    let vitals = Vitals::new(Pace::new(&front.bounds), Instant::now());
    let io = Sifted::new(Watched::new(io, ahead, Rc::clone(&vitals)), PREFACE.len());
    timer.set_after(front.head_time);
    let streams = front.wire.http2.streams.unwrap_or(limits::H2_STREAMS);
    let mut handshake = pin!(builder(streams).handshake::<_, Bytes>(io));
    let shaken = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(shaken) => Poll::Ready(shaken.ok()),
        Poll::Pending => timer.poll(cx).map(|()| None),
    });
    let Some(connection) = shaken.await else { return Next::Linger };
    let strands = Rc::new(Strands::default());
    let session = Session {
        connection,
        worker,
        peer: Rc::new(peer),
        vitals,
        strands: Rc::clone(&strands),
        state: State::Serving,
        since: Instant::now(),
        held_up: None,
    };
    session.run(timer).await;
    // Each of them learns that there is nobody to answer to.
    strands.gone().await;
    // What it was told last is for it to read.
    Next::Linger
}

fn builder(streams: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(streams)
        .max_header_list_size(limits::H2_HEAD)
        .initial_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_WINDOW)
        .max_send_buffer_size(limits::H2_SEND_BUFFER)
        .max_concurrent_reset_streams(limits::H2_RESET_STREAMS)
        .max_local_error_reset_streams(Some(limits::H2_MADE_RESETS))
        .enable_connect_protocol();
    builder
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    /// The client has been told that no new request is taken.
    Draining,
    /// It has been told why it is let go.
    Ending,
}

struct Session<'w, I> {
    connection: Connection<Sifted<Watched<I>>, Bytes>,
    worker: &'w Rc<Worker>,
    peer: Rc<Peer>,
    vitals: Rc<Vitals>,
    strands: Rc<Strands>,
    state: State,
    /// Since when nothing is asked, or in this state.
    since: Instant,
    held_up: Option<Instant>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Session<'_, I> {
    async fn run(mut self, timer: &mut Timer) {
        let mut drained = pin!(self.worker.drained());
        poll_fn(|cx| {
            if self.state == State::Serving && drained.as_mut().poll(cx).is_ready() {
                self.drain();
            }
            loop {
                match self.connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending if self.vitals.is_flooded() && self.state != State::Ending => {
                        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        self.enter(State::Ending);
                    }
                    Poll::Pending => break,
                }
            }
            self.poll_over(timer, cx)
        })
        .await;
    }

    /// Ready when the client is not to be waited for any longer.
    fn poll_over(&mut self, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.vitals.is_slow() {
                return Poll::Ready(());
            }
            let Some((until, what)) = self.deadline() else { return Poll::Pending };
            timer.set(until);
            std::task::ready!(timer.poll(cx));
            match what {
                // Told politely first: its next request may be on its way.
                Due::Idle if self.state == State::Serving => {
                    self.drain();
                    if let Poll::Ready(Some(Err(_)) | None) = self.connection.poll_accept(cx) {
                        return Poll::Ready(());
                    }
                }
                Due::Idle | Due::Stalled | Due::HeldUp => return Poll::Ready(()),
            }
        }
    }

    /// What there is to wait for, and until when.
    fn deadline(&mut self) -> Option<(Instant, Due)> {
        let front = self.worker.front();
        let held_up = self.vitals.is_held_up();
        self.held_up = held_up.then(|| self.held_up.unwrap_or_else(Instant::now));
        let idle = match self.state {
            State::Ending => Some(self.since + limits::LINGER_TIME),
            _ if self.strands.count.get() > 0 => None,
            State::Serving => Some(self.strands.since(self.since) + self.worker.idle_time()),
            State::Draining => Some(self.strands.since(self.since) + limits::DRAINING_IDLE_TIME),
        };
        let stalled = self.vitals.stalled().map(|since| since + front.bounds.write);
        let held_up = self.held_up.map(|since| since + front.head_time);
        [(idle, Due::Idle), (stalled, Due::Stalled), (held_up, Due::HeldUp)]
            .into_iter()
            .filter_map(|(until, what)| Some((until?, what)))
            .min_by_key(|(until, _)| *until)
    }

    fn drain(&mut self) {
        self.connection.graceful_shutdown();
        self.enter(State::Draining);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.since = Instant::now();
    }

    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let worker = Rc::clone(self.worker);
        let peer = Rc::clone(&self.peer);
        let counted = Strands::begin(&self.strands);
        spawn_local(async move {
            answer(&worker, &peer, request, respond).await;
            drop(counted);
        });
    }
}

/// What a client is let go for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It asks for nothing.
    Idle,
    /// It takes nothing.
    Stalled,
    /// It does not end what it has begun.
    HeldUp,
}

/// Has one request answered.
async fn answer(
    worker: &Rc<Worker>,
    peer: &Peer,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (started, front) = (Instant::now(), worker.front());
    let (parts, body) = request.into_parts();
    let mut desk = worker.spare.desk();
    desk.clear();
    let random = [worker.random(), worker.random()];
    let kind = request::write(&parts, body.is_end_stream(), random, &mut desk.outgoing);
    let asked = match kind {
        Ok(Kind::WebSocket) => Asked::WebSocket,
        _ if parts.method == http::Method::HEAD => Asked::Head,
        _ => Asked::Other,
    };
    drop(parts);
    let strand = Strand::of_client(body, kind == Ok(Kind::Open), respond, asked);
    let read = match kind {
        Ok(_) => read(&mut desk).and_then(|()| exchange::check_size(&desk, &front)),
        Err(malformed) => Err(Refusal::BadRequest(malformed)),
    };
    if read.is_ok() {
        take_ahead(&strand, &mut desk).await;
    }
    let socket = Socket::Strand(Box::new(strand));
    let mut timer = Timer::new(started + worker.idle_time());
    let mut tunnel = None;
    let read = Box::new(Read::new(front, started, read.map(|()| true)));
    let exchange =
        exchange::answer(worker, &socket, peer, &mut desk, &mut timer, &mut tunnel, read);
    let (mut next, _) = Box::pin(exchange).await;
    worker.spare.put_desk(desk);
    if let Some(tunnel) = tunnel {
        next = Box::pin(tunnel.run(&socket, &mut timer)).await;
        // As a close would: what was said last is on its way still.
        let _ = socket.end();
    }
    let Socket::Strand(strand) = socket else { return };
    if !strand.is_told() {
        // That an answer is not whole must be seen.
        strand.reset(match next {
            Next::Reset => Reason::INTERNAL_ERROR,
            Next::Again | Next::Close | Next::Linger => Reason::CANCEL,
        });
    }
}

/// Reads the head that was written, as any other.
fn read(desk: &mut Desk) -> Result<(), Refusal> {
    let Desk { incoming, request, outgoing } = desk;
    let fits = incoming.put(outgoing);
    outgoing.clear();
    if !fits {
        return Err(Refusal::BadRequest(Malformed::HeadTooLarge));
    }
    request.translate();
    // It was written as a whole.
    request.advance(incoming.data()).map(drop).map_err(Refusal::BadRequest)
}

/// Takes as much of the body as is there: a request that is there as a whole may be sent again.
async fn take_ahead(strand: &Strand, desk: &mut Desk) {
    poll_fn(|cx| {
        let head = desk.request.len;
        while desk.incoming.len() < head + limits::COALESCE {
            let mut free = ReadBuf::new(desk.incoming.space());
            match strand.poll_read(cx, &mut free) {
                Poll::Ready(Ok(())) if !free.filled().is_empty() => {
                    let count = free.filled().len();
                    desk.incoming.filled(count);
                }
                // Whatever it is, whoever reads on will meet it.
                _ => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// The streams of a connection that are not done.
#[derive(Debug, Default)]
struct Strands {
    count: Cell<usize>,
    /// When the last one was.
    done: Cell<Option<Instant>>,
    none: Notify,
}

impl Strands {
    fn begin(strands: &Rc<Strands>) -> Counted {
        strands.count.set(strands.count.get() + 1);
        Counted(Rc::clone(strands))
    }

    /// Since when there are none, or since then if that is later.
    fn since(&self, then: Instant) -> Instant {
        self.done.get().map_or(then, |done| done.max(then))
    }

    async fn gone(&self) {
        while self.count.get() > 0 {
            self.none.notified().await;
        }
    }
}

struct Counted(Rc<Strands>);

impl Drop for Counted {
    fn drop(&mut self) {
        let left = self.0.count.get().saturating_sub(1);
        self.0.count.set(left);
        if left == 0 {
            self.0.done.set(Some(Instant::now()));
            self.0.none.notify_one();
        }
    }
}
