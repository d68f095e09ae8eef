//! `PUT /job/{id}/stdin` and `/tty`: what is written to a job, and the size of its window.

use std::pin::pin;

use http::{HeaderName, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use nix::errno::Errno;
use tokio::time::{Instant, sleep};

use super::answer::{Answer, Refused, empty};
use super::handover::Talk;
use crate::id::JobId;
use crate::input::{Input, Inputs};
use crate::limits::STALLED;

/// How many bytes were written, where not all were.
const WRITTEN: HeaderName = HeaderName::from_static("input-written");

/// Writes the body to the job as it comes; answers when the last byte is written.
pub(super) async fn write(
    inputs: &Inputs,
    job: &JobId,
    close: bool,
    request: Request<Incoming>,
    (talk, ends): (&Talk, impl Future<Output = ()>),
) -> Result<Answer, Refused> {
    let input = find(inputs, job)?;
    let mut body = request.into_body();
    let mut written = 0;
    let mut ends = pin!(ends);
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = &mut ends => return Err(makes_room(written)),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            let message = format!("the body broke off after {written} bytes: {error}");
            Refused::new(StatusCode::BAD_REQUEST, "broken_body", message)
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        let before = written;
        let mut seen = before;
        let mut quiet = pin!(sleep(STALLED));
        loop {
            let bytes = bytes.get(written - before..).unwrap_or_default();
            let result = tokio::select! {
                result = input.write(bytes, &mut written) => result,
                () = &mut ends => return Err(makes_room(written)),
                // Whoever has hung up meanwhile is not seen while the job does not read.
                () = &mut quiet => Err(Errno::ETIMEDOUT),
            };
            match result {
                Ok(()) => break,
                Err(Errno::ETIMEDOUT) if written > seen => {
                    seen = written;
                    quiet.as_mut().reset(Instant::now() + STALLED);
                }
                Err(errno) => return Err(refusal(job, errno, written)),
            }
        }
    }
    talk.has_read_all();
    if close && input.is_terminal {
        input.end().await.map_err(|errno| refusal(job, errno, written))?;
    } else if close {
        inputs.close_run(job, &input);
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Sets the size of the job's window.
pub(super) fn resize(
    inputs: &Inputs,
    job: &JobId,
    (rows, columns): (u16, u16),
) -> Result<Answer, Refused> {
    let input = find(inputs, job)?;
    if !input.is_terminal {
        let message = format!("job `{job}` has no terminal; its spec must say \"tty\": true");
        return Err(Refused::new(StatusCode::CONFLICT, "no_terminal", message));
    }
    input.resize(rows, columns).map_err(|errno| refusal(job, errno, 0))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn makes_room(written: usize) -> Refused {
    let message = format!(
        "init makes room for another one; {written} bytes are written, send the rest again"
    );
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "restarting", message)
        .with(WRITTEN, &written.to_string())
}

fn find(inputs: &Inputs, job: &JobId) -> Result<Input, Refused> {
    inputs.find(job).ok_or_else(|| {
        let message = format!(
            "job `{job}` takes no input: it has ended, its input is closed, or its spec does not \
             say \"stdin\": \"pipe\" or \"tty\": true"
        );
        Refused::new(StatusCode::CONFLICT, "no_input", message)
    })
}

fn refusal(job: &JobId, errno: Errno, written: usize) -> Refused {
    let message = format!(
        "job `{job}` does not read what comes after {written} bytes: {} ({errno:?})",
        errno.desc()
    );
    Refused::new(StatusCode::CONFLICT, "no_input", message).with(WRITTEN, &written.to_string())
}
