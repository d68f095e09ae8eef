//! After 101: bytes both ways, until both sides are done or nothing moves any more.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffer::Buffer;
use crate::flow;
use crate::timer::Timer;

/// How one direction ended.
enum End {
    /// Its sender was done, and its receiver has been told: the other one may still go on.
    Closed,
    /// Something broke, or nothing moved for too long: neither direction has a future.
    Broken,
}

/// One direction: what the buffer holds already, then all that comes.
async fn copy<R, W>(
    from: &mut R,
    to: &mut W,
    buffer: &mut Buffer,
    timer: &mut Timer,
    idle: Duration,
    moved: &Cell<u64>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        timer.set_after(idle);
        if !buffer.is_empty() {
            if flow::send(to, buffer.data(), timer, &mut 0).await.is_err() {
                return End::Broken;
            }
            moved.set(moved.get() + buffer.len() as u64);
            buffer.consume(buffer.len());
        }
        match flow::fill(from, buffer, timer).await {
            Ok(0) => {
                let told = poll_fn(|cx| Pin::new(&mut *to).poll_shutdown(cx)).await;
                return if told.is_ok() { End::Closed } else { End::Broken };
            }
            Ok(_) => {}
            Err(_) => return End::Broken,
        }
    }
}

/// Both directions at once; returns the bytes that went to the client.
pub(crate) async fn run<CR, CW, UR, UW>(
    client: (&mut CR, &mut CW, &mut Buffer),
    upstream: (&mut UR, &mut UW, &mut Buffer),
    timers: (&mut Timer, &mut Timer),
    idle: Duration,
) -> u64
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    UR: AsyncRead + Unpin,
    UW: AsyncWrite + Unpin,
{
    let (from_client, to_client, client_buffer) = client;
    let (from_upstream, to_upstream, upstream_buffer) = upstream;
    let (up, down) = (Cell::new(0), Cell::new(0));
    let mut there = pin!(copy(from_client, to_upstream, client_buffer, timers.0, idle, &up));
    let mut back = pin!(copy(from_upstream, to_client, upstream_buffer, timers.1, idle, &down));
    let (mut there_done, mut back_done) = (false, false);
    poll_fn(|cx| {
        let mut broken = false;
        if !there_done && let Poll::Ready(end) = there.as_mut().poll(cx) {
            there_done = true;
            broken |= matches!(end, End::Broken);
        }
        if !back_done && let Poll::Ready(end) = back.as_mut().poll(cx) {
            back_done = true;
            broken |= matches!(end, End::Broken);
        }
        if broken || (there_done && back_done) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    down.get()
}
