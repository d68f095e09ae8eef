//! A connected TCP or unix socket, which the kernel is asked to tell of only once there is something to wait for.
//!
//! A client that asks as soon as it is let in, is answered at once and goes is never waited for. That saves two
//! system calls of ten. Its answer and the end behind it are one segment, which saves a seventh of the
//! rest.
//!
//! That it takes bytes is waited for only once it has taken none.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::io::{ErrorKind, Result};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::reactor::{Lane, Want, Watch};

/// The connection, and what is known of it.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Before the descriptor, so that it ends before it.
    watch: OnceCell<Watch>,
    fd: OwnedFd,
    side: Side,
    /// What is written is the last of it.
    ends: Cell<bool>,
    /// The kernel tells of room.
    tells_of_room: Cell<bool>,
}

/// What is on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    /// A target's.
    Tcp,
    /// A target's. Its kernel tells of each piece that the other side has read, and a proxy would be woken twice
    /// for each answer: it is waited for to take bytes for no longer than it takes none.
    Unix,
}

impl Wire {
    /// Of a client that does not block. What it has sent so far was read, or it is told anew.
    pub(crate) fn client(stream: TcpStream) -> Wire {
        Wire::new(stream.into(), Side::Client)
    }

    /// Connects to a target.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Wire> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let wire = Wire::new(socket_with(family, SocketType::STREAM, FLAGS, None)?, Side::Tcp);
        match connect(&wire.fd, &address) {
            Err(Errno::INPROGRESS) => {
                wire.watch()?.is_not_so(Want::Write);
                poll_fn(|cx| wire.poll_writable(cx)).await?;
                socket_error(&wire.fd)??;
            }
            connected => connected?,
        }
        set_tcp_nodelay(&wire.fd, true)?;
        Ok(wire)
    }

    /// Connects at once or not at all: a unix socket does not wait.
    pub(crate) fn connect_unix(path: &Path) -> Result<Wire> {
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(Wire::new(fd, Side::Unix))
    }

    fn new(fd: OwnedFd, side: Side) -> Wire {
        Wire {
            watch: OnceCell::new(),
            fd,
            side,
            ends: Cell::new(false),
            tells_of_room: Cell::new(false),
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watch.get().is_some()
    }

    fn watch(&self) -> Result<&Watch> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        let lane = if self.side == Side::Client { Lane::InTurn } else { Lane::First };
        let new = Watch::over(self.fd.as_fd(), lane)?;
        // Until an answer is awaited.
        new.set_lane(Lane::InTurn);
        Ok(self.watch.get_or_init(|| new))
    }

    /// Does it if there may be something to read, which nobody knows of one that is not watched. What would block
    /// has to be told of then.
    pub(crate) fn try_reading<R>(&self, read: impl FnOnce() -> Result<R>) -> Result<R> {
        match self.watch.get() {
            Some(watch) => watch.attempt(Want::Read, read),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Does it unless there is no room. Whoever is new has room.
    pub(crate) fn try_writing<R>(&self, write: impl FnOnce() -> Result<R>) -> Result<R> {
        let Some(watch) = self.watch.get() else { return write() };
        let written = watch.attempt(Want::Write, write)?;
        if self.side == Side::Unix && self.tells_of_room.take() {
            // What was written is written. Where this cannot be, it is told of what nobody waits for.
            let _ = watch.tell_of_room(self.fd.as_fd(), false);
        }
        Ok(written)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.watch()?.poll(Want::Read, cx).map(Ok)
    }

    /// Whether what is waited for is the answer to a request, which is told of at once. Of clients nothing is.
    pub(crate) fn awaits_answer(&self, awaits: bool) {
        if let Some(watch) = self.watch.get() {
            watch.set_lane(if awaits { Lane::First } else { Lane::InTurn });
        }
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let watch = self.watch()?;
        let room = watch.poll(Want::Write, cx);
        if room.is_pending() && !self.tells_of_room.replace(true) {
            watch.tell_of_room(self.fd.as_fd(), true)?;
        }
        room.map(Ok)
    }

    /// Ready once it has come to its end, or has been broken.
    pub(crate) fn poll_end(&self, want: Want, cx: &mut Context<'_>) -> Poll<()> {
        match self.watch() {
            Ok(watch) => watch.poll(want, cx),
            // An error is an end, too.
            Err(_) => Poll::Ready(()),
        }
    }

    /// What is written from now on is the last of it, and the end follows at once.
    pub(crate) fn end_follows(&self) {
        self.ends.set(self.side == Side::Client);
    }

    #[cfg(test)]
    pub(crate) fn tells_of_room(&self) -> bool {
        self.tells_of_room.get()
    }

    pub(crate) fn ends(&self) -> bool {
        self.ends.get()
    }

    /// A close from now on is a reset.
    pub(crate) fn reset(&self) {
        // Where it cannot be one, it is a close.
        let _ = set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    /// Whether what comes from it lies in whole pages, which a pipe can take as they are.
    pub(crate) fn has_pages(&self) -> bool {
        self.side != Side::Unix
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::executor;
    use crate::socket::Socket;

    /// Less than the kernel holds back what more is to follow.
    const HELD: Duration = Duration::from_millis(150);
    /// More than sockets hold.
    const SIZE: usize = 20_000_000;

    fn with_pair(test: impl AsyncFnOnce(&Socket, TcpStream)) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        executor::run(async { test(&Socket::Wire(Wire::client(ours)), client).await }).unwrap();
    }

    #[test]
    fn who_is_answered_at_once_is_never_watched() {
        with_pair(async |mut socket, mut client| {
            socket.write_all(b"answer").await.unwrap();
            assert!(socket.is_unwatched());
            let mut heard = [0; 6];
            client.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"answer");
        });
    }

    #[test]
    fn the_last_of_it_goes_with_the_end() {
        with_pair(async |mut socket, mut client| {
            socket.end_follows();
            let begun = Instant::now();
            socket.write_all(b"answer").await.unwrap();
            client.set_nonblocking(true).unwrap();
            let mut heard = [0; 7];
            let early = client.peek(&mut heard);
            // It waits no longer than 200 ms, which on a busy machine may be over by now.
            let is_held = early.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            assert!(is_held || begun.elapsed() >= HELD, "the kernel has been told to wait");
            client.set_nonblocking(false).unwrap();
            socket.end().unwrap();
            assert_eq!(client.read(&mut heard).unwrap(), 6);
            assert_eq!(client.read(&mut heard).unwrap(), 0);
        });
    }

    #[test]
    fn what_came_before_it_was_watched_is_told() {
        with_pair(async |socket, mut client| {
            client.write_all(b"hello").unwrap();
            assert!(socket.is_unwatched());
            poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
            assert!(!socket.is_unwatched());
            drop(client);
            poll_fn(|cx| socket.poll_end(Want::End, cx)).await;
        });
    }

    #[test]
    fn what_it_takes_at_once_is_told() {
        with_pair(async |socket, mut client| {
            assert_eq!(socket.write_now(b"answer"), 6);
            let mut heard = [0; 6];
            client.read_exact(&mut heard).unwrap();
            let taken = socket.write_now(&vec![7; SIZE]);
            assert!((1..SIZE).contains(&taken), "{taken}");
            assert_eq!(socket.write_now(b"more"), 0);
            drop(client);
            assert_eq!(socket.write_now(b"more"), 0, "who has gone is told of with the rest");
        });
    }

    #[test]
    fn more_than_it_takes_is_waited_for() {
        with_pair(async |mut socket, mut client| {
            let reader = std::thread::spawn(move || {
                let mut heard = vec![0; SIZE];
                client.read_exact(&mut heard).map(|()| heard)
            });
            socket.write_all(&vec![7; SIZE]).await.unwrap();
            assert!(reader.join().unwrap().unwrap() == vec![7; SIZE]);
        });
    }
}
