//! Conversations that outlive the process that leads them.
//!
//! When init execs itself, its clients are not to notice. What is being answered is answered first;
//! answers without an end end, and what would have ended with a job breaks off. Then each connection is taken back from the HTTP library between two
//! requests, or while its only request waits for something that a job will do, and goes on in the new
//! process, or in this one if there is no new one after all.

use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Method, Request, Version, header};
use hyper::body::Body;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;

use crate::event::Ticket;

/// How far a handover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    None,
    /// Conversations finish what they are at, and are handed over between two requests.
    Finish,
    /// Those whose request waits for a job, too. Nothing happens to jobs meanwhile.
    Now,
}

/// All conversations, and those that have been handed over. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    phase: watch::Sender<Phase>,
    open: AtomicUsize,
    waiting: AtomicUsize,
    handed: Mutex<Vec<Conversation>>,
    changed: Notify,
}

impl Default for Handover {
    fn default() -> Self {
        let (open, waiting, handed, changed) = Default::default();
        let phase = watch::Sender::new(Phase::None);
        Self(Arc::new(Shared { phase, open, waiting, handed, changed }))
    }
}

/// A conversation between two processes that lead it.
#[derive(Debug)]
pub struct Conversation {
    /// The connection.
    pub stream: TcpStream,
    /// Who is at the other end.
    pub user: u32,
    /// What he has sent and nobody has read.
    pub unread: Bytes,
    /// The request that waits for its answer, if there is one.
    pub pending: Option<Pending>,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is waited for; none if it is the handover itself.
    pub ticket: Option<Ticket>,
    shape: Shape,
}

/// What of a request's head matters for how its answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    is_head: bool,
    is_old: bool,
    /// What it says about the connection, if it says something.
    keeps: Option<bool>,
}

impl Handover {
    /// Goes on to a phase.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.send_replace(phase);
    }

    /// Resolves when one begins, or is going on.
    pub async fn begins(self) {
        let mut phase = self.0.phase.subscribe();
        // It fails when there are no more phases, which needs `self` to be gone.
        let _ = phase.wait_for(|phase| *phase != Phase::None).await;
    }

    /// Conversations that have neither ended nor been handed over.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Those of them whose request waits for a job.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Resolves when there is one less of these.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Those that have been handed over.
    #[must_use]
    pub fn take(&self) -> Vec<Conversation> {
        std::mem::take(&mut *self.handed())
    }

    /// What those wait for that have been handed over.
    #[must_use]
    pub fn tickets(&self) -> Vec<Ticket> {
        self.handed().iter().filter_map(|handed| handed.pending?.ticket).collect()
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// Keeps one that has been handed over.
    pub fn hand(&self, conversation: Conversation) {
        self.handed().push(conversation);
    }

    /// Counts a conversation as open until that is dropped.
    pub(super) fn join(&self) -> Member {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Member(self.clone())
    }

    fn handed(&self) -> MutexGuard<'_, Vec<Conversation>> {
        self.0.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A conversation that is open.
pub(super) struct Member(Handover);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.0.changed.notify_one();
    }
}

impl Shape {
    fn of<B>(request: &Request<B>) -> Self {
        let values = request.headers().get_all(header::CONNECTION).into_iter();
        let words = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        let mut keeps = None;
        for word in words.map(str::trim) {
            if word.eq_ignore_ascii_case("close") {
                keeps = Some(false);
            } else if word.eq_ignore_ascii_case("keep-alive") {
                keeps = keeps.or(Some(true));
            }
        }
        let is_old = request.version() == Version::HTTP_10;
        Self { is_head: request.method() == Method::HEAD, is_old, keeps }
    }
}

impl Pending {
    /// One that nobody waits for.
    #[must_use]
    pub fn sample() -> Self {
        let shape = Shape { is_head: false, is_old: false, keeps: Some(true) };
        Self { ticket: Some(Ticket(0)), shape }
    }

    /// A request that is answered as the pending one is to be.
    #[must_use]
    pub fn request(&self) -> String {
        let Shape { is_head, is_old, keeps } = self.shape;
        let method = if is_head { "HEAD" } else { "GET" };
        let version = if is_old { "1.0" } else { "1.1" };
        let connection = match keeps {
            Some(true) => "Connection: keep-alive\r\n",
            Some(false) => "Connection: close\r\n",
            None => "",
        };
        format!("{method} / HTTP/{version}\r\nHost: localhost\r\n{connection}\r\n")
    }
}

/// A conversation is in the middle of something.
pub(super) struct NotNow;

/// Whether all that was written is on its way.
#[derive(Debug)]
pub(super) struct Sent {
    is_all: AtomicBool,
    /// Told when it is.
    changed: Notify,
}

/// What a conversation is at. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    doing: Arc<Mutex<Doing>>,
    /// Whether bytes of the last request's body may be yet to come. They are not to be taken for a
    /// request.
    is_open: Arc<AtomicBool>,
    sent: Arc<Sent>,
    handover: Handover,
}

#[derive(Clone, Copy, Debug, Default)]
enum Doing {
    /// Nothing: the next request may come.
    #[default]
    Nothing,
    /// A request is being answered.
    Answers(Shape),
    /// It waits for what a job does.
    Waits(Pending),
    /// It has been handed over.
    Handed,
}

impl Talk {
    /// One on the line that tells whether it is clean.
    pub(super) fn new(handover: &Handover, sent: Arc<Sent>) -> Self {
        let (doing, is_open) = Default::default();
        Self { doing, is_open, sent, handover: handover.clone() }
    }

    /// Resolves when all is on its way that an answer consists of so far.
    pub(super) async fn sent(self) {
        // What was made last has not even been written yet.
        yield_now().await;
        loop {
            let changed = self.sent.changed.notified();
            if self.is_clean() {
                return;
            }
            changed.await;
        }
    }

    /// An answer has more to send from now on.
    pub(super) fn owe(&self) {
        self.sent.is_all.store(false, Ordering::Relaxed);
    }

    /// Whether all that was written is on its way.
    pub(super) fn is_clean(&self) -> bool {
        self.sent.is_all.load(Ordering::Relaxed)
    }

    /// A request begins.
    pub(super) fn begin<B: Body>(&self, request: &Request<B>) -> Busy {
        self.is_open.store(!request.body().is_end_stream(), Ordering::Relaxed);
        self.set(Doing::Answers(Shape::of(request)));
        Busy(self.clone())
    }

    /// The body has been read to its end.
    pub(super) fn has_read_all(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }

    /// Whether a body was not read to its end: then nothing that comes is what it seems.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// The request waits for this.
    pub(super) fn waits_for(&self, ticket: Option<Ticket>) {
        let doing = *self.doing();
        if let Doing::Answers(shape) = doing
            && !self.is_open()
        {
            self.set(Doing::Waits(Pending { ticket, shape }));
        }
    }

    /// It waits no more.
    pub(super) fn answers(&self) {
        let doing = *self.doing();
        if let Doing::Waits(Pending { shape, .. }) = doing {
            self.set(Doing::Answers(shape));
        }
    }

    /// Whether it is between two requests, the first of which was not read to its end.
    pub(super) fn is_spoilt(&self) -> bool {
        self.is_open() && matches!(*self.doing(), Doing::Nothing)
    }

    /// Whether it goes on elsewhere.
    pub(super) fn is_handed(&self) -> bool {
        matches!(*self.doing(), Doing::Handed)
    }

    /// Hands it over, with what is pending, if that can be in this phase.
    pub(super) fn hand(&self, phase: Phase) -> Result<Option<Pending>, NotNow> {
        if self.is_open() {
            return Err(NotNow);
        }
        let doing = *self.doing();
        let pending = match (doing, phase) {
            (Doing::Nothing, Phase::Finish | Phase::Now) => None,
            (Doing::Waits(pending), Phase::Now) => Some(pending),
            (Doing::Nothing, Phase::None)
            | (Doing::Waits(_), Phase::None | Phase::Finish)
            | (Doing::Answers(_) | Doing::Handed, _) => return Err(NotNow),
        };
        self.set(Doing::Handed);
        Ok(pending)
    }

    fn set(&self, now: Doing) {
        let waiting = &self.handover.0.waiting;
        let before = std::mem::replace(&mut *self.doing(), now);
        match (matches!(before, Doing::Waits(_)), matches!(now, Doing::Waits(_))) {
            (false, true) => _ = waiting.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = waiting.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => {}
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered, until the last byte of the answer is on its way.
#[derive(Debug)]
pub(super) struct Busy(Talk);

impl Drop for Busy {
    fn drop(&mut self) {
        if !self.0.is_handed() {
            self.0.set(Doing::Nothing);
        }
    }
}

/// A connection, with what has been read from it before; it knows whether all that was written is
/// on its way.
pub(super) struct Line<IO> {
    unread: Bytes,
    stream: IO,
    sent: Arc<Sent>,
}

impl<IO> Line<IO> {
    pub(super) fn new(unread: Bytes, stream: IO) -> (Self, Arc<Sent>) {
        let sent = Arc::new(Sent { is_all: AtomicBool::new(true), changed: Notify::new() });
        (Self { unread, stream, sent: Arc::clone(&sent) }, sent)
    }

    /// The connection, and what has not been read.
    pub(super) fn into_parts(self) -> (IO, Bytes) {
        (self.stream, self.unread)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Line<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let line = self.get_mut();
        if line.unread.is_empty() {
            return Pin::new(&mut line.stream).poll_read(context, to);
        }
        let some = line.unread.split_to(line.unread.remaining().min(to.remaining()));
        to.put_slice(&some);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Line<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let line = self.get_mut();
        line.sent.is_all.store(false, Ordering::Relaxed);
        Pin::new(&mut line.stream).poll_write(context, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let line = self.get_mut();
        line.sent.is_all.store(false, Ordering::Relaxed);
        Pin::new(&mut line.stream).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let line = self.get_mut();
        let flushed = Pin::new(&mut line.stream).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            let was_all = line.sent.is_all.swap(true, Ordering::Relaxed);
            if !was_all {
                line.sent.changed.notify_waiters();
            }
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
