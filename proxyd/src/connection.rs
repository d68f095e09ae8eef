//! A client's connection: one request after the other, until one of the two has had enough.
//!
//! ```text
//!   waiting ──bytes──▶ exchange ──whole, both willing──▶ waiting (or the next, pipelined)
//!      │                  ├──whole, last one──▶ closed
//!      │                  ├──answered early──▶ lingering ──▶ closed
//!      │                  └──broken after its head──▶ reset
//!      └──idle too long──▶ closed
//! ```

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::exchange::{self, Next};
use crate::flow;
use crate::limits;
use crate::timer::Timer;
use crate::worker::Worker;

/// Serves one client to the end.
pub(crate) async fn serve(worker: Rc<Worker>, mut stream: TcpStream, peer: SocketAddr) {
    let client = peer.ip().to_canonical().to_string();
    let mut now = Instant::now();
    let mut timer = Timer::new(now + limits::IDLE_TIME);
    let mut drain = pin!(worker.drain.notified());
    let mut next = Next::Again;
    while next == Next::Again {
        timer.set(now + limits::IDLE_TIME);
        if !readable(&worker, &stream, &mut timer, drain.as_mut()).await {
            return;
        }
        // Held while there are bytes to work on only: a waiting connection is a small thing.
        let mut desk = worker.spare.desk();
        if !flow::fill_now(&mut stream, &mut desk.incoming).await {
            worker.spare.put_desk(desk);
            continue;
        }
        loop {
            let exchange = exchange::run(&worker, &mut stream, &client, &mut desk, &mut timer);
            (next, now) = on_the_heap(exchange).await;
            if next != Next::Again || desk.incoming.is_empty() {
                break;
            }
        }
        worker.spare.put_desk(desk);
    }
    match next {
        Next::Linger => linger(&worker, &mut stream, &mut timer).await,
        // A plain close would end an answer without a length as if it were whole.
        Next::Reset => drop(stream.set_zero_linger()),
        Next::Again | Next::Close => {}
    }
}

/// For its time only: an exchange is many times the size of a connection that waits.
fn on_the_heap<F: Future>(future: F) -> Pin<Box<F>> {
    Box::pin(future)
}

/// Waits for the first byte, or the end. While draining with nothing to ask for it waits only shortly.
async fn readable(
    worker: &Worker,
    stream: &TcpStream,
    timer: &mut Timer,
    mut drain: Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let mut drained = false;
    poll_fn(|cx| {
        if let Poll::Ready(ready) = stream.poll_read_ready(cx) {
            return Poll::Ready(ready.is_ok());
        }
        if !drained && (worker.draining.get() || drain.as_mut().poll(cx).is_ready()) {
            drained = true;
            // Else its time goes on: a connection that is closed early may be closed under a request.
            if worker.has_no_target() {
                timer.set_after(limits::DRAINING_IDLE_TIME);
            }
        }
        timer.poll(cx).map(|()| false)
    })
    .await
}

/// Says that nothing more comes, and takes what the client is still sending, so that it gets to
/// read the answer before a reset could destroy it.
async fn linger(worker: &Worker, stream: &mut TcpStream, timer: &mut Timer) {
    if stream.shutdown().await.is_err() {
        return;
    }
    timer.set_after(limits::LINGER_TIME);
    let mut buffer = worker.spare.large();
    while let Ok(1..) = flow::fill(stream, &mut buffer, timer).await {
        buffer.consume(buffer.len());
    }
    worker.spare.put_large(buffer);
}
