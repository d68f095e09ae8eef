//! Accepting: each worker from its own duplicate of each listener.

use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, ready};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;

use crate::clock::sleep;
use crate::connection;
use crate::guest::Guest;
use crate::limits;
use crate::say::say;
use crate::socket::{Socket, watch};
use crate::tls::Scheme;
use crate::worker::Worker;

/// A listening socket, and what is spoken on its connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) scheme: Scheme,
}

/// Listens on an address.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // The standard library asks for room for 128, which a burst of clients overflows: whoever finds
    // none comes again only after a second.
    listen(&listener, Backlog::new(limits::BACKLOG)?)?;
    Ok(listener)
}

/// Accepts until it is aborted. It rests where it cannot go on, and never ends or spins.
pub(crate) async fn accept(listener: Listener, worker: Rc<Worker>) {
    let Listener { socket, scheme } = listener;
    let watched = socket.set_nonblocking(true);
    let listener = match watched.and_then(|()| watch(socket.into(), Interest::READABLE)) {
        Ok(listener) => listener,
        Err(error) => {
            say!("proxyd: a listener cannot be waited for: {error}");
            return;
        }
    };
    // What is accepted inherits it. Without it an answer in two writes waits for an acknowledgement;
    // where it cannot be set, answers are still whole.
    let _ = setsockopt(listener.get_ref(), sockopt::TcpNoDelay, &true);
    loop {
        let Some(admission) = worker.admit() else {
            sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        match next(&listener).await {
            Ok((stream, peer)) => {
                let worker = Rc::clone(&worker);
                let client = worker.client();
                let socket = match scheme {
                    Scheme::Http => Ok(Socket::Guest(Guest::new(stream))),
                    Scheme::Https => tokio::net::TcpStream::from_std(stream).map(Socket::Tcp),
                };
                // One that cannot be waited for is closed.
                if let Ok(socket) = socket {
                    let place = (client, admission);
                    // On the heap: a task moves what it runs several times.
                    spawn_local(Box::pin(connection::serve(worker, socket, peer, scheme, place)));
                }
            }
            Err(error) if is_exhausted(&error) => {
                worker.crowd.is_exhausted();
                worker.make_room();
                sleep(limits::ACCEPT_PAUSE).await;
            }
            // It was gone before it was taken.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            // A listener that somebody else has shut down says so each time.
            Err(_) => sleep(limits::ACCEPT_PAUSE).await,
        }
    }
}

/// The next client. Whether there is one more is asked and not tried: for an accept in vain the kernel makes a
/// whole socket first, which costs ten times as much.
async fn next(listener: &AsyncFd<OwnedFd>) -> Result<(TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        loop {
            let mut ready = ready!(listener.poll_read_ready(cx))?;
            let accepted = accept_from(listener.get_ref());
            let in_vain =
                || accepted.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            if in_vain() || !has_come(listener.get_ref()) {
                ready.clear_ready();
            }
            if !in_vain() {
                return Poll::Ready(accepted);
            }
        }
    })
    .await
}

fn accept_from(listener: &OwnedFd) -> Result<(TcpStream, SocketAddr)> {
    let (client, address) =
        acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let address = address.ok_or(ErrorKind::ConnectionAborted)?;
    Ok((client.into(), address.try_into()?))
}

fn has_come(listener: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    // Whoever cannot be asked is tried.
    !matches!(poll(&mut asked, PollTimeout::ZERO), Ok(0))
}

/// Whether the process or the machine is out of descriptors or memory.
pub(crate) fn is_exhausted(error: &Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn all_who_have_come_are_taken_and_the_next_one_is_waited_for() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = socket.local_addr().unwrap();
            socket.set_nonblocking(true).unwrap();
            let listener = watch(socket.into(), Interest::READABLE).unwrap();
            for count in [3, 1, 2] {
                let came: Vec<_> =
                    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
                for client in &came {
                    let (_, peer) = next(&listener).await.unwrap();
                    assert_eq!(peer, client.local_addr().unwrap());
                }
                let mut one_more = std::pin::pin!(next(&listener));
                let waits = poll_fn(|cx| Poll::Ready(one_more.as_mut().poll(cx).is_pending()));
                assert!(waits.await);
            }
        });
    }
}
