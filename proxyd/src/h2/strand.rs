//! One stream of a connection, used as a socket: a client's, of which a request's body is read and to which
//! its answer is written, or one to a target, the other way round.

use std::cell::RefCell;
use std::io::{IoSlice, Result};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::io::ReadBuf;

use super::inbound::Inbound;
use super::outbound::{Asked, Outbound};
use super::trunk::Ticket;

/// A stream. One task has it, which reads and writes in turns.
#[derive(Debug)]
pub(crate) struct Strand {
    inbound: RefCell<Inbound>,
    outbound: RefCell<Outbound>,
    /// Its place on the connection to a target.
    _ticket: Option<Ticket>,
}

impl Strand {
    /// A client's.
    pub(super) fn of_client(
        body: RecvStream,
        chunked: bool,
        respond: SendResponse<Bytes>,
        asked: Asked,
    ) -> Strand {
        Strand {
            inbound: RefCell::new(Inbound::body(body, chunked)),
            outbound: RefCell::new(Outbound::answer(respond, asked)),
            _ticket: None,
        }
    }

    /// One to a target.
    pub(super) fn to_target(send: SendRequest<Bytes>, ticket: Ticket) -> Strand {
        Strand {
            inbound: RefCell::new(Inbound::unasked()),
            outbound: RefCell::new(Outbound::ask(send)),
            _ticket: Some(ticket),
        }
    }

    /// Whether what is told came to its end.
    pub(super) fn is_told(&self) -> bool {
        self.outbound.borrow().is_ended()
    }

    pub(super) fn reset(&self, reason: Reason) {
        self.outbound.borrow_mut().reset(reason);
    }

    /// Whether the target has said that it has done nothing with the request.
    pub(crate) fn is_unprocessed(&self) -> bool {
        self.inbound.borrow().is_unprocessed()
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inbound.borrow_mut().poll_readable(cx).map(Ok)
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.inbound.borrow_mut().poll_read(cx, to)
    }

    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let mut outbound = self.outbound.borrow_mut();
        let written = outbound.poll_write(cx, parts);
        if let Some((answer, to_head)) = outbound.asked() {
            self.inbound.borrow_mut().expect(answer, to_head);
        }
        written
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&self) -> Result<()> {
        self.outbound.borrow_mut().finish()
    }

    /// Ready when the other side has gone, or wants no more of it.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.outbound.borrow_mut().poll_gone(cx)
    }
}
