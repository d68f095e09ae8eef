//! Reading a job spec from a request body: JSON only, bounded in size and in time.

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use init_wire::JobSpec;
use serde::Deserialize;
use tokio::time::timeout;

use super::answer::Refused;
use super::place;
use crate::limits::{BODY_TIMEOUT, MAX_BODY};

/// The spec in the body of `request`.
pub(super) async fn spec(request: Request<Incoming>) -> Result<JobSpec, Refused> {
    if !is_json(&request) {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "the body must be a job spec in JSON, sent with `Content-Type: application/json`",
        ));
    }
    let bytes = read(request.into_body()).await?;
    let instead = match bytes.trim_ascii_start().first() {
        Some(b'{') => None,
        Some(_) => Some("the job spec must be a JSON object, such as {\"exec\": \"/bin/true\"}"),
        None => Some("the body is empty; send a job spec such as {\"exec\": \"/bin/true\"}"),
    };
    if let Some(message) = instead {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "bad_spec", message));
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let spec = JobSpec::deserialize(&mut json).map_err(|error| {
        let field = place::path(&bytes, &error);
        let place = if field.is_empty() { String::new() } else { format!("{field}: ") };
        let message = format!("the job spec cannot be read: {place}{error}");
        let refused = Refused::new(StatusCode::BAD_REQUEST, "bad_spec", message);
        if field.is_empty() { refused } else { refused.of_field(field) }
    })?;
    json.end().map_err(|error| {
        let message = format!("there is more than one job spec in the body: {error}");
        Refused::new(StatusCode::BAD_REQUEST, "bad_spec", message)
    })?;
    Ok(spec)
}

fn is_json(request: &Request<Incoming>) -> bool {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).into_iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let essence = only.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn read(body: Incoming) -> Result<bytes::Bytes, Refused> {
    let read = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("a job spec is at most {MAX_BODY} bytes"),
        )),
        Ok(Err(error)) => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "broken_body",
            format!("the body ended before it was complete: {error}"),
        )),
        Err(_) => Err(Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            format!("the body took longer than {} seconds", BODY_TIMEOUT.as_secs()),
        )),
    }
}
