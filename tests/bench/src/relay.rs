//! The floor: a proxy that copies bytes and looks at none. One connection there for each here.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Relays forever.
pub fn run(listen: SocketAddr, target: SocketAddr) -> ! {
    let listener = TcpListener::bind(listen).expect("a free port");
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX)).expect("epoll");
    // The two sides of a pair are neighbours: 2n and 2n + 1. Where one was closed, none is left.
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut events = vec![EpollEvent::empty(); 256];
    let mut buffer = vec![0; 65536];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..count] {
            let Ok(side) = usize::try_from(event.data()) else { continue };
            if event.data() == u64::MAX {
                let (client, _) = listener.accept().expect("a client");
                let upstream = TcpStream::connect(target).expect("the origin");
                for stream in [client, upstream] {
                    stream.set_nodelay(true).expect("a socket");
                    stream.set_nonblocking(true).expect("a socket");
                    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                    epoll
                        .add(&stream, EpollEvent::new(flags, streams.len() as u64))
                        .expect("epoll");
                    streams.push(Some(stream));
                }
                continue;
            }
            let (Some(from), Some(to)) = (&streams[side], &streams[side ^ 1]) else { continue };
            let (mut from, mut to) = (from, to);
            let alive = match from.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => to.write_all(&buffer[..count]).is_ok(),
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            if !alive {
                streams[side] = None;
                streams[side ^ 1] = None;
            }
        }
    }
}
