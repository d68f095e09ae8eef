//! The load: so many connections, each with one request at a time; as fast as they are answered.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, send};

use crate::ask::{Answer, Ask, Came};
use crate::peers::Setting;
use crate::spin;

/// The most that is written, or read of a body, at once.
const BLOCK: usize = 1 << 20;
/// How long there may be no answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection and how far it is.
pub struct Client {
    stream: TcpStream,
    /// Of head and body together.
    sent: usize,
    answer: Answer,
    done: bool,
    begun: Instant,
}

/// Sends so many requests in all and reads the answers; a string says what went wrong.
pub fn run(
    setting: &Setting,
    address: SocketAddr,
    ask: &Ask,
    connections: usize,
    requests: usize,
) -> Result<(), String> {
    timed(setting, address, ask, connections, requests).map(drop)
}

/// The same, and how long each took in nanoseconds.
pub fn timed(
    setting: &Setting,
    address: SocketAddr,
    ask: &Ask,
    connections: usize,
    requests: usize,
) -> Result<Vec<u64>, String> {
    let epoll = Epoll::new(EpollCreateFlags::empty()).map_err(|error| error.to_string())?;
    let mut origin = setting.origin();
    let filler = vec![b'x'; ask.upload.min(BLOCK)];
    let mut buffer = vec![0; BLOCK];
    let mut took = Vec::with_capacity(requests + connections);
    let connections = connections.min(requests);
    let mut clients = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut client = Client::connect(address)?;
        client.watch(&epoll, number)?;
        client.send(ask, &filler)?;
        clients.push(client);
        // It must not be the one that nobody can connect to.
        origin.turn();
    }
    let (mut begun, mut events) = (connections, vec![EpollEvent::empty(); 1024]);
    while took.len() < requests {
        let count = spin::wait(&epoll, &mut events, &mut origin, PATIENCE)
            .map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("no answer for ten seconds".to_owned());
        }
        for event in &events[..count] {
            let number = usize::try_from(event.data()).map_err(|error| error.to_string())?;
            let client = &mut clients[number];
            if client.sent < ask.head.len() + ask.upload {
                client.send(ask, &filler)?;
            }
            match client.receive(ask, &mut buffer)? {
                Came::Nothing => continue,
                Came::End if ask.close && client.done => continue,
                Came::End => return Err("the proxy closed a connection".to_owned()),
                Came::Whole => {}
            }
            let elapsed = client.begun.elapsed().as_nanos();
            took.push(u64::try_from(elapsed).map_err(|error| error.to_string())?);
            client.done = true;
            if begun == requests {
                continue;
            }
            begun += 1;
            if ask.close {
                *client = Client::connect(address)?;
                client.watch(&epoll, number)?;
            }
            client.send_anew(ask, &filler)?;
        }
    }
    Ok(took)
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Client, String> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = connect().map_err(|error| format!("connect: {error}"))?;
        Ok(Client { stream, sent: 0, answer: Answer::new(), done: false, begun: Instant::now() })
    }

    pub fn watch(&self, epoll: &Epoll, number: usize) -> Result<(), String> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, number as u64);
        epoll.add(&self.stream, event).map_err(|error| error.to_string())
    }

    pub fn send_anew(&mut self, ask: &Ask, filler: &[u8]) -> Result<(), String> {
        self.sent = 0;
        self.begun = Instant::now();
        self.send(ask, filler)
    }

    /// Reads what there is of the answer.
    pub fn receive(&mut self, ask: &Ask, buffer: &mut [u8]) -> Result<Came, String> {
        self.answer.read(&self.stream, ask, buffer)
    }

    /// Sends as much of the request as is taken.
    fn send(&mut self, ask: &Ask, filler: &[u8]) -> Result<(), String> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            let bytes = match ask.head.get(self.sent..) {
                Some(head) if !head.is_empty() => head,
                _ => {
                    let left = ask.head.len() + ask.upload - self.sent;
                    &filler[..left.min(filler.len())]
                }
            };
            if bytes.is_empty() {
                return Ok(());
            }
            match send(self.stream.as_raw_fd(), bytes, flags) {
                Ok(count) => self.sent += count,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(format!("write: {error}")),
            }
        }
    }
}
