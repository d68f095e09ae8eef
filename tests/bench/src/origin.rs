//! The app behind the proxies: as little of a server as answers.
//!
//! `GET /bytes/N` is answered with N bytes, an upgrade with 101 and an echo, anything else, once its
//! body has come, with 33 bytes. A head comes in one piece here, because the proxies send it in one
//! write.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv};

use crate::cpu;
use crate::spin;

const BODY: &str = "thirty-three bytes: this is them\n";
/// The most that is written, or read of a body, at once.
const BLOCK: usize = 1 << 20;

trait Stream: Read + Write + AsFd + AsRawFd {}
impl<T: Read + Write + AsFd + AsRawFd> Stream for T {}

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

/// Serves forever on a free TCP port and on a unix socket, on core 1.
pub fn start(unix: &Path) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let unix = UnixListener::bind(unix).expect("a fresh folder");
    let address = tcp.local_addr().expect("it is bound");
    tcp.set_nonblocking(true).expect("a listener");
    unix.set_nonblocking(true).expect("a listener");
    thread::spawn(move || {
        cpu::pin(1);
        serve(&tcp, &unix);
    });
    address
}

fn serve(tcp: &TcpListener, unix: &UnixListener) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    let (tcp_fd, unix_fd) = (tcp.as_raw_fd().cast_unsigned(), unix.as_raw_fd().cast_unsigned());
    let readable = |fd: u32| EpollEvent::new(EpollFlags::EPOLLIN, u64::from(fd));
    let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    epoll.add(tcp, readable(tcp_fd)).expect("epoll");
    epoll.add(unix, readable(unix_fd)).expect("epoll");
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut events = vec![EpollEvent::empty(); 1024];
    let mut buffer = vec![b'x'; BLOCK];
    let filler = vec![b'x'; BLOCK];
    loop {
        let count = spin::wait(&epoll, &mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..count] {
            let key = event.data();
            let accepted: Option<Box<dyn Stream>> = if key == u64::from(tcp_fd) {
                tcp.accept().ok().map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    let _ = stream.set_nonblocking(true);
                    Box::new(stream) as Box<dyn Stream>
                })
            } else if key == u64::from(unix_fd) {
                unix.accept().ok().map(|(stream, _)| {
                    let _ = stream.set_nonblocking(true);
                    Box::new(stream) as Box<dyn Stream>
                })
            } else {
                None
            };
            if let Some(stream) = accepted {
                let fd = u64::from(stream.as_raw_fd().cast_unsigned());
                epoll.add(stream.as_fd(), EpollEvent::new(edges, fd)).expect("epoll");
                let is_tcp = key == u64::from(tcp_fd);
                connections.insert(fd, Connection { stream, is_tcp, at: At::Head, last: false });
            } else if let Some(connection) = connections.get_mut(&key)
                && !connection.work(&mut buffer, &filler)
            {
                connections.remove(&key);
            }
        }
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
