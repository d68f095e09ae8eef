//! What moves through a TLS connection, as a socket of the data path: what is asked for is tried, and
//! waited for only where that would block.
//!
//! A write that is not taken at once is owed: the caller comes again with the same bytes, as callers do,
//! and is told of as many as have gone. So nothing is left behind when all of it was written, and who
//! takes little is seen to take something.

use std::cell::RefCell;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};

use super::scratch::Scratch;
use crate::limits;
use crate::reactor::Want;
use crate::socket::note_short;
use crate::wire::Wire;

/// The payload of one record.
const RECORD: usize = 16 * 1024;
/// What a record has beside it, at most.
const OVERHEAD: usize = 5 + 256;

/// A connection after its handshake, or in it.
pub(crate) struct Session {
    stream: Wire,
    inner: RefCell<Inner>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("stream", &self.stream).finish_non_exhaustive()
    }
}

struct Inner {
    connection: UnbufferedServerConnection,
    scratch: Rc<Scratch>,
    /// What has come and was not used yet.
    held: Vec<u8>,
    /// There may be a whole record in it.
    is_unread: bool,
    /// What was decrypted and did not fit where it was asked for, from `taken` on.
    plain: Vec<u8>,
    taken: usize,
    /// What is sealed and has not gone yet, from `gone` on.
    sealed: Vec<u8>,
    gone: usize,
    owed: Option<Owed>,
    /// Nothing comes any more.
    ended: bool,
    /// We have said that nothing more comes, or will not say it.
    closed: bool,
}

/// Bytes of a caller that were sealed and have not all gone.
struct Owed {
    plain: usize,
    sealed: usize,
    /// What the caller was told of.
    told: usize,
}

impl Owed {
    /// What there is to tell after so many sealed bytes have gone: all only if all have.
    fn progress(&mut self, gone: usize) -> usize {
        let part = self.plain.saturating_mul(gone.min(self.sealed)) / self.sealed.max(1);
        let news = part.saturating_sub(self.told);
        self.told += news;
        news
    }
}

/// Where decrypted bytes go: space that is asked for once there are some, and what is over.
struct Sink<'a, 'b, S> {
    ask: Option<S>,
    space: &'b mut [u8],
    filled: usize,
    over: &'a mut Vec<u8>,
}

impl<'b, S: FnOnce() -> &'b mut [u8]> Sink<'_, 'b, S> {
    fn take(&mut self, payload: &[u8]) {
        if let Some(ask) = self.ask.take() {
            self.space = ask();
        }
        let room = self.space.get_mut(self.filled..).unwrap_or_default();
        let count = room.len().min(payload.len());
        let (fits, over) = payload.split_at(count);
        if let Some(room) = room.get_mut(..count) {
            room.copy_from_slice(fits);
        }
        self.filled += count;
        self.over.extend_from_slice(over);
    }

    fn is_full(&self) -> bool {
        !self.over.is_empty()
    }
}

impl Session {
    /// `ahead`: what has come already.
    pub(super) fn new(
        stream: Wire,
        config: Arc<ServerConfig>,
        scratch: Rc<Scratch>,
        ahead: &[u8],
    ) -> std::result::Result<Session, rustls::Error> {
        let inner = Inner {
            connection: UnbufferedServerConnection::new(config)?,
            scratch,
            held: ahead.to_vec(),
            is_unread: !ahead.is_empty(),
            plain: Vec::new(),
            taken: 0,
            sealed: Vec::new(),
            gone: 0,
            owed: None,
            ended: false,
            closed: true,
        };
        Ok(Session { stream, inner: RefCell::new(inner) })
    }

    /// Goes on with the handshake. Ready when all of it has come and gone.
    pub(super) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        loop {
            while inner.gone < inner.sealed.len() {
                match inner.flush(&self.stream) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        ready!(self.stream.poll_writable(cx))?;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if !inner.connection.is_handshaking() {
                inner.closed = false;
                return Poll::Ready(Ok(()));
            }
            if inner.ended || inner.held.len() > limits::HANDSHAKE {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            let mut over = std::mem::take(&mut inner.plain);
            let none: fn() -> &'static mut [u8] = || &mut [];
            let mut sink = Sink { ask: Some(none), space: &mut [], filled: 0, over: &mut over };
            let came = inner.come(&self.stream, &mut sink);
            inner.plain = over;
            match came {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_readable(cx))?;
                }
                Err(error) => {
                    // Why it is refused is said if that can be said at once.
                    inner.tell_nothing_found();
                    let _ = inner.flush(&self.stream);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// What the handshake has found out.
    pub(super) fn with_connection<R>(
        &self,
        look: impl FnOnce(&UnbufferedServerConnection) -> R,
    ) -> R {
        look(&self.inner.borrow().connection)
    }

    /// Reads what there is into the space that is asked for only if there is something. 0 is the end.
    pub(crate) fn try_read<'b>(&self, space: impl FnOnce() -> &'b mut [u8]) -> Result<usize> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if inner.taken < inner.plain.len() {
            return Ok(inner.give_plain(space()));
        }
        let mut over = std::mem::take(&mut inner.plain);
        let mut sink = Sink { ask: Some(space), space: &mut [], filled: 0, over: &mut over };
        let read = loop {
            if sink.filled > 0 {
                break Ok(sink.filled);
            }
            if inner.ended && !inner.is_unread {
                break Ok(0);
            }
            if let Err(error) = inner.come(&self.stream, &mut sink) {
                // What came before it is not worth less.
                break if sink.filled > 0 { Ok(sink.filled) } else { Err(error) };
            }
        };
        inner.plain = over;
        // What has come may want an answer of its own.
        if inner.owed.is_none() && inner.gone < inner.sealed.len() {
            let _ = inner.flush(&self.stream);
        }
        read
    }

    /// Ready when there may be something to read, or the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let inner = self.inner.borrow();
        if inner.taken < inner.plain.len() || inner.is_unread || inner.ended {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_readable(cx)
    }

    pub(crate) fn poll_end(&self, want: Want, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_end(want, cx)
    }

    /// Seals and writes as much as goes at a time; see above for what is not taken at once.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        loop {
            while inner.gone < inner.sealed.len() {
                match inner.flush(&self.stream) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                    Ok(()) => continue,
                }
                let gone = inner.gone;
                if let Some(news @ 1..) = inner.owed.as_mut().map(|owed| owed.progress(gone)) {
                    return Poll::Ready(Ok(news));
                }
                ready!(self.stream.poll_writable(cx))?;
            }
            if let Some(owed) = inner.owed.take() {
                inner.sealed.clear();
                inner.sealed.shrink_to(OVERHEAD);
                inner.gone = 0;
                return Poll::Ready(Ok(owed.plain - owed.told));
            }
            let (taken, is_gone) = inner.seal_and_send(&self.stream, parts)?;
            if taken == 0 || is_gone {
                return Poll::Ready(Ok(taken));
            }
        }
    }

    /// Writes what is taken without waiting: a whole record or nothing. What is owed is told with the rest.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> usize {
        let mut inner = self.inner.borrow_mut();
        if inner.gone < inner.sealed.len() || inner.owed.is_some() {
            return 0;
        }
        match inner.seal_and_send(&self.stream, &[IoSlice::new(bytes)]) {
            Ok((taken, true)) => taken,
            Ok((_, false)) | Err(_) => 0,
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&self) -> Result<()> {
        self.inner.borrow_mut().close(&self.stream);
        Ok(shutdown(self.stream.as_fd().as_raw_fd(), Shutdown::Write)?)
    }

    /// A close from now on is a reset.
    pub(crate) fn reset(&self) {
        self.inner.borrow_mut().closed = true;
        // Where it cannot be one, it is a close that does not say so: what came is cut all the same.
        self.stream.reset();
    }
}

impl Drop for Session {
    /// Without it a client could not tell an end from a cut.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if !inner.ended {
            inner.close(&self.stream);
        }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Inner {
    fn give_plain(&mut self, space: &mut [u8]) -> usize {
        let rest = self.plain.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(space.len());
        if let (Some(space), Some(rest)) = (space.get_mut(..count), rest.get(..count)) {
            space.copy_from_slice(rest);
        }
        self.taken += count;
        if self.taken == self.plain.len() {
            self.plain = Vec::new();
            self.taken = 0;
        }
        count
    }

    /// Works on what is held and may be whole, or else on what is read now.
    fn come<'b>(
        &mut self,
        stream: &Wire,
        sink: &mut Sink<'_, 'b, impl FnOnce() -> &'b mut [u8]>,
    ) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.is_unread) {
            let used = self.work(&mut held, sink);
            self.keep(held.get(*used.as_ref().unwrap_or(&0)..).unwrap_or_default(), sink.is_full());
            return used.map(drop);
        }
        let scratch = Rc::clone(&self.scratch);
        let mut incoming = scratch.incoming.borrow_mut();
        let ahead = held.len();
        if incoming.len() < ahead + limits::TLS_READ {
            incoming.resize(ahead + limits::TLS_READ, 0);
        }
        if let Some(place) = incoming.get_mut(..ahead) {
            place.copy_from_slice(&held);
        }
        let mut short = None;
        let read = stream.try_reading(|| {
            let space = incoming.get_mut(ahead..ahead + limits::TLS_READ).unwrap_or_default();
            let count = recv(stream.as_fd().as_raw_fd(), space, MsgFlags::empty())?;
            note_short(count, space.len(), &mut short)
        });
        let count = match short.map_or(read, Ok) {
            Ok(count @ 1..) => count,
            Ok(0) => {
                self.ended = true;
                return Ok(());
            }
            Err(error) => {
                self.held = held;
                return Err(error);
            }
        };
        let whole = incoming.get_mut(..ahead + count).unwrap_or_default();
        let used = self.work(whole, sink)?;
        held.clear();
        self.held = held;
        self.keep(whole.get(used..).unwrap_or_default(), sink.is_full());
        Ok(())
    }

    /// Keeps what was not used. `stopped`: there was no more room for what is in it.
    fn keep(&mut self, rest: &[u8], stopped: bool) {
        self.is_unread = stopped && !rest.is_empty();
        if rest.is_empty() {
            // While it waits, a connection holds nothing.
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(rest);
        }
    }

    /// Decrypts record after record, as long as there is room. Returns how much was used.
    fn work<'b>(
        &mut self,
        incoming: &mut [u8],
        sink: &mut Sink<'_, 'b, impl FnOnce() -> &'b mut [u8]>,
    ) -> Result<usize> {
        let mut used = 0;
        loop {
            let rest = incoming.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            used += discard;
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        sink.take(record.map_err(broken)?.payload);
                    }
                    !sink.is_full()
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.sealed, |room| data.encode(room)).map_err(Error::other)?;
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    false
                }
                // With all others there is nothing to do before more comes.
                Ok(_) => false,
                Err(error) => {
                    self.ended = true;
                    self.closed = true;
                    self.take_alerts();
                    return Err(broken(error));
                }
            };
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// What there is to say of what was wrong.
    fn take_alerts(&mut self) {
        loop {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if append(&mut self.sealed, |room| data.encode(room)).is_err() {
                        return;
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Where there is no certificate for a name, rustls denies access; RFC 6066 has a word of its own.
    fn tell_nothing_found(&mut self) {
        const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
        const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
        if self.sealed.get(self.gone..) == Some(&ACCESS_DENIED) {
            self.sealed = UNRECOGNIZED_NAME.to_vec();
            self.gone = 0;
        }
    }

    /// Writes what is sealed, once; an error if it would block.
    fn flush(&mut self, stream: &Wire) -> Result<()> {
        let rest = self.sealed.get(self.gone..).unwrap_or_default();
        let count = try_send(stream, rest)?;
        if count == 0 && !rest.is_empty() {
            return Err(ErrorKind::WriteZero.into());
        }
        self.gone += count;
        if self.gone == self.sealed.len() && self.owed.is_none() {
            self.sealed = Vec::new();
            self.gone = 0;
        }
        Ok(())
    }

    /// Seals what of the parts goes at a time, and writes it once. Returns how much it was, and whether all
    /// has gone; else it is owed.
    fn seal_and_send(&mut self, stream: &Wire, parts: &[IoSlice<'_>]) -> Result<(usize, bool)> {
        let scratch = Rc::clone(&self.scratch);
        let mut out = scratch.outgoing.borrow_mut();
        let mut at = 0;
        let taken = self.seal(parts, &mut out, &mut at)?;
        // What rustls has to say goes first, and is owed to nobody.
        let before = self.sealed.len();
        let fresh = out.get(..at).unwrap_or_default();
        if before > self.gone {
            self.sealed.extend_from_slice(fresh);
        } else {
            let count = match try_send(stream, fresh) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if count == fresh.len() {
                return Ok((taken, true));
            }
            self.gone = 0;
            self.sealed = fresh.get(count..).unwrap_or_default().to_vec();
        }
        self.owed = Some(Owed { plain: taken, sealed: self.sealed.len(), told: 0 });
        Ok((taken, false))
    }

    /// Seals records into `out`, from `at` on. Returns how many bytes of the parts are in them.
    fn seal(&mut self, parts: &[IoSlice<'_>], out: &mut Vec<u8>, at: &mut usize) -> Result<usize> {
        let Inner { connection, sealed, scratch, .. } = self;
        with_traffic(connection, sealed, |traffic| {
            let mut joined = scratch.joined.borrow_mut();
            let mut taken = 0;
            let mut parts = parts.iter().map(|part| &**part).filter(|part| !part.is_empty());
            let mut part = parts.next().unwrap_or_default();
            while !part.is_empty() && taken < limits::TLS_WRITE {
                // A record from one piece, or from the rest of one and what follows it.
                let record = if part.len() >= RECORD {
                    let (record, rest) = part.split_at_checked(RECORD).unwrap_or((part, &[]));
                    part = rest;
                    record
                } else {
                    let rest = std::mem::take(&mut part);
                    match parts.next() {
                        None => rest,
                        Some(next) => {
                            joined.clear();
                            joined.extend_from_slice(rest);
                            part = next;
                            while !part.is_empty() && joined.len() < RECORD {
                                let room = part.len().min(RECORD - joined.len());
                                let (head, tail) = part.split_at_checked(room).unwrap_or_default();
                                joined.extend_from_slice(head);
                                part = if tail.is_empty() {
                                    parts.next().unwrap_or_default()
                                } else {
                                    tail
                                };
                            }
                            &joined
                        }
                    }
                };
                if part.is_empty() {
                    part = parts.next().unwrap_or_default();
                }
                let need = *at + record.len() + OVERHEAD;
                if out.len() < need {
                    out.resize(need.max(RECORD + OVERHEAD), 0);
                }
                *at += encrypt(traffic, record, out, *at)?;
                taken += record.len();
            }
            Ok(taken)
        })
    }

    /// Seals that nothing more comes, and sends it if that goes at once.
    fn close(&mut self, stream: &Wire) {
        if std::mem::replace(&mut self.closed, true) || self.owed.is_some() {
            return;
        }
        let Inner { connection, sealed, .. } = self;
        let mut room = [0; OVERHEAD];
        let said = with_traffic(connection, sealed, |traffic| {
            traffic.queue_close_notify(&mut room).map_err(Error::other)
        });
        if let Ok(count) = said {
            self.sealed.extend_from_slice(room.get(..count).unwrap_or_default());
            // Where there is no room for it, nobody reads.
            let _ = self.flush(stream);
        }
    }
}

/// Does something with what may be written to; what rustls has to say before goes to `sealed`.
fn with_traffic<R>(
    connection: &mut UnbufferedServerConnection,
    sealed: &mut Vec<u8>,
    run: impl FnOnce(&mut WriteTraffic<'_, rustls::server::ServerConnectionData>) -> Result<R>,
) -> Result<R> {
    loop {
        match connection.process_tls_records(&mut []).state.map_err(broken)? {
            ConnectionState::WriteTraffic(mut traffic) => return run(&mut traffic),
            ConnectionState::EncodeTlsData(mut data) => {
                append(sealed, |room| data.encode(room)).map_err(Error::other)?;
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            // Said once; writing goes on.
            ConnectionState::PeerClosed => {}
            _ => return Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Seals one record; there is room for it unless something else has to go with it.
fn encrypt(
    traffic: &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
    record: &[u8],
    out: &mut Vec<u8>,
    at: usize,
) -> Result<usize> {
    loop {
        match traffic.encrypt(record, out.get_mut(at..).unwrap_or_default()) {
            Ok(count) => return Ok(count),
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                out.resize(at + required_size, 0);
            }
            Err(error) => return Err(Error::other(error)),
        }
    }
}

/// Appends what is encoded, having asked how large it is.
fn append(
    sealed: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> std::result::Result<usize, EncodeError>,
) -> std::result::Result<(), EncodeError> {
    let at = sealed.len();
    let size = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        Err(error) => return Err(error),
        Ok(_) => return Ok(()),
    };
    sealed.resize(at + size, 0);
    let count = encode(sealed.get_mut(at..).unwrap_or_default())?;
    sealed.truncate(at + count);
    Ok(())
}

fn try_send(stream: &Wire, bytes: &[u8]) -> Result<usize> {
    let mut short = None;
    let sent = stream.try_writing(|| {
        let count = send(stream.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?;
        note_short(count, bytes.len(), &mut short)
    });
    short.map_or(sent, Ok)
}

fn broken(error: rustls::Error) -> Error {
    Error::new(ErrorKind::InvalidData, error)
}
