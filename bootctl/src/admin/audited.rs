//! A line of the audit log for each change that is asked for, with what came of it.
//!
//! What is answered by a stream of steps has its end only there; whoever leaves before has a line, too.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use init_wire::LastExit;

use super::wire::Refusal;
use crate::audit::{Asker, Audit, Line};
use crate::event::Reply;
use crate::exit;

/// What is told of a change that was made.
const DONE: &str = "done";
/// What is told where nobody has waited for the end.
const LEFT: &str = "left before its end";

/// What came of it, as soon as that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome(Arc<OnceLock<(u16, String)>>);

impl Outcome {
    pub(super) fn note(&self, reply: &Reply) {
        let (status, result) = match reply {
            Reply::Refused(status, refusal) => (status.as_u16(), told(refusal)),
            _ => (200, DONE.to_owned()),
        };
        // The first end is the end.
        drop(self.0.set((status, result)));
    }
}

impl Outcome {
    /// The same of a command.
    pub(super) fn exit(&self, exit: Option<&LastExit>) {
        drop(self.0.set((200, exit::told(exit))));
    }
}

/// The line, written when it is dropped.
struct Entry {
    audit: Arc<Audit>,
    asker: Asker,
    method: String,
    path: String,
    status: Option<u16>,
    outcome: Option<Outcome>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let known = self.outcome.as_ref().and_then(|outcome| outcome.0.get());
        let (status, result) = match (known, self.status, &self.outcome) {
            (Some((status, result)), _, _) => (Some(*status), result.as_str()),
            (None, Some(status), None) if status < 400 => (Some(status), DONE),
            (None, Some(status), None) => (Some(status), "refused"),
            (None, Some(_), Some(_)) | (None, None, _) => (None, LEFT),
        };
        let line = Line::new(&self.asker, &self.method, &self.path, (status, result));
        self.audit.note(&line);
    }
}

pub(super) async fn note(audit: State<Arc<Audit>>, request: Request, next: Next) -> Response {
    let asker = request.extensions().get::<Asker>().cloned();
    let Some(asker) = asker.filter(|_| !request.method().is_safe()) else {
        return next.run(request).await;
    };
    let State(audit) = audit;
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut entry = Entry { audit, asker, method, path, status: None, outcome: None };
    let mut response = next.run(request).await;
    entry.status = Some(response.status().as_u16());
    entry.outcome = response.extensions_mut().remove::<Outcome>();
    if entry.outcome.as_ref().is_some_and(|outcome| outcome.0.get().is_none()) {
        return response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                // It lives as long as the stream.
                let _ = &entry;
                frame
            }))
        });
    }
    response
}

fn told(refusal: &Refusal) -> String {
    let first = refusal.message.lines().next().unwrap_or_default();
    format!("{}: {first}", refusal.error)
}
