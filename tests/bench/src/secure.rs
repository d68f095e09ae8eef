//! The load over TLS 1.3: by a client that has it all on core 1, with `TLS_AES_128_GCM_SHA256` and X25519 and nothing
//! else, so that all who are measured do the same.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::ring::{default_provider, kx_group::X25519};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

use crate::ask::{Ask, after_head};
use crate::peers::{HOST, Setting};
use crate::spin;

/// How long there may be no answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One who connects. If he resumes sessions, he keeps those that he was given.
pub fn config(setting: &Setting, resumes: bool) -> Arc<ClientConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![X25519],
        ..default_provider()
    };
    let authority = setting.tls().authority.pem();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(authority).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&TLS13]).expect("the suite is of it");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption =
        if resumes { Resumption::in_memory_sessions(1) } else { Resumption::disabled() };
    Arc::new(config)
}

/// A connection after its TCP handshake.
struct Client {
    stream: TcpStream,
    tls: ClientConnection,
    /// Of an answer, what has come.
    answer: Vec<u8>,
    /// It has said that it has nothing to ask.
    leaves: bool,
}

impl Client {
    fn connect(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        (epoll, number): (&Epoll, usize),
    ) -> Result<Client, String> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = connect().map_err(|error| format!("connect: {error}"))?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, number as u64);
        epoll.add(&stream, event).map_err(|error| error.to_string())?;
        let name = HOST.try_into().expect("a name");
        let tls = ClientConnection::new(Arc::clone(config), name);
        let tls = tls.map_err(|error| error.to_string())?;
        Ok(Client { stream, tls, answer: Vec::new(), leaves: false })
    }

    /// Moves what can be moved; whether the other side has ended it.
    fn turn(&mut self) -> Result<bool, String> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(format!("write: {error}")),
                }
            }
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => return Ok(true),
                Ok(_) => {
                    self.tls.process_new_packets().map_err(|error| error.to_string())?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(format!("read: {error}")),
            }
        }
    }

    /// Once the handshake is over and the client has tickets, says that nothing more comes.
    fn leave(&mut self) -> Result<(), String> {
        if self.leaves || self.tls.is_handshaking() || self.tls.tls13_tickets_received() == 0 {
            return Ok(());
        }
        self.leaves = true;
        self.tls.send_close_notify();
        self.turn()?;
        self.stream.shutdown(Shutdown::Write).map_err(|error| format!("shutdown: {error}"))
    }

    fn ask(&mut self, ask: &Ask) -> Result<(), String> {
        self.answer.clear();
        self.tls.writer().write_all(&ask.head).map_err(|error| error.to_string())?;
        self.turn().map(drop)
    }

    /// Whether the answer has come.
    fn is_answered(&mut self, ask: &Ask) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        loop {
            match self.tls.reader().read(&mut buffer) {
                Ok(0) => return Err("the proxy closed a connection".to_owned()),
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("read: {error}")),
            }
        }
        Ok(after_head(&self.answer, ask)? == Some(0))
    }
}

/// So many handshakes, one client of each of these at a time. Each waits for tickets, says that it has nothing to ask, and
/// then for the end, so that all the work on it has been done.
pub fn handshakes(
    setting: &Setting,
    address: SocketAddr,
    clients: &[Arc<ClientConfig>],
    count: usize,
    kind: Option<HandshakeKind>,
) -> Result<(), String> {
    let epoll = epoll()?;
    let mut origin = setting.origin();
    let connect = |number: usize| Client::connect(address, &clients[number], (&epoll, number));
    let mut here = Vec::new();
    for number in 0..clients.len().min(count) {
        here.push(Some(connect(number)?));
    }
    let (mut begun, mut done) = (here.len(), 0);
    let mut events = vec![EpollEvent::empty(); 1024];
    while done < count {
        let ready = spin::wait(&epoll, &mut events, &mut origin, PATIENCE)
            .map_err(|error| error.to_string())?;
        if ready == 0 {
            return Err("no answer for ten seconds".to_owned());
        }
        for event in &events[..ready] {
            let number = usize::try_from(event.data()).map_err(|error| error.to_string())?;
            let Some(client) = &mut here[number] else { continue };
            let ended = client.turn()?;
            client.leave()?;
            if !ended {
                continue;
            }
            let was = client.tls.handshake_kind();
            if !client.leaves || kind.is_some() && was != kind {
                return Err(format!("a handshake was {was:?}"));
            }
            done += 1;
            // One that stayed would be told of its end again and count twice: the last would be left amid their handshakes,
            // whose tickets have been used up.
            here[number] = None;
            if begun < count {
                begun += 1;
                here[number] = Some(connect(number)?);
            }
        }
    }
    Ok(())
}

/// Connections that are there.
pub struct Crowd {
    epoll: Epoll,
    clients: Vec<Client>,
}

impl Crowd {
    /// Each of them has asked once.
    pub fn connect(
        setting: &Setting,
        address: SocketAddr,
        ask: &Ask,
        connections: usize,
    ) -> Result<Crowd, String> {
        let (epoll, config) = (epoll()?, config(setting, false));
        let connect = |number| Client::connect(address, &config, (&epoll, number));
        let clients = (0..connections).map(connect).collect::<Result<_, _>>()?;
        let mut crowd = Crowd { epoll, clients };
        crowd.ask(setting, ask, connections)?;
        Ok(crowd)
    }

    /// Sends so many requests in all and reads the answers.
    pub fn ask(&mut self, setting: &Setting, ask: &Ask, requests: usize) -> Result<(), String> {
        let mut origin = setting.origin();
        let mut begun = self.clients.len().min(requests);
        for client in &mut self.clients[..begun] {
            client.ask(ask)?;
        }
        let (mut done, mut events) = (0, vec![EpollEvent::empty(); 1024]);
        while done < requests {
            let ready = spin::wait(&self.epoll, &mut events, &mut origin, PATIENCE)
                .map_err(|error| error.to_string())?;
            if ready == 0 {
                return Err("no answer for ten seconds".to_owned());
            }
            for event in &events[..ready] {
                let number = usize::try_from(event.data()).map_err(|error| error.to_string())?;
                let client = &mut self.clients[number];
                client.turn()?;
                if !client.is_answered(ask)? {
                    continue;
                }
                done += 1;
                client.answer.clear();
                if begun < requests {
                    begun += 1;
                    client.ask(ask)?;
                }
            }
        }
        Ok(())
    }
}

fn epoll() -> Result<Epoll, String> {
    Epoll::new(EpollCreateFlags::empty()).map_err(|error| error.to_string())
}
