//! The app behind the proxies: as little of a server as answers.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::cpu;

const BODY: &str = "thirty-three bytes: this is them\n";

trait Stream: Read + Write + AsFd + AsRawFd {}
impl<T: Read + Write + AsFd + AsRawFd> Stream for T {}

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
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len());
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    let (tcp_fd, unix_fd) = (tcp.as_raw_fd().cast_unsigned(), unix.as_raw_fd().cast_unsigned());
    let readable = |fd: u32| EpollEvent::new(EpollFlags::EPOLLIN, u64::from(fd));
    epoll.add(tcp, readable(tcp_fd)).expect("epoll");
    epoll.add(unix, readable(unix_fd)).expect("epoll");
    let mut streams: HashMap<u64, Box<dyn Stream>> = HashMap::new();
    let mut events = vec![EpollEvent::empty(); 256];
    let mut buffer = vec![0; 16384];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
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
                let fd = stream.as_raw_fd().cast_unsigned();
                epoll.add(stream.as_fd(), readable(fd)).expect("epoll");
                streams.insert(u64::from(fd), stream);
            } else if let Some(stream) = streams.get_mut(&key) {
                // A head comes in one piece here: the proxies send it in one write.
                let alive = match stream.read(&mut buffer) {
                    Ok(0) => false,
                    Ok(count) if buffer[..count].ends_with(b"\r\n\r\n") => {
                        stream.write_all(answer.as_bytes()).is_ok()
                    }
                    Ok(_) => true,
                    Err(error) => error.kind() == ErrorKind::WouldBlock,
                };
                if !alive {
                    streams.remove(&key);
                }
            }
        }
    }
}
