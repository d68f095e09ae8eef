//! What answers look like on the wire, and with which status.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{once, unfold};
use futures_util::{FutureExt, Stream, StreamExt};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use init_wire::ErrorBody;
use nix::errno::Errno;
use serde::Serialize;
use tokio::task::yield_now;

use super::handover::Busy;
use crate::adoption::NotAdoptable;
use crate::door::Closed;
use crate::event::{Fault, Refusal, Reply, Stage};
use crate::id::BadId;
use crate::past::Unread;
use crate::spec::SpecError;

/// What is sent back.
pub(super) type Answer = Response<Payload>;

/// The body of an answer.
pub(super) struct Payload {
    content: Content,
    /// What is to know when the last byte is on its way.
    busy: Option<Busy>,
}

enum Content {
    /// All there is; `None` once it has been sent.
    Whole(Option<Bytes>),
    /// What comes, as long as it comes.
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BrokenOff>> + Send>>),
}

/// The answer has not come to its end. The connection is closed without its last chunk, so that the
/// client sees that.
#[derive(Debug, thiserror::Error)]
#[error("broken off")]
pub(super) struct BrokenOff;

impl Payload {
    fn empty() -> Self {
        Self { content: Content::Whole(None), busy: None }
    }

    /// What comes, to its end.
    pub(super) fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self { content: Content::Stream(Box::pin(stream.map(Ok))), busy: None }
    }

    /// The same, unless there is to be an end before its own: then, once all is on its way that was
    /// sent, it breaks off.
    pub(super) fn breaking(
        stream: impl Stream<Item = Bytes> + Send + 'static,
        ends: impl Future<Output = ()> + Send + 'static,
        sent: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = {
            let is_over = Arc::clone(&is_over);
            ends.map(move |()| is_over.store(true, Ordering::Relaxed))
        };
        let last = once(async move {
            if !is_over.load(Ordering::Relaxed) {
                return None;
            }
            sent.await;
            Some(Err(BrokenOff))
        });
        let stream = stream.map(Ok).take_until(over).chain(last.filter_map(ready));
        Self { content: Content::Stream(Box::pin(stream)), busy: None }
    }

    /// Keeps `busy` until the last byte is on its way.
    pub(super) fn keep(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        let bytes = Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty());
        Self { content: Content::Whole(bytes), busy: None }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let bytes = match &mut self.get_mut().content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Content::Stream(stream) => stream.as_mut().poll_next(context),
        };
        bytes.map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Payload::empty());
    *answer.status_mut() = status;
    answer
}

/// An answer with `body`, which is of that type.
pub(super) fn typed(status: StatusCode, media_type: &'static str, body: Payload) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// An answer in JSON, with a newline at its end, which people at a terminal are glad of.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let mut text = Vec::with_capacity(512);
    // What init shows of itself has no part that JSON cannot hold.
    if serde_json::to_writer(&mut text, value).is_err() {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    }
    text.push(b'\n');
    typed(status, "application/json", text.into())
}

/// Bytes of a list that are written at once.
const A_PIECE: usize = 64 * 1024;

/// An answer with a list of these. What of it is longer is written as the client takes it, so that many who
/// ask for much and take none of it cost no memory.
pub(super) fn list<T: Serialize + Send + 'static>(values: Vec<T>) -> Answer {
    const JSON: &str = "application/json";
    let mut values = values.into_iter().peekable();
    let mut next = move |mut text: Vec<u8>| {
        let mut is_first = !text.is_empty();
        while text.len() < A_PIECE
            && let Some(value) = values.next()
        {
            if !std::mem::take(&mut is_first) {
                text.push(b',');
            }
            // What init shows of itself has no part that JSON cannot hold.
            serde_json::to_writer(&mut text, &value).ok()?;
        }
        let is_last = values.peek().is_none();
        if is_last {
            text.extend(b"]\n");
        }
        Some((text, is_last))
    };
    match next(b"[".to_vec()) {
        None => empty(StatusCode::INTERNAL_SERVER_ERROR),
        Some((text, true)) => typed(StatusCode::OK, JSON, text.into()),
        Some((first, false)) => {
            let rest = unfold(Some(next), async |next| {
                let mut next = next?;
                yield_now().await;
                let (text, is_last) = next(Vec::new())?;
                Some((Bytes::from(text), (!is_last).then_some(next)))
            });
            let first = once(ready(Bytes::from(first)));
            typed(StatusCode::OK, JSON, Payload::stream(first.chain(rest)))
        }
    }
}

/// An error answer.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
    body: Box<ErrorBody>,
}

impl Refused {
    /// An answer with a stable word and a sentence.
    pub(super) fn new(status: StatusCode, error: &str, message: impl Into<String>) -> Self {
        let (error, message) = (error.to_owned(), message.into());
        let body = ErrorBody { error, message, field: None, stage: None, errno: None };
        Self { status, header: None, body: Box::new(body) }
    }

    /// The same, naming the field at fault.
    #[must_use]
    pub(super) fn of_field(mut self, field: impl Into<String>) -> Self {
        self.body.field = Some(field.into());
        self
    }

    /// The same with a header.
    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value).ok().map(|value| (name, value));
        self
    }

    pub(super) fn into_answer(self) -> Answer {
        let mut answer = json(self.status, &self.body);
        if let Some((name, value)) = self.header {
            answer.headers_mut().insert(name, value);
        }
        answer
    }
}

impl From<BadId> for Refused {
    fn from(bad: BadId) -> Self {
        match bad {
            BadId::Shape => Self::new(StatusCode::BAD_REQUEST, "bad_id", bad.to_string()),
            BadId::Reserved => Self::new(StatusCode::CONFLICT, "reserved_id", bad.to_string()),
        }
    }
}

impl From<SpecError> for Refused {
    fn from(error: SpecError) -> Self {
        let field = error.field();
        let message = format!("{field}: {error}");
        Self::new(StatusCode::BAD_REQUEST, "bad_spec", message).of_field(field)
    }
}

impl From<Closed> for Refused {
    fn from(closed: Closed) -> Self {
        let (status, word) = match closed {
            Closed::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
            Closed::Defect => (StatusCode::INTERNAL_SERVER_ERROR, "defect"),
        };
        Self::new(status, word, closed.to_string())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (status, word) = match &refusal {
            Refusal::UnknownJob(_) => (StatusCode::NOT_FOUND, "unknown_job"),
            Refusal::OtherSpec(_) => (StatusCode::CONFLICT, "other_spec"),
            Refusal::Stopping(_) => (StatusCode::CONFLICT, "stopping"),
            Refusal::Running(_) => (StatusCode::CONFLICT, "running"),
            Refusal::Dead(_) | Refusal::NothingToDetach(_) => (StatusCode::CONFLICT, "dead"),
            Refusal::Starting(_) => (StatusCode::CONFLICT, "starting"),
            Refusal::NotDetachable(_) | Refusal::Tied(_) => {
                (StatusCode::CONFLICT, "not_detachable")
            }
            Refusal::Detached(_) => (StatusCode::CONFLICT, "detached"),
            Refusal::TooManyDetached(_) => (StatusCode::SERVICE_UNAVAILABLE, "too_many_detached"),
            Refusal::NotAdoptable(why) => not_adoptable(why),
            Refusal::SignalFailed(Errno::EPERM) => (StatusCode::FORBIDDEN, "signal_refused"),
            Refusal::SignalFailed(_) => (StatusCode::CONFLICT, "signal_refused"),
            Refusal::Spawn(fault) => (spawn_status(fault), "cannot_start"),
            Refusal::TableFull(_) | Refusal::SpecsFull(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "table_full")
            }
            Refusal::NoMemory => (StatusCode::SERVICE_UNAVAILABLE, "no_memory"),
            Refusal::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        };
        let mut refused = Self::new(status, word, refusal.to_string());
        if let Refusal::Spawn(fault) = refusal {
            refused.body.stage = Some(fault.stage.as_str().to_owned());
            refused.body.errno = Some(format!("{:?}", fault.errno));
        }
        refused
    }
}

/// 403 where init may not, 503 where it cannot just now, else the process is at fault.
fn not_adoptable(why: &NotAdoptable) -> (StatusCode, &'static str) {
    match why {
        NotAdoptable::NoSuchProcess(_) => (StatusCode::CONFLICT, "no_such_process"),
        NotAdoptable::NotAllowed { .. } => (StatusCode::FORBIDDEN, "cannot_adopt"),
        NotAdoptable::Unwatched { .. }
        | NotAdoptable::TooMany(_)
        | NotAdoptable::Interrupted
        | NotAdoptable::Unread(Unread::NoReader(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "cannot_adopt")
        }
        NotAdoptable::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        NotAdoptable::Blind
        | NotAdoptable::Init(_)
        | NotAdoptable::First
        | NotAdoptable::Ancestor(_)
        | NotAdoptable::Kernel(_)
        | NotAdoptable::Thread { .. }
        | NotAdoptable::OfJob { .. }
        | NotAdoptable::HasJob { .. }
        | NotAdoptable::Unread(_) => (StatusCode::CONFLICT, "cannot_adopt"),
    }
}

/// 503 where the machine lacks something now, 409 for an address in use, else the spec is at
/// fault.
fn spawn_status(fault: &Fault) -> StatusCode {
    match (fault.stage, fault.errno) {
        (
            _,
            Errno::EAGAIN
            | Errno::ENOMEM
            | Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOSPC
            | Errno::EINTR
            | Errno::ETIMEDOUT,
        ) => StatusCode::SERVICE_UNAVAILABLE,
        (Stage::Listen, Errno::EADDRINUSE) => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// With the place of a new job.
fn at(id: &str, mut answer: Answer) -> Answer {
    if let Ok(place) = HeaderValue::try_from(format!("/job/{id}")) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Created(job) => at(&job.id, json(StatusCode::CREATED, &job)),
            Reply::Job(job) => json(StatusCode::OK, &job),
            Reply::Again { is_new, id, text } => {
                let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
                let answer =
                    typed(status, "application/json", format!("{text}\n").into_bytes().into());
                if is_new { at(&id, answer) } else { answer }
            }
            Reply::Done => empty(StatusCode::NO_CONTENT),
            Reply::Ending => empty(StatusCode::ACCEPTED),
            Reply::Refused(refusal) => Refused::from(refusal).into_answer(),
        }
    }
}
