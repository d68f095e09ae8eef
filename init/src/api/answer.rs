//! What a refusal looks like on the wire, and with which status.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use init_wire::ErrorBody;
use nix::errno::Errno;
use serde::Serialize;

use crate::door::Closed;
use crate::event::{Fault, Refusal, Reply, Stage};
use crate::id::BadId;
use crate::spec::SpecError;

/// A JSON body with a newline at its end, which people at a terminal are glad of.
pub(super) struct Json<'a, T>(pub(super) &'a T);

impl<T: Serialize> IntoResponse for Json<'_, T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(512);
        // What init shows of itself has no part that JSON cannot hold.
        if serde_json::to_writer(&mut text, self.0).is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        text.push(b'\n');
        ([(header::CONTENT_TYPE, "application/json")], text).into_response()
    }
}

/// An error answer.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    body: Box<ErrorBody>,
}

impl Refused {
    /// An answer with a stable word and a sentence.
    pub(super) fn new(status: StatusCode, error: &str, message: impl Into<String>) -> Self {
        let (error, message) = (error.to_owned(), message.into());
        let body = ErrorBody { error, message, field: None, stage: None, errno: None };
        Self { status, body: Box::new(body) }
    }

    /// The same, naming the field at fault.
    #[must_use]
    pub(super) fn of_field(mut self, field: impl Into<String>) -> Self {
        self.body.field = Some(field.into());
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(&self.body)).into_response()
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
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", closed.to_string())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (status, word) = match &refusal {
            Refusal::UnknownJob(_) => (StatusCode::NOT_FOUND, "unknown_job"),
            Refusal::OtherSpec(_) => (StatusCode::CONFLICT, "other_spec"),
            Refusal::Stopping(_) => (StatusCode::CONFLICT, "stopping"),
            Refusal::Running(_) => (StatusCode::CONFLICT, "running"),
            Refusal::Dead(_) => (StatusCode::CONFLICT, "dead"),
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

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Created(job) => {
                let location = format!("/job/{}", job.id);
                (StatusCode::CREATED, [("location", location)], Json(&job)).into_response()
            }
            Self::Job(job) => Json(&job).into_response(),
            Self::Done => StatusCode::NO_CONTENT.into_response(),
            Self::Ending => StatusCode::ACCEPTED.into_response(),
            Self::Refused(refusal) => Refused::from(refusal).into_response(),
        }
    }
}
