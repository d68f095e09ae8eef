//! Accepting: each worker from its own duplicate of each listener.

use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, ready};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::task::coop::poll_proceed;
use tokio::task::spawn_local;

use crate::clock::sleep;
use crate::connection;
use crate::limits;
use crate::reactor::{Lane, Want, Watch};
use crate::say::say;
use crate::socket::Socket;
use crate::tls::Scheme;
use crate::wire::Wire;
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
    let listener = match Watched::new(socket) {
        Ok(listener) => listener,
        Err(error) => {
            say!("proxyd: a listener cannot be waited for: {error}");
            return;
        }
    };
    // What is accepted inherits it. Without it an answer in two writes waits for an acknowledgement;
    // where it cannot be set, answers are still whole.
    let _ = setsockopt(&listener.socket, sockopt::TcpNoDelay, &true);
    loop {
        let Some(admission) = worker.admit() else {
            sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        match listener.next().await {
            Ok((stream, peer)) => {
                let worker = Rc::clone(&worker);
                let client = worker.client();
                let socket = Socket::Wire(Wire::client(stream));
                let place = (client, admission);
                // On the heap: a task moves what it runs several times.
                spawn_local(Box::pin(connection::serve(worker, socket, peer, scheme, place)));
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

/// A listener that is waited for.
struct Watched {
    watch: Watch,
    socket: TcpListener,
}

impl Watched {
    fn new(socket: TcpListener) -> Result<Watched> {
        socket.set_nonblocking(true)?;
        let watch = Watch::over(socket.as_fd(), Lane::InTurn)?;
        Ok(Watched { watch, socket })
    }

    /// The next client. Whether there is one more is asked and not tried: for an accept in vain the kernel makes a
    /// whole socket first, which costs ten times as much.
    async fn next(&self) -> Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            let turn = ready!(poll_proceed(cx));
            loop {
                ready!(self.watch.poll(Want::Read, cx));
                let accepted = accept_from(&self.socket);
                let in_vain =
                    || accepted.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                if in_vain() || !has_come(&self.socket) {
                    self.watch.is_not_so(Want::Read);
                }
                if !in_vain() {
                    turn.made_progress();
                    return Poll::Ready(accepted);
                }
            }
        })
        .await
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Others have it, too, so that the kernel would go on to tell of it.
        self.watch.end(&self.socket);
    }
}

fn accept_from(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    let (client, address) =
        acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let address = address.ok_or(ErrorKind::ConnectionAborted)?;
    Ok((client.into(), address.try_into()?))
}

fn has_come(listener: &TcpListener) -> bool {
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

    use super::*;
    use crate::executor;

    #[test]
    fn all_who_have_come_are_taken_and_the_next_one_is_waited_for() {
        executor::run(async {
            let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = socket.local_addr().unwrap();
            let listener = Watched::new(socket).unwrap();
            for count in [3, 1, 2] {
                let came: Vec<_> =
                    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
                for client in &came {
                    let (_, peer) = listener.next().await.unwrap();
                    assert_eq!(peer, client.local_addr().unwrap());
                }
                let mut one_more = std::pin::pin!(listener.next());
                let waits = poll_fn(|cx| Poll::Ready(one_more.as_mut().poll(cx).is_pending()));
                assert!(waits.await);
            }
        })
        .unwrap();
    }
}
