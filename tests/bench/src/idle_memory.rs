//! `idle-memory`: what a proxy holds for clients that wait: 5,000 keep-alive connections after a
//! request each, and 5,000 `WebSocket`s after a message each way.
//!
//! PSS of all processes of a proxy together; what the kernel holds for sockets is not in it. A
//! `WebSocket` has a connection behind the proxy as well.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::cpu;
use crate::memory::pss;
use crate::peers::Setting;
use crate::report::Row;

const FIGURE: &str = "idle-memory";
const CLIENTS: usize = 5_000;
/// Until connections that nobody waits for any more are gone, those to the origin among them.
const SETTLE: Duration = Duration::from_secs(6);
/// What a client says in a `WebSocket` and hears in return: a masked frame of two bytes.
const FRAME: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];

/// How a client gets to where it waits.
type Connect = fn(SocketAddr) -> Result<TcpStream, String>;

const PROXIES: [(&str, contest::Start); 5] =
    [contest::PROXYD, contest::NGINX, contest::HAPROXY, contest::CADDY, contest::TRAEFIK];

pub fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    let kinds: [(&str, Connect); 2] =
        [("5,000 keep-alive", keep_alive), ("5,000 WebSockets", web_socket)];
    for (what, connect) in kinds {
        // Each from its start: what one kind of client leaves behind is no part of the other.
        let setting = Setting::new(CLIENTS);
        let subjects = contest::line_up(FIGURE, &setting, &PROXIES);
        let standing = contest::run_once(FIGURE, &subjects, |subject| {
            let clients: Result<Vec<TcpStream>, String> =
                (0..CLIENTS).map(|_| connect(subject.peer.address)).collect();
            let clients = clients?;
            thread::sleep(SETTLE);
            let held = of_all(subject.peer.pid()) / 1024.0;
            drop(clients);
            Ok(held)
        });
        rows.extend(standing.rows(FIGURE, what, "MiB", &[("proxyd", Than::Subject("nginx"), 1.0)]));
    }
    rows
}

/// KiB of a process and its children.
fn of_all(pid: u32) -> f64 {
    pss(pid) + cpu::children(pid).into_iter().map(of_all).sum::<f64>()
}

/// A client that has had an answer.
fn keep_alive(address: SocketAddr) -> Result<TcpStream, String> {
    let mut stream = connect(address)?;
    send(&mut stream, &Ask::small().head)?;
    let ending = b"this is them\n";
    receive(&mut stream, ending)?;
    Ok(stream)
}

/// A client whose message has been echoed.
fn web_socket(address: SocketAddr) -> Result<TcpStream, String> {
    let mut stream = connect(address)?;
    send(
        &mut stream,
        b"GET /socket HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    receive(&mut stream, b"\r\n\r\n")?;
    send(&mut stream, &FRAME)?;
    receive(&mut stream, &FRAME)?;
    Ok(stream)
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    let timeout = stream.set_read_timeout(Some(Duration::from_secs(10)));
    timeout.map_err(|error| error.to_string())?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).map_err(|error| format!("write: {error}"))
}

/// Reads until what came ends so.
fn receive(stream: &mut TcpStream, ending: &[u8]) -> Result<(), String> {
    let (mut came, mut buffer) = (Vec::new(), [0; 4096]);
    while !came.ends_with(ending) {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(format!("closed after {:?}", String::from_utf8_lossy(&came))),
            Ok(count) => came.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(format!("read: {error}")),
        }
    }
    Ok(())
}
