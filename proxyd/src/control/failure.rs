//! Errors of the control API, each with its status and its sentence.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use proxyd_wire::ErrorBody;
use thiserror::Error;

use crate::acme::{NotAcme, NotPlaced};
use crate::config::Mistake;
use crate::front::NotAFront;
use crate::name::NotAName;
use crate::route::{Key, NotAKey, NotARoute, Wrong};
use crate::settings::BadSetting;
use crate::state::{Full, Stale};
use crate::target::NotAnAddress;
use crate::tls::{NotACertificate, NotATicketSecret, NotATls};

/// Why a control request is refused. Nothing has changed then.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(
        "only root and the user that proxyd runs as may use its control socket, and you are \
         uid {0}"
    )]
    Stranger(u32),
    #[error("there is no {0} here: see `GET /state` for what proxyd knows")]
    UnknownPath(String),
    #[error("{0} is not offered for {1}")]
    Method(Method, String),
    #[error("there is no route for the host `{0}`: `GET /state` lists them")]
    NoRoute(Key),
    #[error("there is no service `{0}`: `GET /state` lists them")]
    NoService(String),
    #[error("the service `{0}` has no target `{1}`: `GET /state` lists them")]
    NoTarget(String, String),
    #[error("the service `{0}` is not paused: `GET /state` shows which are")]
    NotPaused(String),
    #[error("the service `{0}` is not under maintenance: `GET /state` shows which are")]
    NotMaintained(String),
    #[error("there is no certificate `{0}`: `GET /state` lists them")]
    NoCertificate(String),
    #[error("no certificate `{0}` is to be obtained: `GET /acme` lists those that are")]
    NoAcmeCertificate(String),
    #[error("{0}")]
    Acme(#[from] NotAcme),
    #[error("{0}")]
    NotPlaced(#[from] NotPlaced),
    #[error(
        "the query is not what is expected here: {0}; only after=REVISION and wait_ms=MILLISECONDS are known"
    )]
    AcmeQuery(QueryRejection),
    #[error("{0}")]
    Certificate(#[from] NotACertificate),
    #[error("{0}")]
    Tls(#[from] NotATls),
    #[error("{0}")]
    Tickets(#[from] NotATicketSecret),
    #[error("{0}")]
    Setting(#[from] BadSetting),
    #[error("{0}")]
    Front(#[from] NotAFront),
    #[error("{0}")]
    Key(#[from] NotAKey),
    #[error("{0}")]
    Route(#[from] Wrong),
    #[error("{}", told(.0))]
    Config(Vec<Mistake>),
    #[error("{0}")]
    Name(#[from] NotAName),
    #[error("address: {0}")]
    Address(#[from] NotAnAddress),
    #[error("{0}")]
    Full(#[from] Full),
    #[error("If-Match is `{0}`: write the generation that `GET /state` gave as its ETag")]
    Precondition(String),
    #[error("{0}")]
    Stale(#[from] Stale),
    #[error("the body is not what is expected here: {0}")]
    Body(JsonRejection),
    #[error(
        "the query is not what is expected here: {0}; only grace_ms=MILLISECONDS and stream_grace_ms=MILLISECONDS are known"
    )]
    Query(QueryRejection),
}

/// Of very many mistakes the first ones: an answer is read by a person.
fn told(mistakes: &[Mistake]) -> String {
    let first = mistakes.iter().take(20).map(ToString::to_string);
    let more = (mistakes.len() > 20).then(|| format!("and {} more", mistakes.len() - 20));
    first.chain(more).collect::<Vec<_>>().join("; ")
}

impl Failure {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Failure::Stranger(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Failure::UnknownPath(_) => (StatusCode::NOT_FOUND, "unknown_path"),
            Failure::Method(..) => (StatusCode::METHOD_NOT_ALLOWED, "wrong_method"),
            Failure::NoRoute(_) => (StatusCode::NOT_FOUND, "unknown_route"),
            Failure::NoService(_) => (StatusCode::NOT_FOUND, "unknown_service"),
            Failure::NoTarget(..) => (StatusCode::NOT_FOUND, "unknown_target"),
            Failure::NotPaused(_) => (StatusCode::NOT_FOUND, "not_paused"),
            Failure::NotMaintained(_) => (StatusCode::NOT_FOUND, "not_maintained"),
            Failure::NoCertificate(_) | Failure::NoAcmeCertificate(_) => {
                (StatusCode::NOT_FOUND, "unknown_certificate")
            }
            Failure::Acme(_) => (StatusCode::BAD_REQUEST, "bad_acme"),
            Failure::NotPlaced(NotPlaced::Unknown(_)) => (StatusCode::NOT_FOUND, "unknown_record"),
            Failure::NotPlaced(NotPlaced::Changed(_)) => (StatusCode::CONFLICT, "changed"),
            Failure::Certificate(_) => (StatusCode::BAD_REQUEST, "bad_certificate"),
            Failure::Tls(_) => (StatusCode::BAD_REQUEST, "bad_tls"),
            Failure::Tickets(_) => (StatusCode::BAD_REQUEST, "bad_tickets"),
            Failure::Setting(_) => (StatusCode::BAD_REQUEST, "bad_setting"),
            Failure::Front(_) => (StatusCode::BAD_REQUEST, "bad_front"),
            Failure::Key(NotAKey::Host(_)) => (StatusCode::BAD_REQUEST, "bad_host"),
            Failure::Key(NotAKey::Prefix(_)) => (StatusCode::BAD_REQUEST, "bad_prefix"),
            Failure::Name(_) => (StatusCode::BAD_REQUEST, "bad_name"),
            Failure::Route(Wrong(wrong))
                if matches!(wrong.first(), Some(NotARoute::Service(_))) =>
            {
                (StatusCode::BAD_REQUEST, "bad_name")
            }
            Failure::Route(_) => (StatusCode::BAD_REQUEST, "bad_route"),
            Failure::Config(_) => (StatusCode::BAD_REQUEST, "bad_config"),
            Failure::Address(_) => (StatusCode::BAD_REQUEST, "bad_address"),
            Failure::Full(_) => (StatusCode::CONFLICT, "full"),
            Failure::Precondition(_) => (StatusCode::BAD_REQUEST, "bad_if_match"),
            Failure::Stale(_) => (StatusCode::PRECONDITION_FAILED, "generation"),
            Failure::Query(_) | Failure::AcmeQuery(_) => (StatusCode::BAD_REQUEST, "bad_query"),
            Failure::Body(JsonRejection::MissingJsonContentType(_)) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json")
            }
            Failure::Body(JsonRejection::BytesRejection(rejection)) => {
                (rejection.status(), "bad_body")
            }
            Failure::Body(_) => (StatusCode::BAD_REQUEST, "bad_body"),
        }
    }

    fn message(&self) -> String {
        match self {
            Failure::Body(JsonRejection::MissingJsonContentType(_)) => {
                "only `Content-Type: application/json` is accepted".to_owned()
            }
            Failure::Body(JsonRejection::BytesRejection(rejection))
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                "the body is larger than 64 KiB, or than 1 MiB for `PUT /tls` and 64 MiB for `/config` and `/acme`"
                    .to_owned()
            }
            Failure::Body(rejection) => {
                format!("the body is not what is expected here: {}", rejection.body_text())
            }
            Failure::AcmeQuery(rejection) => {
                format!(
                    "{}; only after=REVISION and wait_ms=MILLISECONDS are known here",
                    rejection.body_text()
                )
            }
            Failure::Query(rejection) => {
                format!(
                    "{}; only grace_ms=MILLISECONDS and stream_grace_ms=MILLISECONDS are known here",
                    rejection.body_text()
                )
            }
            _ => self.to_string(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = self.status();
        let body = ErrorBody { error: error.to_owned(), message: self.message() };
        (status, Json(body)).into_response()
    }
}

pub(crate) async fn unknown_path(uri: Uri) -> Failure {
    Failure::UnknownPath(uri.path().chars().take(200).collect())
}

pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Failure::Method(method, uri.path().chars().take(200).collect())
}
