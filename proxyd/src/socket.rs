//! A connection's socket, as the data path uses it: what is asked for is tried, and waited for only
//! where that would block.
//!
//! Reading on and on takes turns with the other tasks of a worker; a first read, and writing what was read,
//! need none.

use std::io::{ErrorKind, IoSlice, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::sendfile::sendfile;
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::uio::writev;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;

use crate::buffer::Reads;
use crate::h2::Strand;
use crate::pipe::Pipe;
use crate::reactor::Want;
use crate::tls::Session;
use crate::wire::Wire;

/// A connected socket. Whoever shares it reads and writes in turns: one task has it.
#[derive(Debug)]
pub(crate) enum Socket {
    Wire(Wire),
    /// A client's, after its handshake.
    Tls(Box<Session>),
    /// A stream of an HTTP/2 connection.
    Strand(Box<Strand>),
}

impl Socket {
    /// Reads what there is into the space that is asked for only if there may be something. A short
    /// read is the end of what there is: the next one waits without having tried.
    pub(crate) fn try_read<'b>(&self, space: impl FnOnce() -> &'b mut [u8]) -> Result<usize> {
        if let Socket::Tls(session) = self {
            return session.try_read(space);
        }
        let mut short = None;
        let read = self.try_reading(|| {
            let space = space();
            let whole = space.len();
            let (_, count) = recv(self.fd()?, space, RecvFlags::empty())?;
            note_short(count, whole, &mut short)
        });
        short.map_or(read, Ok)
    }

    /// Reads the first bytes into what is taken to read them with only once there may be some: whoever
    /// waits needs no memory. The end is an error.
    pub(crate) fn poll_first<R: Reads>(
        &self,
        cx: &mut Context<'_>,
        take: impl Fn() -> R + Copy,
        give: impl Fn(R),
    ) -> Poll<Result<R>> {
        if let Socket::Strand(strand) = self {
            ready!(strand.poll_readable(cx))?;
            let mut taken = take();
            let mut free = ReadBuf::new(taken.buffer().space());
            let read = strand.poll_read(cx, &mut free);
            let count = free.filled().len();
            if count == 0 {
                give(taken);
                return read.map(|read| Err(read.err().unwrap_or(ErrorKind::UnexpectedEof.into())));
            }
            taken.buffer().filled(count);
            return Poll::Ready(Ok(taken));
        }
        loop {
            let mut taken = None;
            let place = &mut taken;
            let read = self.try_read(move || place.insert(take()).space());
            match (read, taken) {
                (Ok(count @ 1..), Some(mut taken)) => {
                    taken.buffer().filled(count);
                    return Poll::Ready(Ok(taken));
                }
                (read, taken) => {
                    taken.map(&give);
                    let error =
                        read.map_or_else(|error| error, |_| ErrorKind::UnexpectedEof.into());
                    if error.kind() != ErrorKind::WouldBlock {
                        return Poll::Ready(Err(error));
                    }
                }
            }
            ready!(self.poll_readable(cx))?;
        }
    }

    /// Writes what is taken without waiting; how much that is. Whatever is in the way will be told with the rest.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> usize {
        let flags = match self {
            Socket::Tls(session) => return session.write_now(bytes),
            Socket::Strand(_) => return 0,
            Socket::Wire(wire) => flags(wire),
        };
        let mut short = None;
        let written = self
            .try_writing(|| note_short(send(self.fd()?, bytes, flags)?, bytes.len(), &mut short));
        short.or(written.ok()).unwrap_or_default()
    }

    /// Whether what is waited for is the answer to a request: it is told of at once.
    pub(crate) fn awaits_answer(&self, awaits: bool) {
        if let Socket::Wire(wire) = self {
            wire.awaits_answer(awaits);
        }
    }

    /// Whether nobody has waited for it, so that nothing is known of it.
    pub(crate) fn is_unwatched(&self) -> bool {
        matches!(self, Socket::Wire(wire) if !wire.is_watched())
    }

    /// Whether nothing has come, as far as the last wait for events told. Costs no system call unless
    /// there is something to tell.
    pub(crate) fn is_silent(&self) -> bool {
        let mut byte = [0];
        would_block(&self.try_read(|| &mut byte))
    }

    /// The same, asked of the kernel at this moment.
    pub(crate) fn is_silent_now(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peek = |fd: BorrowedFd<'_>| Ok(recv(fd, &mut [0_u8], flags)?.1);
        would_block(&self.fd().and_then(peek))
    }

    /// What is written from now on is the last of it, and the end follows at once: the kernel may send both as one.
    pub(crate) fn end_follows(&self) {
        if let Socket::Wire(wire) = self {
            wire.end_follows();
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&self) -> Result<()> {
        if let Socket::Tls(session) = self {
            return session.end();
        }
        if let Socket::Strand(strand) = self {
            return strand.finish();
        }
        Ok(shutdown(self.fd()?.as_raw_fd(), Shutdown::Write)?)
    }

    /// A close from now on is a reset.
    pub(crate) fn reset(&self) {
        match self {
            Socket::Wire(wire) => wire.reset(),
            Socket::Tls(session) => session.reset(),
            Socket::Strand(_) => {}
        }
    }

    /// Whether what moves through a pipe is what it carries.
    pub(crate) fn splices(&self) -> bool {
        matches!(self, Socket::Wire(_))
    }

    /// Whether what comes from it lies in whole pages, which a pipe can take as they are.
    pub(crate) fn has_pages(&self) -> bool {
        matches!(self, Socket::Wire(wire) if wire.has_pages())
    }

    /// Ready once it has come to its end, or has been broken.
    pub(crate) fn poll_end(&self, want: Want, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Socket::Wire(wire) => wire.poll_end(want, cx),
            Socket::Tls(session) => session.poll_end(want, cx),
            // Whoever has one asks it itself.
            Socket::Strand(_) => Poll::Pending,
        }
    }

    /// Whether its other side has said that it has done nothing with what it was asked.
    pub(crate) fn is_unprocessed(&self) -> bool {
        matches!(self, Socket::Strand(strand) if strand.is_unprocessed())
    }

    /// Fills an empty pipe with at most so much; 0 is the end.
    pub(crate) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: u64,
    ) -> Poll<Result<usize>> {
        let turn = ready!(poll_proceed(cx));
        loop {
            match self.try_reading(|| pipe.fill(&self.fd()?, most)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => {
                    turn.made_progress();
                    return Poll::Ready(result);
                }
            }
            ready!(self.poll_readable(cx))?;
        }
    }

    /// Empties a pipe as far as it goes.
    pub(crate) fn poll_empty(&self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<usize>> {
        self.poll_writing(cx, 0, || pipe.empty(&self.fd()?))
    }

    /// Writes what more comes behind at once: the kernel may wait for it.
    pub(crate) fn poll_begin(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        self.poll_writing(cx, bytes.len(), || Ok(rustix::net::send(self.fd()?, bytes, flags)?))
    }

    /// Has the kernel send at most so much of a file, from `at` on, which moves with it; 0 is the end of the file.
    pub(crate) fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: &impl AsFd,
        at: &mut i64,
        most: usize,
    ) -> Poll<Result<usize>> {
        self.poll_writing(cx, 0, || Ok(sendfile(self.fd()?, file, Some(at), most)?))
    }

    /// Ready when there may be something to read, or the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Socket::Wire(wire) => wire.poll_readable(cx),
            Socket::Tls(session) => session.poll_readable(cx),
            Socket::Strand(strand) => strand.poll_readable(cx),
        }
    }

    /// Does it if there may be something to read; what would block has to be told of then.
    fn try_reading<R>(&self, read: impl FnOnce() -> Result<R>) -> Result<R> {
        match self {
            Socket::Wire(wire) => wire.try_reading(read),
            // It reads and writes by itself.
            Socket::Tls(_) => Err(ErrorKind::Unsupported.into()),
            Socket::Strand(_) => read(),
        }
    }

    fn try_writing<R>(&self, write: impl FnOnce() -> Result<R>) -> Result<R> {
        match self {
            Socket::Wire(wire) => wire.try_writing(write),
            Socket::Tls(_) => Err(ErrorKind::Unsupported.into()),
            Socket::Strand(_) => write(),
        }
    }

    /// A stream of an HTTP/2 connection has none.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>> {
        match self {
            Socket::Wire(wire) => Ok(wire.as_fd()),
            Socket::Tls(session) => Ok(session.as_fd()),
            Socket::Strand(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Of `whole` bytes, or of nobody knows how many.
    fn poll_writing(
        &self,
        cx: &mut Context<'_>,
        whole: usize,
        mut write: impl FnMut() -> Result<usize>,
    ) -> Poll<Result<usize>> {
        loop {
            let mut short = None;
            match self.try_writing(|| note_short(write()?, whole, &mut short)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            if let Some(count) = short {
                return Poll::Ready(Ok(count));
            }
            ready!(match self {
                Socket::Wire(wire) => wire.poll_writable(cx),
                Socket::Tls(_) | Socket::Strand(_) =>
                    Poll::Ready(Err(ErrorKind::Unsupported.into())),
            })?;
        }
    }
}

fn flags(wire: &Wire) -> SendFlags {
    if wire.ends() { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL }
}

/// Has it known that after fewer bytes than could have been there are none, nor room for any.
pub(crate) fn note_short(count: usize, whole: usize, short: &mut Option<usize>) -> Result<usize> {
    if (1..whole).contains(&count) {
        *short = Some(count);
        return Err(ErrorKind::WouldBlock.into());
    }
    Ok(count)
}

fn would_block(result: &Result<usize>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

impl AsyncRead for &Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if let Socket::Strand(strand) = *self {
            return strand.poll_read(cx, buffer);
        }
        let turn = ready!(poll_proceed(cx));
        loop {
            match self.try_read(|| buffer.initialize_unfilled()) {
                Ok(count) => {
                    turn.made_progress();
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_readable(cx))?;
        }
    }
}

impl AsyncWrite for &Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match *self {
            Socket::Tls(session) => session.poll_write(cx, &[IoSlice::new(bytes)]),
            Socket::Strand(strand) => strand.poll_write(cx, &[IoSlice::new(bytes)]),
            Socket::Wire(wire) => {
                self.poll_writing(cx, bytes.len(), || Ok(send(wire, bytes, flags(wire))?))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match *self {
            Socket::Tls(session) => session.poll_write(cx, parts),
            Socket::Strand(strand) => strand.poll_write(cx, parts),
            Socket::Wire(wire) => {
                let whole = parts.iter().map(|part| part.len()).sum();
                self.poll_writing(cx, whole, || Ok(writev(wire, parts)?))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(self.end())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::buffer::Spare;
    use crate::executor;

    const SIZE: usize = 3_000_000;

    /// A unix socket, and what `other` makes of its other end.
    fn with_pair<T: Send + 'static>(
        other: impl FnOnce(std::os::unix::net::UnixStream) -> T + Send + 'static,
        test: impl AsyncFnOnce(&Socket),
    ) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let other = thread::spawn(move || other(listener.accept().unwrap().0));
        executor::run(async {
            let socket = Socket::Wire(Wire::connect_unix(&path).unwrap());
            test(&socket).await;
        })
        .unwrap();
        other.join().unwrap()
    }

    #[test]
    fn more_than_a_unix_socket_takes_goes_through() {
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at * 7 / 3).to_le_bytes()[0]).collect();
        let sent = bytes.clone();
        let other = |mut stream: std::os::unix::net::UnixStream| {
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            heard
        };
        let heard = with_pair(other, async move |mut socket| {
            socket.write_all(&sent).await.unwrap();
            socket.end().unwrap();
            let Socket::Wire(wire) = socket else { panic!("a unix socket") };
            // The last write went through, so that nobody waits for room any more.
            assert!(!wire.tells_of_room());
        });
        assert!(heard == bytes);
    }

    #[test]
    fn who_waits_has_taken_nothing() {
        let other = |mut stream: std::os::unix::net::UnixStream| {
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"now").unwrap();
        };
        with_pair(other, async |mut socket| {
            let spare = Spare::default();
            let taken = Cell::new(0);
            let take = || {
                taken.set(taken.get() + 1);
                spare.tray()
            };
            let give = |tray| {
                taken.set(taken.get() - 1);
                spare.put_tray(tray);
            };
            let once = poll_fn(|cx| Poll::Ready(socket.poll_first(cx, take, give).is_pending()));
            assert!(once.await, "there is nothing to read");
            assert_eq!(taken.get(), 0);
            assert!(socket.is_silent() && socket.is_silent_now());
            socket.write_all(b"?").await.unwrap();
            let tray = poll_fn(|cx| socket.poll_first(cx, take, give)).await.unwrap();
            assert_eq!((tray.answer.data(), taken.get()), (&b"now"[..], 1));
            let end = poll_fn(|cx| socket.poll_first(cx, take, give)).await;
            assert_eq!((end.unwrap_err().kind(), taken.get()), (ErrorKind::UnexpectedEof, 1));
        });
    }
}
