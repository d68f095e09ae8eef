//! One request from afar: who it is from, whether he may, and who answers it.
//!
//! What the gate answers itself, and what it has init answer, is in [`super::row`]; all else is the supervisor's.
//!
//! A token counts only in the `Authorization` header. Without a good one nothing is answered, whichever path it is,
//! so nobody learns which ones there are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;
use tracing::warn;

use super::door::{Guest, Orders};
use super::row::{Way, Whom, way};
use crate::access::Grant;
use crate::access::register::{self, Register, RegisterError};
use crate::access::secret::Secret;
use crate::access::tries::Tries;
use crate::admin::version::signed;
use crate::admin::{refused, socket};
use crate::audit::{Asker, Audit, Line};
use crate::client::Init;
use crate::http::over;
use crate::token::Token;
use crate::unread::Unread;

/// How the supervisor is told who asks. It believes whoever may use its socket.
pub(crate) const WHO: HeaderName = HeaderName::from_static("bootctl-who");
pub(crate) const FROM: HeaderName = HeaderName::from_static("bootctl-from");

/// The beginning of the paths that init answers.
const INIT: &str = "/init";
/// A supervisor that does not listen is being started again.
const COMING_BACK: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// How often it is told that somebody types to a job, and of how many that is remembered.
const TOLD_AGAIN: Duration = Duration::from_mins(1);
const TYPING: usize = 256;

/// What is not passed on: it is about one connection, or says who asks.
const DROPPED: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    WHO,
    FROM,
];

/// What all requests have in common.
pub(super) struct Passage {
    socket: PathBuf,
    state_dir: PathBuf,
    log_dir: PathBuf,
    init: SocketAddr,
    token: Option<Token>,
    tries: Mutex<Tries>,
    known: Mutex<Known>,
    typed: Mutex<BTreeMap<(String, String), Instant>>,
    audit: Audit,
}

/// The tokens as they were read last.
#[derive(Debug, Default)]
struct Known {
    /// Tells one version of the file from another.
    version: Option<(u64, i64, i64, u64)>,
    register: Register,
}

/// Why a request is not passed on.
enum Stop {
    Barred(Duration),
    Refused(StatusCode, &'static str, String),
    NoToken(&'static str),
}

impl Passage {
    pub(super) fn new(orders: &Orders, token: Option<Token>) -> Self {
        Self {
            socket: orders.run_dir.join(socket::NAME),
            state_dir: orders.state_dir.clone(),
            log_dir: orders.log_dir.clone(),
            init: orders.init,
            token,
            tries: Mutex::default(),
            known: Mutex::default(),
            typed: Mutex::default(),
            audit: Audit::shared(&orders.state_dir),
        }
    }

    pub(super) async fn answer(
        &self,
        request: Request<Unread>,
        from: SocketAddr,
        guest: &Guest,
    ) -> Response {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let way = way(&method, &path);
        let admitted = self.admit(&request, from, &way, guest);
        let asker = match admitted {
            Ok(asker) => asker,
            Err((stop, asker)) => {
                let (response, word) = answered(&stop);
                // One that is barred has had its lines.
                if !matches!(stop, Stop::Barred(_)) {
                    let status = Some(response.status().as_u16());
                    self.audit.note(&Line::new(&asker, method.as_str(), &path, (status, word)));
                }
                return response;
            }
        };
        match way {
            Way::To(Whom::Supervisor, _) => self.ask_supervisor(request, &asker).await,
            Way::To(Whom::Logs, _) => self.show_logs(request, &asker).await,
            Way::To(Whom::Init, _) => {
                let answer = self.ask_init(request).await;
                self.note(&asker, (&method, &path), answer)
            }
            Way::To(whom @ (Whom::Adopts | Whom::Runs | Whom::EndsMachine), _) => {
                let answer = super::errands::answer(self, whom, request).await;
                self.note(&asker, (&method, &path), answer)
            }
            Way::Nowhere => {
                let message = "init is not asked this from afar";
                signed(refused(StatusCode::NOT_FOUND, "unknown_path", message))
            }
            Way::With(methods) => {
                let message = "this path is there, but not with this method; see the Allow header";
                let refusal = refused(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message);
                signed(([(header::ALLOW, methods.join(", "))], refusal).into_response())
            }
        }
    }

    /// Who asks, if he may.
    fn admit(
        &self,
        request: &Request<Unread>,
        from: SocketAddr,
        way: &Way,
        guest: &Guest,
    ) -> Result<Asker, (Stop, Asker)> {
        let asker = |who: String| Asker { who, from: from.to_string() };
        let (now, address) = (Instant::now(), from.ip());
        let nobody = || asker("nobody".into());
        if let Some(left) = lock(&self.tries).barred(address, now) {
            return Err((Stop::Barred(left), nobody()));
        }
        let failed = |why| {
            lock(&self.tries).failed(address, now);
            (Stop::NoToken(why), nobody())
        };
        let secret = shown(request.headers()).map_err(failed)?;
        let known = self.find(&secret).map_err(|error| {
            warn!("{error}");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            (Stop::Refused(status, "no_tokens", error.to_string()), nobody())
        })?;
        let Some((name, grant)) = known else { return Err(failed("this token is not known here")) };
        let asker = asker(format!("token {name}"));
        let needed = match way {
            Way::To(_, grant) => *grant,
            Way::Nowhere | Way::With(_) => Grant::Read,
        };
        if !grant.covers(needed) {
            let message = format!("the token {name} may only look; this takes one with `control`");
            return Err((Stop::Refused(StatusCode::FORBIDDEN, "forbidden", message), asker));
        }
        if !guest.admit() {
            let message = "there are too many connections already; close some".to_owned();
            return Err((Stop::Refused(StatusCode::SERVICE_UNAVAILABLE, "full", message), asker));
        }
        Ok(asker)
    }

    /// Whose token it is. The file is read when it is another one than before: what was revoked is refused from the
    /// next request on.
    fn find(&self, secret: &Secret) -> Result<Option<(String, Grant)>, RegisterError> {
        let version = fs::metadata(register::path(&self.state_dir))
            .map(|about| (about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
            .ok();
        let mut known = lock(&self.known);
        if version.is_none() || known.version != version {
            known.register = Register::open(&self.state_dir)?;
            known.version = version;
        }
        Ok(known.register.find(secret).map(|entry| (entry.name.clone(), entry.grant)))
    }

    async fn ask_supervisor(&self, request: Request<Unread>, asker: &Asker) -> Response {
        let by = Instant::now() + COMING_BACK;
        let stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < by => sleep(TRY_AGAIN).await,
                Err(error) => {
                    let message = format!("no supervisor answers on this machine: {error}");
                    return refused(
                        StatusCode::SERVICE_UNAVAILABLE,
                        super::NO_SUPERVISOR,
                        &message,
                    );
                }
            }
        };
        let mut request = passed(request, "localhost", "");
        for (name, value) in [(WHO, &asker.who), (FROM, &asker.from)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                request.headers_mut().insert(name, value);
            }
        }
        let answer = over(stream, request).await;
        answered_by(answer, "the supervisor has ended in the middle of this")
    }

    async fn show_logs(&self, request: Request<Unread>, asker: &Asker) -> Response {
        let query = request.uri().query().unwrap_or_default();
        let clear = request.method() == Method::DELETE;
        let answer = super::logs::answer(query, clear, &self.log_dir, self.init).await;
        if clear {
            let path = format!("/logs?{query}");
            let status = answer.status();
            let end = (Some(status.as_u16()), if status.is_success() { "done" } else { "refused" });
            self.audit.note(&Line::new(asker, "DELETE", &path, end));
        }
        answer
    }

    /// Keys that are typed are many: who types to which job is told once a minute.
    fn is_news(&self, asker: &Asker, path: &str) -> bool {
        let now = Instant::now();
        let mut typed = lock(&self.typed);
        typed.retain(|_, then| now.saturating_duration_since(*then) < TOLD_AGAIN);
        if typed.len() >= TYPING {
            return true;
        }
        match typed.entry((asker.who.clone(), path.to_owned())) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(now);
                true
            }
        }
    }

    /// Tells of a change.
    fn note(&self, asker: &Asker, (method, path): (&Method, &str), answer: Response) -> Response {
        let is_typing = path.ends_with("/stdin") || path.ends_with("/tty");
        let is_look = matches!(*method, Method::GET | Method::HEAD);
        if !is_look && (!is_typing || self.is_news(asker, path)) {
            let status = answer.status();
            let result = if status.is_success() { "done" } else { "refused" };
            let end = (Some(status.as_u16()), result);
            self.audit.note(&Line::new(asker, method.as_str(), path, end));
        }
        answer
    }

    async fn ask_init(&self, request: Request<Unread>) -> Response {
        let mut request = passed(request, &self.init.to_string(), INIT);
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.authorization());
        }
        let answer = match TcpStream::connect(self.init).await {
            Ok(stream) => over(stream, request).await,
            Err(error) => {
                let message = format!("init does not answer on this machine: {error}");
                return refused(StatusCode::SERVICE_UNAVAILABLE, "no_init", &message);
            }
        };
        answered_by(answer, "init has ended in the middle of this")
    }

    /// init, to be asked something of the gate's own making.
    pub(super) fn init(&self) -> Init {
        Init::at(self.init, self.token.as_ref())
    }
}

/// The token that a request shows, in its header and nowhere else.
fn shown(headers: &HeaderMap) -> Result<Secret, &'static str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(
            "show a token in one header, `Authorization: Bearer TOKEN`; `bootctl generate` \
                    makes one, on this machine",
        );
    };
    let text = value.to_str().unwrap_or_default();
    let secret = text.split_once(' ').and_then(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer").then(|| Secret::parse(token.trim()))?
    });
    secret.ok_or("this is no token; `bootctl generate` makes one, on this machine")
}

/// The request as another one is to have it.
fn passed(request: Request<Unread>, host: &str, without: &str) -> Request<Unread> {
    let (mut parts, body) = request.into_parts();
    for name in &DROPPED {
        parts.headers.remove(name);
    }
    if let Ok(host) = HeaderValue::try_from(host) {
        parts.headers.insert(header::HOST, host);
    }
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    // A part of a good path from a slash on is one.
    parts.uri = path.strip_prefix(without).unwrap_or(path).parse().unwrap_or(Uri::from_static("/"));
    parts.version = http::Version::HTTP_11;
    Request::from_parts(parts, body)
}

fn answered_by(
    answer: Result<http::Response<Incoming>, crate::http::HttpError>,
    cut: &str,
) -> Response {
    match answer {
        Ok(answer) => {
            let (mut parts, body) = answer.into_parts();
            for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
                parts.headers.remove(name);
            }
            Response::from_parts(parts, Body::new(body))
        }
        Err(error) => {
            let message = format!("{cut}: {error}; look at how far it is, and ask again");
            refused(StatusCode::BAD_GATEWAY, "cut", &message)
        }
    }
}

fn answered(stop: &Stop) -> (Response, &'static str) {
    match stop {
        Stop::Barred(left) => {
            let message = "too many wrong tokens came from this address; wait a minute";
            let mut response = refused(StatusCode::TOO_MANY_REQUESTS, "barred", message);
            let seconds = left.as_secs().saturating_add(1);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            (response, "barred")
        }
        Stop::NoToken(why) => {
            let response = refused(StatusCode::UNAUTHORIZED, "no_token", why);
            let how = [(header::WWW_AUTHENTICATE, "Bearer")];
            ((how, response).into_response(), "no_token")
        }
        Stop::Refused(status, word, message) => (refused(*status, word, message), word),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z09_a_token_is_shown_in_one_header() {
        let good = Secret::generate().expect("random").text();
        let read = |values: &[String]| {
            let pairs =
                values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("ok")));
            shown(&pairs.collect()).is_ok()
        };
        let bearer = format!("Bearer {good}");
        assert!(read(std::slice::from_ref(&bearer)) && read(&[format!("bearer  {good}")]));
        for bad in [
            vec![],
            vec![good.clone()],
            vec![format!("Basic {good}")],
            vec!["Bearer".into()],
            vec!["Bearer ".into()],
            vec![format!("{bearer}x")],
            vec![bearer.clone(), bearer.clone()],
        ] {
            assert!(!read(&bad), "{bad:?}");
        }
    }
}
