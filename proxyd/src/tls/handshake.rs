//! The handshake, bounded in time. A client has its place among the others before it begins.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::HandshakeKind;
use tokio::time::Instant;

use super::session::Session;
use super::{Protocol, Secured, client};
use crate::buffer::Desk;
use crate::socket::Socket;
use crate::timer::Timer;
use crate::worker::Worker;

/// Makes a TLS connection of a TCP connection. `ahead`: what came of it already. `None`: nothing came of
/// it, and the client has been told what there is to tell.
pub(crate) async fn handshake(
    worker: &Worker,
    socket: Socket,
    ahead: Option<Box<Desk>>,
    timer: &mut Timer,
) -> Option<(Socket, Secured)> {
    let Socket::Wire(stream) = socket else { return None };
    let tls = worker.tls();
    let config = Arc::clone(tls.config.as_ref()?);
    let came = ahead.as_ref().map_or(&b""[..], |desk| desk.incoming.data());
    let session = Session::new(stream, config, Rc::clone(&worker.scratch), came).ok()?;
    if let Some(desk) = ahead {
        worker.spare.put_desk(desk);
    }
    let begun = Instant::now();
    timer.set_after(tls.handshake_time);
    let made = poll_fn(|cx| match session.poll_handshake(cx) {
        Poll::Ready(result) => Poll::Ready(result.ok()),
        Poll::Pending => timer.poll(cx).map(|()| None),
    });
    let counts = worker.handshakes();
    if made.await.is_none() {
        counts.count_failed();
        return None;
    }
    let kind = session.with_connection(|connection| connection.handshake_kind());
    counts.count(kind == Some(HandshakeKind::Resumed), begun.elapsed());
    let secured = session.with_connection(|connection| Secured {
        protocol: Protocol::of(connection.alpn_protocol()),
        client: connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| client::line(certificate))
            .unwrap_or_default(),
        hsts: Arc::clone(&tls.hsts),
    });
    Some((Socket::Tls(Box::new(session)), secured))
}
