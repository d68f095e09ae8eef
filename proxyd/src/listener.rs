//! Accepting: each worker from its own duplicate of each listener.

use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::connection;
use crate::limits;
use crate::say::say;
use crate::socket::Socket;
use crate::worker::Worker;

/// Listens on an address.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // The standard library asks for room for 128, which a burst of clients overflows: whoever finds
    // none comes again only after a second.
    listen(&listener, Backlog::new(limits::BACKLOG)?)?;
    Ok(listener)
}

/// Accepts until it is aborted. It rests where it cannot go on, and never ends or spins.
pub(crate) async fn accept(listener: TcpListener, worker: Rc<Worker>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            say!("proxyd: a listener cannot be waited for: {error}");
            return;
        }
    };
    // What is accepted inherits it. Without it an answer in two writes waits for an acknowledgement;
    // where it cannot be set, answers are still whole.
    let _ = setsockopt(&listener, sockopt::TcpNoDelay, &true);
    loop {
        let Some(admission) = worker.admit() else {
            sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let worker = Rc::clone(&worker);
                let client = worker.client();
                // On the heap: a task moves what it runs several times.
                spawn_local(Box::pin(async move {
                    connection::serve(worker, Socket::Tcp(stream), peer).await;
                    drop((client, admission));
                }));
            }
            Err(error) if is_exhausted(&error) => {
                // Idle connections to targets are the descriptors that can be spared.
                worker.crowd.is_exhausted();
                worker.pool.clear();
                sleep(limits::ACCEPT_PAUSE).await;
            }
            // It was gone before it was taken.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            // A listener that somebody else has shut down says so each time.
            Err(_) => sleep(limits::ACCEPT_PAUSE).await,
        }
    }
}

/// Whether the process or the machine is out of descriptors or memory.
pub(crate) fn is_exhausted(error: &Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}
