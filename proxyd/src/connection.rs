//! A client's connection: one request after the other, until one of the two has had enough.
//!
//! ```text
//!   (a PROXY header, where one is expected; the handshake of TLS)
//!   waiting ──bytes──▶ exchange ──whole, both willing──▶ waiting (or the next, pipelined)
//!      │                  ├──whole, last one──▶ closed
//!      │                  ├──switched──▶ tunnel ──▶ closed
//!      │                  ├──answered early──▶ lingering ──▶ closed
//!      │                  └──broken after its head──▶ reset
//!      └──idle too long──▶ closed
//! ```

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::time::Instant;

use crate::access_log::Line;
use crate::buffer::Desk;
use crate::crowd::Seat;
use crate::exchange::brief::{self, Asked};
use crate::exchange::{self, Next, Start};
use crate::flow;
use crate::h2;
use crate::limits;
use crate::origin::Peer;
use crate::proxy_header::{self, Progress, Told};
use crate::refusal::{Manner, Refusal};
use crate::socket::Socket;
use crate::timer::Timer;
use crate::tls::{self, Protocol, Scheme};
use crate::tunnel::Tunnel;
use crate::worker::Worker;

/// Serves one client to the end. `place` is let go of once its connection is closed.
// Not an `async fn`: that would hold all of these twice, and there may be thousands that wait.
pub(crate) fn serve(
    worker: Rc<Worker>,
    mut stream: Socket,
    peer: SocketAddr,
    scheme: Scheme,
    place: impl Sized,
) -> impl Future<Output = ()> {
    let mut address = peer.ip().to_canonical();
    async move {
        // A handshake that is refused says so only where it knows that it may write.
        let mut ahead = if scheme == Scheme::Http { early(&worker, &stream) } else { None };
        let mut now = Instant::now();
        let mut timer = Timer::new(now + worker.idle_time());
        if worker.front().expects_header(address) {
            let heard = introduced(&worker, &stream, &mut timer, ahead.take());
            match Box::pin(heard).await {
                Some((told, desk)) => {
                    address = told.unwrap_or(address);
                    // What came behind a header that is not a request's.
                    ahead = desk;
                }
                None => return log_stranger(&worker, address, 400),
            }
        }
        let Ok(_seat) = seat(&worker, address) else {
            if let Some(desk) = ahead {
                worker.spare.put_desk(desk);
            }
            if scheme == Scheme::Http {
                turn_away(&stream);
            }
            return log_stranger(&worker, address, 429);
        };
        let mut peer = Peer::new(address);
        if scheme == Scheme::Https {
            let made = tls::handshake(&worker, stream, ahead.take(), &mut timer);
            let Some((socket, secured)) = Box::pin(made).await else { return };
            let protocol = secured.protocol;
            (stream, peer.secured) = (socket, Some(Box::new(secured)));
            match protocol {
                Protocol::Http1 => now = Instant::now(),
                Protocol::Http2 => {
                    let next = h2::serve(&worker, &stream, None, peer, &mut timer);
                    return leave(Box::pin(next).await, &worker, &stream, &mut timer).await;
                }
                Protocol::Challenge => return,
            }
        } else if worker.front().wire.http2.cleartext {
            let first = Box::pin(first_words(&worker, &stream, &mut timer, ahead.take()));
            match first.await {
                Some((desk, h2::Begins::Yes)) => {
                    let next = h2::serve(&worker, &stream, Some(desk), peer, &mut timer);
                    return leave(Box::pin(next).await, &worker, &stream, &mut timer).await;
                }
                Some((desk, _)) => ahead = Some(desk),
                None => return,
            }
        }
        let mut next = Next::Again;
        let mut tunnel = None;
        while next == Next::Again {
            if ahead.is_none() {
                ahead = first_bytes(&worker, &stream, &mut timer, now, Duration::MAX).await;
            }
            let Some(mut desk) = ahead.take() else { return };
            let start = match brief::ask(&worker, &peer, &mut desk) {
                Asked::Goes(start) => start,
                Asked::Waits(mut place) => {
                    worker.spare.put_desk(desk);
                    let heard = place.hear(&stream, &worker.spare, &mut timer).await;
                    let Some((waiting, heard)) = heard else { return };
                    match waiting.pass_on(place, (&stream, &peer), &mut timer, heard) {
                        Ok(ended) => {
                            (next, now) = ended;
                            continue;
                        }
                        Err((lent, read)) => {
                            desk = lent;
                            Start::Read(read)
                        }
                    }
                }
            };
            let rest = the_long_way(&worker, &stream, &peer, desk, &mut timer, &mut tunnel, start);
            (next, now, ahead) = on_the_heap(rest).await;
        }
        if let Some(tunnel) = tunnel {
            next = on_the_heap(tunnel.run(&stream, &mut timer)).await;
        }
        leave(next, &worker, &stream, &mut timer).await;
        drop((stream, place));
    }
}

/// Closes a connection as its end asks for.
async fn leave(next: Next, worker: &Worker, stream: &Socket, timer: &mut Timer) {
    match next {
        Next::Linger => Box::pin(linger(worker, stream, timer)).await,
        // A plain close would end an answer without a length as if it were whole.
        Next::Reset => stream.reset(),
        Next::Again | Next::Close => {}
    }
}

/// Has one request answered in whatever way. Returns what came of it and when, and what came behind it.
async fn the_long_way(
    worker: &Rc<Worker>,
    stream: &Socket,
    peer: &Peer,
    mut desk: Box<Desk>,
    timer: &mut Timer,
    tunnel: &mut Option<Box<Tunnel>>,
    start: Start,
) -> (Next, Instant, Option<Box<Desk>>) {
    let read = match start {
        Start::Unread(front) => {
            Box::new(exchange::read_head(stream, front, &mut desk, timer).await)
        }
        Start::Read(read) => read,
    };
    let answer = exchange::answer(worker, stream, peer, &mut desk, timer, tunnel, read);
    let (next, now) = answer.await;
    if desk.incoming.is_empty() {
        worker.spare.put_desk(desk);
        return (next, now, None);
    }
    desk.clear();
    (next, now, Some(desk))
}

/// Reads if there is something to read; `None` is the end.
fn poll_first(worker: &Worker, stream: &Socket, cx: &mut Context<'_>) -> Poll<Option<Box<Desk>>> {
    let (take, give) = (|| worker.spare.desk(), |desk| worker.spare.put_desk(desk));
    stream.poll_first(cx, take, give).map(Result::ok)
}

/// For its time only: an exchange is many times the size of a connection that waits.
fn on_the_heap<F: Future>(future: F) -> Pin<Box<F>> {
    Box::pin(future)
}

/// Waits for the first bytes, or the end, for no longer than a client may be idle, and at `most` so long. While
/// draining it waits only shortly.
fn first_bytes(
    worker: &Worker,
    stream: &Socket,
    timer: &mut Timer,
    since: Instant,
    most: Duration,
) -> impl Future<Output = Option<Box<Desk>>> {
    let (mut drained, mut time) = (false, most);
    poll_fn(move |cx| {
        if let Poll::Ready(desk) = poll_first(worker, stream, cx) {
            return Poll::Ready(desk);
        }
        // Whoever lets idle clients go earlier has them asked again.
        if !worker.draining.get() {
            time = time.min(worker.idle_time());
            timer.set(since + time);
        } else if !std::mem::replace(&mut drained, true) && worker.has_no_target() {
            // Else its time goes on: a connection that is closed early may be closed under a request.
            timer.set_after(limits::DRAINING_IDLE_TIME);
        }
        timer.poll(cx).map(|()| None)
    })
}

/// Reads until it is known which HTTP is spoken. `None` is the end.
async fn first_words(
    worker: &Worker,
    stream: &Socket,
    timer: &mut Timer,
    ahead: Option<Box<Desk>>,
) -> Option<(Box<Desk>, h2::Begins)> {
    let mut desk = match ahead {
        Some(desk) => desk,
        None => first_bytes(worker, stream, timer, Instant::now(), Duration::MAX).await?,
    };
    let mut begins = h2::begins(desk.incoming.data());
    if begins == h2::Begins::Perhaps {
        timer.set_after(worker.front().head_time);
    }
    while begins == h2::Begins::Perhaps {
        match flow::fill(&mut &*stream, &mut desk.incoming, timer).await {
            Ok(1..) => begins = h2::begins(desk.incoming.data()),
            Ok(0) | Err(_) => break,
        }
    }
    Some((desk, begins))
}

/// Reads the header that says who the connection is from, and what came behind it. `None`: there is
/// none, and the connection is nobody's.
async fn introduced(
    worker: &Worker,
    stream: &Socket,
    timer: &mut Timer,
    ahead: Option<Box<Desk>>,
) -> Option<(Option<IpAddr>, Option<Box<Desk>>)> {
    let (since, head_time) = (Instant::now(), worker.front().head_time);
    let mut desk = match ahead {
        Some(desk) => desk,
        None => first_bytes(worker, stream, timer, since, head_time).await?,
    };
    timer.set(since + head_time);
    let told = loop {
        match proxy_header::read(desk.incoming.data()) {
            Ok(Progress::Complete { told, len }) => {
                desk.incoming.consume(len);
                break Some(told);
            }
            Ok(Progress::Partial) => {
                if !matches!(flow::fill(&mut &*stream, &mut desk.incoming, timer).await, Ok(1..)) {
                    break None;
                }
            }
            Err(proxy_header::NotAHeader) => break None,
        }
    };
    let client = match told {
        Some(Told::Client(client)) => Some(client),
        Some(Told::Itself) => None,
        None => {
            worker.spare.put_desk(desk);
            return None;
        }
    };
    if desk.incoming.is_empty() {
        worker.spare.put_desk(desk);
        return Some((client, None));
    }
    Some((client, Some(desk)))
}

/// What has come from a client before anybody has waited for it: who is asked at once need not tell.
fn early(worker: &Worker, client: &Socket) -> Option<Box<Desk>> {
    let client = client.fd().ok()?;
    let mut desk = worker.spare.desk();
    if let Ok((_, count @ 1..)) = recv(client, desk.incoming.space(), RecvFlags::empty()) {
        desk.incoming.filled(count);
        return Some(desk);
    }
    // The end, or whatever is wrong, will be told again.
    worker.spare.put_desk(desk);
    None
}

/// A place among the clients. A trusted proxy needs none: it has many clients.
fn seat(worker: &Worker, client: IpAddr) -> Result<Option<Seat>, ()> {
    let front = worker.front();
    if front.trusts(client) {
        return Ok(None);
    }
    worker.crowd.seat(client, front.connections_per_client).map(Some).ok_or(())
}

/// Answers without having been asked: as much as there can be for one of too many.
fn turn_away(stream: &Socket) {
    let mut answer = Vec::new();
    let manner = Manner { connection: b"Connection: close\r\n", ..Manner::default() };
    Refusal::Crowded.write(&manner, &mut answer);
    let Ok(fd) = stream.fd() else { return };
    let mut room = [0; 4096];
    // What came already would make the close a reset, which may overtake the answer.
    let _ = recv(fd, &mut room, RecvFlags::empty());
    // Nobody has waited for it yet: what is known of it is nothing, and it is tried all the same.
    let _ = send(fd, &answer, SendFlags::NOSIGNAL);
}

/// A connection that never came to a request is a line in the log, too.
fn log_stranger(worker: &Worker, address: IpAddr, status: u16) {
    let client = Peer::new(address);
    worker.log.write(&Line {
        client: &client.text,
        user: "",
        request: b"",
        status,
        bytes: 0,
        referer: b"",
        user_agent: b"",
        took: Duration::ZERO,
        ended: Instant::now(),
        target: "",
        id: b"",
    });
}

/// Says that nothing more comes, and takes what the client is still sending, so that it gets to
/// read the answer before a reset could destroy it.
async fn linger(worker: &Worker, stream: &Socket, timer: &mut Timer) {
    if stream.end().is_err() {
        return;
    }
    timer.set_after(limits::LINGER_TIME);
    let mut buffer = worker.spare.large();
    while let Ok(1..) = flow::fill(&mut &*stream, &mut buffer, timer).await {
        buffer.consume(buffer.len());
    }
    worker.spare.put_large(buffer);
}
