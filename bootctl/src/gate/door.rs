//! The gate as a process: takes connections, speaks TLS, and lets [`super::pass`] answer what is asked.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::certificate::{self, CertificateError};
use super::crowd::{Crowd, Seat};
use super::pass::Passage;
use super::plain;
use super::{JOB, LISTENER};
use crate::logs::herald::Herald;
use crate::token::{Token, TokenError};
use crate::unread::Unread;

/// How long a client may take to speak TLS, and then for the head of each request.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(10);
/// How large a head may be.
const LARGEST_HEAD: usize = 32 << 10;
/// The pause after a connection that could not be taken, for want of descriptors say.
const BREATH: Duration = Duration::from_millis(100);

/// What its arguments say.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) run_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) log_dir: PathBuf,
    pub(crate) init: SocketAddr,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    #[error("LISTEN_FDS or LISTEN_PID is not a number; bootctl starts its gate itself")]
    Environment,
    #[error("no listener `{LISTENER}` was passed; bootctl starts its gate itself")]
    NoListener,
    #[error("the listener cannot be used: {0}")]
    Listener(io::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The listener that init has passed.
pub(crate) fn listener() -> Result<TcpListener, GateError> {
    let passed = sd_listen_fds::get().map_err(|_| GateError::Environment)?;
    let ours = passed.into_iter().find(|(name, _)| name.as_deref() == Some(LISTENER));
    let (_, descriptor) = ours.ok_or(GateError::NoListener)?;
    Ok(TcpListener::from(descriptor.into_std()))
}

/// Serves for as long as it lives.
pub(crate) async fn run(listener: TcpListener, orders: Orders) -> Result<(), GateError> {
    let named = orders.certificate.as_ref().map(|(file, key)| (file.as_path(), key.as_path()));
    let identity = certificate::identity(named, &orders.state_dir)?;
    listener.set_nonblocking(true).map_err(GateError::Listener)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(GateError::Listener)?;
    let passage = Arc::new(Passage::new(&orders, Token::of_init()?));
    let acceptor = TlsAcceptor::from(identity.config);
    let crowd = Arc::new(Mutex::new(Crowd::default()));
    info!("{JOB}: the fingerprint of its certificate is {}", identity.fingerprint);
    Herald::new().say(&format!("READY=1\nSTATUS={}", identity.fingerprint));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(taken) => taken,
            Err(error) => {
                warn!("no connection can be taken: {error}");
                sleep(BREATH).await;
                continue;
            }
        };
        let seat = lock(&crowd).enter();
        let guest = Guest { crowd: Arc::clone(&crowd), seat, is_admitted: AtomicBool::new(false) };
        let (acceptor, passage) = (acceptor.clone(), Arc::clone(&passage));
        let task = tokio::spawn(attend(stream, from, acceptor, passage, guest));
        lock(&crowd).hold(seat, task.abort_handle());
    }
}

/// A connection's place in the crowd, until it ends.
pub(super) struct Guest {
    crowd: Arc<Mutex<Crowd>>,
    seat: Seat,
    is_admitted: AtomicBool,
}

impl Guest {
    /// It has shown a good token; whether there is room for it.
    pub(super) fn admit(&self) -> bool {
        let there_is = lock(&self.crowd).admit(self.seat);
        if there_is {
            self.is_admitted.store(true, Ordering::Relaxed);
        }
        there_is
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.crowd).leave(self.seat, self.is_admitted.load(Ordering::Relaxed));
    }
}

fn lock(crowd: &Mutex<Crowd>) -> std::sync::MutexGuard<'_, Crowd> {
    crowd.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn attend(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
    passage: Arc<Passage>,
    guest: Guest,
) {
    // Answers of a few bytes are not kept back.
    drop(stream.set_nodelay(true));
    // What is no TLS, or comes too slowly, is not worth a line: anybody can send it.
    let handshake = async {
        if plain::is_plain(&stream).await {
            plain::answer(stream).await;
            return None;
        }
        acceptor.accept(stream).await.ok()
    };
    let Ok(Some(stream)) = timeout(HANDSHAKE, handshake).await else { return };
    let guest = &guest;
    let answer = service_fn(|request: Request<Incoming>| {
        let (passage, request) = (Arc::clone(&passage), request.map(Unread::new));
        async move { Ok::<_, std::convert::Infallible>(passage.answer(request, from, guest).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    // Whoever breaks it off has no more to hear.
    drop(connection.await);
}
