//! Which bootctl answers, and what that tells whoever does not understand it.
//!
//! One bootctl may be asked by an older or a newer one: what it does not know in an answer it leaves out, and what it
//! is asked and does not know it refuses. Each answer says its version, so that the reason can be told.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use http::HeaderMap;

use super::client::ClientError;

/// Ours.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
const HEADER: HeaderName = HeaderName::from_static("bootctl-version");

/// What is refused, as words for programs, because it is not known.
const NOT_KNOWN: [&str; 5] = ["unknown_path", "wrong_method", "bad_path", "bad_query", "bad_body"];

/// Says in an answer which version it is of.
pub(crate) fn signed(mut response: Response) -> Response {
    response.headers_mut().insert(HEADER, HeaderValue::from_static(VERSION));
    response
}

/// What an answer says of it.
pub(crate) fn of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(HEADER)?.to_str().ok()?.to_owned())
}

/// The same error; with both versions, if they are the likely reason.
pub(super) fn told_apart(theirs: Option<String>, error: ClientError) -> ClientError {
    let is_likely = match &error {
        ClientError::Odd(_) => true,
        ClientError::Refused(refusal) => NOT_KNOWN.contains(&refusal.error.as_str()),
        _ => false,
    };
    match theirs.filter(|theirs| is_likely && theirs != VERSION) {
        Some(theirs) => ClientError::Versions { theirs, error: Box::new(error) },
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::refusal;

    #[test]
    fn z09_another_version_is_named_where_it_is_the_reason() {
        let tell = |theirs: &str, word: &str| {
            let error = ClientError::Refused(refusal(word, "no".into()));
            told_apart(Some(theirs.to_owned()), error).to_string()
        };
        let told = tell("99.0.0", "unknown_path");
        assert!(told.starts_with("no; ") && told.contains("99.0.0") && told.contains(VERSION));
        assert_eq!(tell("99.0.0", "unknown_app"), "no");
        assert_eq!(tell(VERSION, "unknown_path"), "no");
        let answer = signed(Response::default());
        assert_eq!(of(answer.headers()).as_deref(), Some(VERSION));
    }
}
