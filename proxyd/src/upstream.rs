//! A connection to a target, and making one.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::time::{sleep, timeout};

use crate::crowd::Place;
use crate::flow::Readable;
use crate::limits;
use crate::pipe::Spliced;
use crate::target::Address;

/// A connection to a target.
#[derive(Debug)]
pub(crate) struct Upstream {
    socket: Socket,
    _place: Place,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Upstream {
    pub(crate) async fn connect(
        address: &Address,
        within: Duration,
        place: Place,
    ) -> Result<Upstream> {
        let connect = async {
            match address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Ok(Socket::Tcp(stream))
                }
                Address::Unix(path) => connect_unix(path).await.map(Socket::Unix),
            }
        };
        let connected = timeout(within, connect).await;
        let socket = connected.map_err(|_| Error::from(ErrorKind::TimedOut))??;
        Ok(Upstream { socket, _place: place })
    }

    /// Whether an idle connection is still good, as far as the last wait for events told: it
    /// must be silent. Costs no system call unless there is something to tell.
    pub(crate) fn is_silent(&self) -> bool {
        let mut byte = [0];
        let read = match &self.socket {
            Socket::Tcp(stream) => stream.try_read(&mut byte),
            Socket::Unix(stream) => stream.try_read(&mut byte),
        };
        would_block(&read)
    }

    /// The same, asked of the kernel at this moment.
    pub(crate) fn is_silent_now(&self) -> bool {
        let fd = match &self.socket {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        };
        let peeked = recv(fd, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        would_block(&peeked.map_err(Error::from))
    }

    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match &mut self.socket {
            Socket::Tcp(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Tcp(reader), Writer::Tcp(writer))
            }
            Socket::Unix(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Unix(reader), Writer::Unix(writer))
            }
        }
    }
}

/// A full backlog of a unix socket is told at once, where TCP would wait: so the waiting is ours.
async fn connect_unix(path: &Path) -> Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                sleep(limits::BACKLOG_PAUSE).await;
            }
            result => return result,
        }
    }
}

fn would_block(result: &Result<usize>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

pub(crate) enum Reader<'a> {
    Tcp(tcp::ReadHalf<'a>),
    Unix(unix::ReadHalf<'a>),
}

pub(crate) enum Writer<'a> {
    Tcp(tcp::WriteHalf<'a>),
    Unix(unix::WriteHalf<'a>),
}

impl Readable for Reader<'_> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Reader::Tcp(half) => half.as_ref().poll_read_ready(cx),
            Reader::Unix(half) => half.as_ref().poll_read_ready(cx),
        }
    }
}

impl Reader<'_> {
    pub(crate) fn socket(&self) -> &dyn Spliced {
        match self {
            Reader::Tcp(half) => half.as_ref(),
            Reader::Unix(half) => half.as_ref(),
        }
    }
}

impl Writer<'_> {
    pub(crate) fn socket(&self) -> &dyn Spliced {
        match self {
            Writer::Tcp(half) => half.as_ref(),
            Writer::Unix(half) => half.as_ref(),
        }
    }
}

impl Readable for tcp::ReadHalf<'_> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.as_ref().poll_read_ready(cx)
    }
}

impl AsyncRead for Reader<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match self.get_mut() {
            Reader::Tcp(half) => Pin::new(half).poll_read(cx, buffer),
            Reader::Unix(half) => Pin::new(half).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Writer<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.get_mut() {
            Writer::Tcp(half) => Pin::new(half).poll_write(cx, bytes),
            Writer::Unix(half) => Pin::new(half).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match self.get_mut() {
            Writer::Tcp(half) => Pin::new(half).poll_write_vectored(cx, parts),
            Writer::Unix(half) => Pin::new(half).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Writer::Tcp(half) => Pin::new(half).poll_shutdown(cx),
            Writer::Unix(half) => Pin::new(half).poll_shutdown(cx),
        }
    }
}
