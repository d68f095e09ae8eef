//! What an authority, or the way to it, says when something is wrong: as a cause.

use instant_acme::{Error, Problem};

use super::failure::{Cause, Failure};
use super::web::Unanswered;

/// A nonce was refused so often that the library gave up. It is no reason to wait.
pub(super) fn is_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if word(problem) == "badNonce")
}

/// The authority does not know our account any more.
pub(super) fn is_unknown_account(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if word(problem) == "accountDoesNotExist")
}

/// A request was refused, or not answered.
#[expect(clippy::needless_pass_by_value, reason = "it is what an error is mapped with")]
pub(super) fn refused(error: Error) -> Failure {
    match &error {
        Error::Api(problem) => Failure::new(cause(problem), words(problem)),
        Error::Other(other) => match other.downcast_ref::<Unanswered>() {
            Some(unanswered) => Failure::new(unanswered.cause(), unanswered.words()),
            None => Failure::new(Cause::Authority, other.to_string()),
        },
        Error::Timeout(_) => Failure::new(Cause::Authority, "it takes too long to decide"),
        Error::Unsupported(_) | Error::Json(_) | Error::Str(_) | Error::Http(_) => {
            Failure::new(Cause::Authority, error.to_string())
        }
        _ => Failure::new(Cause::Other, error.to_string()),
    }
}

/// A proof was not accepted.
pub(super) fn unproved(problem: &Problem) -> Failure {
    let cause = match word(problem) {
        "unauthorized" | "incorrectResponse" | "tls" => Cause::Unauthorized,
        // Not all tell the one from the other.
        "connection" if words(problem).contains("resolve") => Cause::Dns,
        _ => cause(problem),
    };
    Failure::new(cause, words(problem))
}

fn word(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind)
}

fn cause(problem: &Problem) -> Cause {
    match word(problem) {
        "dns" => Cause::Dns,
        "connection" => Cause::Unreachable,
        "incorrectResponse" | "tls" => Cause::Unauthorized,
        "rateLimited" => Cause::RateLimit,
        "invalidContact" | "unsupportedContact" => Cause::Contact,
        "accountDoesNotExist"
        | "externalAccountRequired"
        | "unauthorized"
        | "userActionRequired"
        | "badPublicKey"
        | "badSignatureAlgorithm" => Cause::Account,
        "caa" => Cause::Caa,
        "rejectedIdentifier"
        | "unsupportedIdentifier"
        | "badCSR"
        | "invalidProfile"
        | "malformed" => Cause::Refused,
        "serverInternal" | "badNonce" | "orderNotReady" => Cause::Authority,
        _ => match problem.status {
            Some(429) => Cause::RateLimit,
            Some(500..=599) => Cause::Authority,
            Some(_) | None => Cause::Other,
        },
    }
}

fn words(problem: &Problem) -> String {
    let mut words = problem.detail.clone().unwrap_or_else(|| word(problem).to_owned());
    for part in &problem.subproblems {
        let more = part.detail.as_deref().or(part.r#type.as_deref()).unwrap_or_default();
        words = format!("{words}; {more}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> Problem {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        let json = serde_json::json!({ "type": kind, "detail": "so it is", "status": status });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_it_is_depends_on_what_was_asked() {
        let asked = |kind| refused(Error::Api(problem(kind, 403))).cause;
        assert_eq!(asked("unauthorized"), Cause::Account);
        assert_eq!(unproved(&problem("unauthorized", 403)).cause, Cause::Unauthorized);
        assert_eq!(unproved(&problem("dns", 400)).cause, Cause::Dns);
        assert_eq!(unproved(&problem("caa", 403)).cause, Cause::Caa);
        assert_eq!(asked("invalidContact"), Cause::Contact);
        assert_eq!(refused(Error::Api(problem("new", 429))).cause, Cause::RateLimit);
        assert_eq!(refused(Error::Api(problem("new", 503))).cause, Cause::Authority);
        let lost = serde_json::json!({
            "type": "urn:ietf:params:acme:error:connection",
            "detail": "could not resolve URL",
        });
        assert_eq!(unproved(&serde_json::from_value(lost).unwrap()).cause, Cause::Dns);
        let sentence = unproved(&problem("connection", 400)).sentence();
        assert!(sentence.contains("open port 80") && sentence.contains("so it is"), "{sentence}");
    }
}
