//! The app behind the proxies: as little of a server as answers.
//!
//! `GET /bytes/N` is answered with N bytes, an upgrade with 101 and an echo, anything else, once its
//! body has come, with 33 bytes. A head comes in one piece here, because the proxies send it in one
//! write.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, Backlog, MsgFlags, recv};

use crate::cpu;

const BODY: &str = "thirty-three bytes: this is them\n";
/// The most that is written, or read of a body, at once.
const BLOCK: usize = 1 << 20;

trait Stream: Read + Write + AsFd + AsRawFd + Send {}
impl<T: Read + Write + AsFd + AsRawFd + Send> Stream for T {}

/// Where a connection is.
#[derive(Clone, Copy)]
enum At {
    Head,
    /// So much of a request's body is still to come.
    Upload(usize),
    /// So much of an answer's body is still to go.
    Download(usize),
    Echo,
}

struct Connection {
    stream: Box<dyn Stream>,
    is_tcp: bool,
    at: At,
    /// It asked for the connection to be closed after the answer.
    last: bool,
}

/// A server without a thread: it works when it is given a turn.
pub struct Origin {
    epoll: Epoll,
    tcp: TcpListener,
    unix: UnixListener,
    connections: HashMap<u64, Connection>,
    events: Vec<EpollEvent>,
    buffer: Vec<u8>,
    filler: Vec<u8>,
}

/// Serves on a free TCP port and on a unix socket, on core 1: by a thread of its own, unless somebody
/// holds the lock and gives it turns.
pub fn start(unix: &Path) -> (SocketAddr, Arc<Mutex<Origin>>) {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let unix = UnixListener::bind(unix).expect("a fresh folder");
    let address = tcp.local_addr().expect("it is bound");
    tcp.set_nonblocking(true).expect("a listener");
    unix.set_nonblocking(true).expect("a listener");
    // A thousand may come at once.
    socket::listen(&tcp, Backlog::MAXCONN).expect("a listener");
    socket::listen(&unix, Backlog::MAXCONN).expect("a listener");
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    for listener in [tcp.as_fd(), unix.as_fd()] {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, key(&listener));
        epoll.add(listener, event).expect("epoll");
    }
    let ready = epoll.0.try_clone().expect("a descriptor");
    let origin = Arc::new(Mutex::new(Origin {
        epoll,
        tcp,
        unix,
        connections: HashMap::new(),
        events: vec![EpollEvent::empty(); 1024],
        buffer: vec![b'x'; BLOCK],
        filler: vec![b'x'; BLOCK],
    }));
    let served = Arc::clone(&origin);
    thread::spawn(move || {
        cpu::pin(1);
        loop {
            let _ = poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            if let Ok(mut origin) = served.lock() {
                origin.turn();
            }
        }
    });
    (address, origin)
}

fn key(socket: &impl AsRawFd) -> u64 {
    u64::from(socket.as_raw_fd().cast_unsigned())
}

impl Origin {
    /// What tells that there is something to do.
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Does what there is to do; whether there was anything.
    pub fn turn(&mut self) -> bool {
        let count = self.epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &self.events[..count] {
            let number = event.data();
            let is_tcp = number == key(&self.tcp);
            let accepted: Option<Box<dyn Stream>> = if is_tcp {
                self.tcp.accept().ok().map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    let _ = stream.set_nonblocking(true);
                    Box::new(stream) as Box<dyn Stream>
                })
            } else if number == key(&self.unix) {
                self.unix.accept().ok().map(|(stream, _)| {
                    let _ = stream.set_nonblocking(true);
                    Box::new(stream) as Box<dyn Stream>
                })
            } else {
                None
            };
            if let Some(stream) = accepted {
                let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
                let number = key(&stream.as_fd());
                self.epoll.add(stream.as_fd(), EpollEvent::new(edges, number)).expect("epoll");
                let connection = Connection { stream, is_tcp, at: At::Head, last: false };
                self.connections.insert(number, connection);
            } else if let Some(connection) = self.connections.get_mut(&number)
                && !connection.work(&mut self.buffer, &self.filler)
            {
                self.connections.remove(&number);
            }
        }
        count > 0
    }
}

impl Connection {
    /// Does what can be done; whether the connection goes on.
    fn work(&mut self, buffer: &mut [u8], filler: &[u8]) -> bool {
        loop {
            let (done, all) = match self.at {
                At::Head => match self.stream.read(&mut buffer[..16384]) {
                    Ok(0) => return false,
                    Ok(count) => (self.begin(&buffer[..count]), count < 16384),
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                },
                At::Echo => match self.stream.read(&mut buffer[..16384]) {
                    Ok(0) => return false,
                    Ok(count) => (self.stream.write_all(&buffer[..count]), count < 16384),
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                },
                At::Upload(left) => match self.discard(&mut buffer[..left.min(BLOCK)]) {
                    Ok(0) => return false,
                    Ok(count) => (self.came(left - count), count < left.min(BLOCK)),
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                },
                At::Download(left) => match self.stream.write(&filler[..left.min(BLOCK)]) {
                    Ok(count) => {
                        self.at = if count < left { At::Download(left - count) } else { At::Head };
                        (Ok(()), false)
                    }
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                },
            };
            if done.is_err() || self.last && matches!(self.at, At::Head) {
                return false;
            }
            // A short read took all there was; the next edge tells of more.
            if all && !matches!(self.at, At::Download(_)) {
                return true;
            }
        }
    }

    /// Begins to answer a request, of which all of the head and maybe some of the body is here.
    fn begin(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.ends_with(b"\r\n\r\n") && bytes.starts_with(b"GET /path") {
            self.last = memmem(bytes, b"\r\nConnection: close\r\n").is_some();
            return self.answer();
        }
        let end = memmem(bytes, b"\r\n\r\n").ok_or(ErrorKind::InvalidData)?;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        if let Some(path) = head.strip_prefix("get /bytes/") {
            let size = path.split(' ').next().and_then(|size| size.parse().ok());
            let size: usize = size.ok_or(ErrorKind::InvalidData)?;
            self.at = At::Download(size);
            return write!(self.stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        }
        if head.contains("\r\nupgrade: websocket") {
            self.at = At::Echo;
            return self.stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        self.came(length.saturating_sub(bytes.len() - end - 4))
    }

    /// So much of the request is still to come.
    fn came(&mut self, left: usize) -> io::Result<()> {
        self.at = if left > 0 { At::Upload(left) } else { At::Head };
        if left > 0 { Ok(()) } else { self.answer() }
    }

    fn answer(&mut self) -> io::Result<()> {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n";
        let mut answer = [0; ANSWER.len() + BODY.len()];
        answer[..ANSWER.len()].copy_from_slice(ANSWER.as_bytes());
        answer[ANSWER.len()..].copy_from_slice(BODY.as_bytes());
        self.stream.write_all(&answer)
    }

    /// Reads what nobody looks at. TCP does that without copying it.
    fn discard(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_tcp {
            return Ok(recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?);
        }
        self.stream.read(buffer)
    }
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
