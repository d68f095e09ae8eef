//! A client's TCP connection, which the kernel is asked to tell of only once there is something to wait for.
//!
//! Whoever asks as soon as it is let in, is answered at once and goes is never waited for. That saves two
//! system calls of ten. Its answer and the end behind it are one segment, which saves a seventh of the
//! rest.

use std::cell::{Cell, OnceCell};
use std::io::{ErrorKind, Result};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::socket::watch;

/// The connection, and the watch that is kept over it.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Before the descriptor, so that it ends before it.
    watch: OnceCell<AsyncFd<Rc<OwnedFd>>>,
    fd: Rc<OwnedFd>,
    /// What is written is the last of it.
    ends: Cell<bool>,
}

impl Guest {
    /// Of one that does not block. What it has sent so far was read, or it is told anew.
    pub(crate) fn new(stream: TcpStream) -> Guest {
        Guest::of(Rc::new(stream.into()))
    }

    fn of(fd: Rc<OwnedFd>) -> Guest {
        Guest { watch: OnceCell::new(), fd, ends: Cell::new(false) }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watch.get().is_some()
    }

    fn watch(&self) -> Result<&AsyncFd<Rc<OwnedFd>>> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        let new = watch(Rc::clone(&self.fd), Interest::READABLE | Interest::WRITABLE)?;
        Ok(self.watch.get_or_init(|| new))
    }

    /// Does it if there may be something to read, which nobody knows of one that is not watched.
    pub(crate) fn try_reading<R>(&self, read: impl FnOnce() -> Result<R>) -> Result<R> {
        match self.watch.get() {
            Some(watch) => watch.try_io(Interest::READABLE, |_| read()),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Does it unless there is no room. Whoever is new has room.
    pub(crate) fn try_writing<R>(&self, write: impl FnOnce() -> Result<R>) -> Result<R> {
        match self.watch.get() {
            Some(watch) => watch.try_io(Interest::WRITABLE, |_| write()),
            None => write(),
        }
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.watch()?.poll_read_ready(cx).map_ok(drop)
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.watch()?.poll_write_ready(cx).map_ok(drop)
    }

    /// Returns once it may be so, or it has come to its end.
    pub(crate) async fn ready(&self, interest: Interest) {
        if let Ok(watch) = self.watch() {
            // An error is an end, too.
            drop(watch.ready(interest).await);
        }
    }

    /// What is written from now on is the last of it, and the end follows at once.
    pub(crate) fn end_follows(&self) {
        self.ends.set(true);
    }

    pub(crate) fn ends(&self) -> bool {
        self.ends.get()
    }

    /// A close from now on is a reset.
    pub(crate) fn reset(&self) {
        // Where it cannot be one, it is a close.
        let _ = set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use tokio::io::AsyncWriteExt;
    use tokio::runtime::Builder;

    use super::*;
    use crate::socket::Socket;

    /// Less than the kernel holds back what more is to follow.
    const HELD: Duration = Duration::from_millis(150);
    /// More than sockets hold.
    const SIZE: usize = 20_000_000;

    fn with_pair(test: impl AsyncFnOnce(&Guest, TcpStream)) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async { test(&Guest::new(ours), client).await });
    }

    #[test]
    fn who_is_answered_at_once_is_never_watched() {
        with_pair(async |guest, mut client| {
            let socket = Socket::Guest(Guest::of(Rc::clone(&guest.fd)));
            (&socket).write_all(b"answer").await.unwrap();
            let Socket::Guest(written) = &socket else { panic!("a guest") };
            assert!(!written.is_watched());
            let mut heard = [0; 6];
            client.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"answer");
        });
    }

    #[test]
    fn the_last_of_it_goes_with_the_end() {
        with_pair(async |guest, mut client| {
            let socket = Socket::Guest(Guest::of(Rc::clone(&guest.fd)));
            socket.end_follows();
            let begun = Instant::now();
            (&socket).write_all(b"answer").await.unwrap();
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
        with_pair(async |guest, mut client| {
            client.write_all(b"hello").unwrap();
            assert!(!guest.is_watched());
            poll_fn(|cx| guest.poll_readable(cx)).await.unwrap();
            assert!(guest.is_watched());
            drop(client);
            guest.ready(Interest::PRIORITY).await;
        });
    }

    #[test]
    fn what_it_takes_at_once_is_told() {
        with_pair(async |guest, mut client| {
            let socket = Socket::Guest(Guest::of(Rc::clone(&guest.fd)));
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
        with_pair(async |guest, mut client| {
            let socket = Socket::Guest(Guest::of(Rc::clone(&guest.fd)));
            let reader = std::thread::spawn(move || {
                let mut heard = vec![0; SIZE];
                client.read_exact(&mut heard).map(|()| heard)
            });
            (&socket).write_all(&vec![7; SIZE]).await.unwrap();
            assert!(reader.join().unwrap().unwrap() == vec![7; SIZE]);
        });
    }
}
