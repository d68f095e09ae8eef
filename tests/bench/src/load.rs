//! The load: so many keep-alive connections, each with one request at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

const REQUEST: &[u8] = b"GET /path?query=1 HTTP/1.1\r\nHost: bench.test\r\n\
    User-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

/// Sends so many requests in all and reads the answers; a string says what went wrong.
pub fn run(address: SocketAddr, connections: usize, requests: usize) -> Result<(), String> {
    let epoll = Epoll::new(EpollCreateFlags::empty()).map_err(|error| error.to_string())?;
    let mut clients = Vec::new();
    for number in 0..connections {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let mut stream = connect().map_err(|error| format!("connect: {error}"))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        epoll.add(&stream, event).map_err(|error| error.to_string())?;
        stream.write_all(REQUEST).map_err(|error| format!("write: {error}"))?;
        clients.push((stream, Vec::new()));
    }
    let mut events = vec![EpollEvent::empty(); connections];
    let mut buffer = vec![0; 16384];
    let mut answered = 0;
    while answered < requests {
        let timeout = EpollTimeout::from(10_000_u16);
        let count = epoll.wait(&mut events, timeout).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("no answer for ten seconds".to_owned());
        }
        for event in &events[..count] {
            let number = usize::try_from(event.data()).map_err(|error| error.to_string())?;
            let (stream, pending): &mut (TcpStream, Vec<u8>) = &mut clients[number];
            match stream.read(&mut buffer) {
                Ok(0) => return Err("the proxy closed a connection".to_owned()),
                Ok(count) => pending.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(format!("read: {error}")),
            }
            if complete(pending)? {
                pending.clear();
                answered += 1;
                stream.write_all(REQUEST).map_err(|error| format!("write: {error}"))?;
            }
        }
    }
    Ok(())
}

/// Whether it is one whole answer of the origin.
fn complete(bytes: &[u8]) -> Result<bool, String> {
    if bytes.len() > 12 && !bytes.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(bytes).into_owned());
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    Ok(end.is_some_and(|end| bytes.len() == end + 4 + 33))
}
