//! `PUT /job/{id}/stdin` and `/tty`: what is written to a job, and the size of its window.

use http::{HeaderName, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use nix::errno::Errno;

use super::answer::{Answer, Refused, empty};
use super::handover::Talk;
use crate::id::JobId;
use crate::input::{Input, Inputs, Writer};

/// How many bytes were written, where not all were.
const WRITTEN: HeaderName = HeaderName::from_static("input-written");

/// Why not all was written.
enum Stop {
    /// init becomes another one.
    Restarting,
    /// Somebody else has closed the input.
    Closed,
    /// The client has not sent all of it.
    Broken(hyper::Error),
    /// The job does not read it.
    Unread(Errno),
}

/// Writes the body to the job as it comes; answers when the last byte is written.
pub(super) async fn write(
    inputs: &Inputs,
    job: &JobId,
    close: bool,
    request: Request<Incoming>,
    (talk, ends): (&Talk, impl Future<Output = ()>),
) -> Result<Answer, Refused> {
    let input = find(inputs, job)?;
    let mut writer = input.writer();
    let done = {
        let mut body = request.into_body();
        let all = async {
            pour(&mut body, &mut writer).await?;
            talk.has_read_all();
            if close && input.is_terminal {
                writer.end().await.map_err(Stop::Unread)?;
            }
            Ok(())
        };
        // Whoever has hung up meanwhile is not seen while the job does not read.
        tokio::select! {
            done = all => done,
            () = ends => Err(Stop::Restarting),
            () = input.closed() => Err(Stop::Closed),
        }
    };
    let written = writer.written;
    done.map_err(|stop| refusal(job, &stop, written))?;
    if close && !input.is_terminal {
        inputs.close_run(job, input).await;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn pour(body: &mut Incoming, writer: &mut Writer<'_>) -> Result<(), Stop> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(Stop::Broken)?.into_data() {
            writer.write(&bytes).await.map_err(Stop::Unread)?;
        }
    }
    Ok(())
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
    input.resize(rows, columns).map_err(|errno| refusal(job, &Stop::Unread(errno), 0))?;
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

fn refusal(job: &JobId, stop: &Stop, written: u64) -> Refused {
    let (status, word, message) = match stop {
        Stop::Restarting => (
            StatusCode::SERVICE_UNAVAILABLE,
            "restarting",
            format!(
                "init makes room for another one; {written} bytes are written, send the rest again"
            ),
        ),
        Stop::Closed => (
            StatusCode::CONFLICT,
            "no_input",
            format!(
                "another request has closed the input of job `{job}` after {written} bytes of this one"
            ),
        ),
        Stop::Broken(error) => (
            StatusCode::BAD_REQUEST,
            "broken_body",
            format!("the body broke off after {written} bytes: {error}"),
        ),
        Stop::Unread(errno) => (
            StatusCode::CONFLICT,
            "no_input",
            format!(
                "job `{job}` does not read what comes after {written} bytes: {} ({errno:?})",
                errno.desc()
            ),
        ),
    };
    Refused::new(status, word, message).with(WRITTEN, &written.to_string())
}
