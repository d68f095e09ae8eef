//! The floor: a proxy that copies bytes and looks at none. One connection there for each here.
//!
//! A small message costs it an `epoll_wait`, which it shares with whatever else is ready, one
//! `recv` and one `send`: like proxyd it waits for edges and takes a short read for the end of what
//! there is. It reads into as much as proxyd reads bodies into. With `--splice` bytes go through a
//! pipe instead, and are not copied: the other floor of large bodies.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, Backlog, MsgFlags, recv, send};
use nix::unistd::pipe2;

const BUFFER: usize = 256 * 1024;
/// As many as tokio takes.
const EVENTS: usize = 1024;
const LISTENER: u64 = u64::MAX;
const EDGES: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLRDHUP)
    .union(EpollFlags::EPOLLET);
const DONTWAIT: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// Which bytes wait for the other side to take them.
enum Held {
    /// `start..end` of a block of its own.
    Copied {
        block: Vec<u8>,
        start: usize,
        end: usize,
    },
    Piped {
        read: OwnedFd,
        write: OwnedFd,
        count: usize,
    },
}

/// One side of a pair, and what came from it and has not gone on.
struct Side {
    socket: OwnedFd,
    held: Held,
    /// Nothing more will be sent from there, so that a short read is not the end.
    ended: bool,
}

/// What came of moving bytes.
#[derive(PartialEq)]
enum Moved {
    All,
    /// The reader takes no more now.
    Stuck,
    /// The pair is of no more use.
    Over,
}

/// Relays forever; `target` is `tcp:ADDR:PORT` or `unix:PATH`.
pub fn run(listen: SocketAddr, target: &str, splicing: bool) -> ! {
    let listener = TcpListener::bind(listen).expect("a free port");
    // A thousand may come at once.
    socket::listen(&listener, Backlog::MAXCONN).expect("a listener");
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).expect("epoll");
    // Events tell 2n of the client's side of pair n and 2n + 1 of the other. Where a pair is over,
    // another will be.
    let mut pairs: Vec<Option<[Side; 2]>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = vec![EpollEvent::empty(); EVENTS];
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..count] {
            if event.data() == LISTENER {
                let place = free.pop().unwrap_or_else(|| {
                    pairs.push(None);
                    pairs.len() - 1
                });
                let pair = join(&listener, target, splicing);
                for (number, side) in (2 * place..).zip(&pair) {
                    let event = EpollEvent::new(EDGES, number as u64);
                    epoll.add(&side.socket, event).expect("epoll");
                }
                pairs[place] = Some(pair);
                continue;
            }
            let Ok(number) = usize::try_from(event.data()) else { continue };
            let Some([client, upstream]) = &mut pairs[number / 2] else { continue };
            let (this, other) =
                if number % 2 == 0 { (client, upstream) } else { (upstream, client) };
            if serve(this, other, event.events(), &mut buffer) == Moved::Over {
                pairs[number / 2] = None;
                free.push(number / 2);
            }
        }
    }
}

/// Accepts a client and connects to the target for it.
fn join(listener: &TcpListener, target: &str, splicing: bool) -> [Side; 2] {
    let (client, _) = listener.accept().expect("a client");
    client.set_nodelay(true).expect("a socket");
    let upstream = if let Some(path) = target.strip_prefix("unix:") {
        OwnedFd::from(UnixStream::connect(path).expect("the origin"))
    } else {
        let stream = TcpStream::connect(target.trim_start_matches("tcp:")).expect("the origin");
        stream.set_nodelay(true).expect("a socket");
        OwnedFd::from(stream)
    };
    [OwnedFd::from(client), upstream].map(|socket| {
        let held = if splicing {
            // `splice` knows no other way of not waiting.
            fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a socket");
            let (read, write) = pipe2(OFlag::O_NONBLOCK).expect("a pipe");
            fcntl(&write, FcntlArg::F_SETPIPE_SZ(1 << 20)).expect("a pipe");
            Held::Piped { read, write, count: 0 }
        } else {
            Held::Copied { block: Vec::new(), start: 0, end: 0 }
        };
        Side { socket, held, ended: false }
    })
}

/// Does what an event of this side says can be done.
fn serve(this: &mut Side, other: &mut Side, ready: EpollFlags, buffer: &mut Vec<u8>) -> Moved {
    let ends = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
    this.ended |= ready.intersects(ends);
    if (this.ended || ready.contains(EpollFlags::EPOLLIN))
        && pump(this, other, buffer) == Moved::Over
    {
        return Moved::Over;
    }
    // What the other side sent may go on now.
    if ready.contains(EpollFlags::EPOLLOUT) && other.holds() {
        return pump(other, this, buffer);
    }
    Moved::All
}

impl Side {
    fn holds(&self) -> bool {
        match &self.held {
            Held::Copied { start, end, .. } => start < end,
            Held::Piped { count, .. } => *count > 0,
        }
    }
}

/// Moves bytes from one side to the other, until there are none or nobody takes them.
fn pump(from: &mut Side, to: &Side, buffer: &mut Vec<u8>) -> Moved {
    match flush(from, to) {
        Moved::All => {}
        other => return other,
    }
    loop {
        let read = match &mut from.held {
            Held::Copied { .. } => recv(from.socket.as_raw_fd(), buffer, DONTWAIT),
            Held::Piped { write, .. } => move_pages(&from.socket, &*write),
        };
        let count = match read {
            Ok(0) => return Moved::Over,
            Ok(count) => count,
            Err(Errno::EAGAIN) => return Moved::All,
            Err(_) => return Moved::Over,
        };
        match &mut from.held {
            Held::Copied { block, start, end } => match push(to, &buffer[..count]) {
                Ok(went) if went == count => {}
                Ok(went) => {
                    // Kept where it is; the next read has another block.
                    std::mem::swap(block, buffer);
                    buffer.resize(BUFFER, 0);
                    (*start, *end) = (went, count);
                    return Moved::Stuck;
                }
                Err(_) => return Moved::Over,
            },
            Held::Piped { count: held, .. } => {
                *held = count;
                match flush(from, to) {
                    Moved::All => {}
                    other => return other,
                }
                // What a pipe takes is no measure of what there is.
                continue;
            }
        }
        if count < buffer.len() && !from.ended {
            return Moved::All;
        }
    }
}

/// Sends what is held.
fn flush(from: &mut Side, to: &Side) -> Moved {
    match &mut from.held {
        Held::Copied { start, end, .. } if start == end => {}
        Held::Copied { block, start, end } => {
            match push(to, &block[*start..*end]) {
                Ok(went) => *start += went,
                Err(_) => return Moved::Over,
            }
            if start < end {
                return Moved::Stuck;
            }
        }
        Held::Piped { read, count, .. } => {
            while *count > 0 {
                match move_pages(&*read, &to.socket) {
                    Ok(0) => return Moved::Over,
                    Ok(went) => *count -= went,
                    Err(Errno::EAGAIN) => return Moved::Stuck,
                    Err(_) => return Moved::Over,
                }
            }
        }
    }
    Moved::All
}

/// Writes what is taken at once.
fn push(to: &Side, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(to.socket.as_raw_fd(), bytes, flags) {
        Err(Errno::EAGAIN) => Ok(0),
        result => result,
    }
}

fn move_pages(from: impl AsFd, to: impl AsFd) -> Result<usize, Errno> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    splice(from, None, to, None, 1 << 20, flags)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const SIZE: usize = 5_000_000;

    fn bytes() -> Vec<u8> {
        (0..SIZE).map(|at| (at * 7 / 3).to_le_bytes()[0]).collect()
    }

    /// Takes all, and only then says it again.
    fn parrot(mut stream: impl Read + Write) {
        let mut heard = vec![0; SIZE];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
    }

    /// More than sockets hold goes there and back, past readers that are not there yet.
    fn is_whole(target: String, splicing: bool) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        thread::spawn(move || run(free, &target, splicing));
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut stream = loop {
            match TcpStream::connect(free) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let mut back = vec![0; SIZE];
        stream.write_all(&bytes()).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert!(back == bytes());
        // The end of one side is that of the other.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    fn tcp() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || parrot(listener.accept().unwrap().0));
        format!("tcp:{address}")
    }

    #[test]
    fn copies_to_tcp() {
        is_whole(tcp(), false);
    }

    #[test]
    fn splices() {
        is_whole(tcp(), true);
    }

    #[test]
    fn copies_to_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || parrot(listener.accept().unwrap().0));
        is_whole(format!("unix:{}", path.display()), false);
    }
}
