//! `PUT /job/{id}/stdin` and `/tty`: what is written to a job, and the size of its window.

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use nix::errno::Errno;

use super::answer::{Answer, Refused, empty};
use crate::id::JobId;
use crate::input::{Input, Inputs};

/// Writes the body to the job as it comes; answers when the last byte is written.
pub(super) async fn write(
    inputs: &Inputs,
    job: &JobId,
    close: bool,
    request: Request<Incoming>,
) -> Result<Answer, Refused> {
    let input = find(inputs, job)?;
    let mut body = request.into_body();
    let mut written = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("the body broke off after {written} bytes: {error}");
            Refused::new(StatusCode::BAD_REQUEST, "broken_body", message)
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        input.write(&bytes).await.map_err(|errno| refusal(job, errno, written))?;
        written += bytes.len();
    }
    if close && input.is_terminal {
        input.end().await.map_err(|errno| refusal(job, errno, written))?;
    } else if close {
        inputs.close(job);
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
        "job `{job}` reads no more, after some of {written} bytes or more: {} ({errno:?})",
        errno.desc()
    );
    Refused::new(StatusCode::CONFLICT, "no_input", message)
}
