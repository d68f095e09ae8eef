//! What every request must pass before it is looked at: it must have been meant for init, and who
//! sends it must have the right.
//!
//! A web page can make a browser send requests to loopback. It cannot leave out `Origin` on those
//! that matter, and a name that it rebinds to 127.0.0.1 shows in `Host`. Both are refused, whatever
//! token they show.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};

use super::answer::Refused;
use crate::access::{Access, Denied, Right};

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The user's id.
    pub user: u32,
    /// The rules.
    pub access: Arc<Access>,
}

/// Lets a request through, or says with which answer it is refused.
pub(super) fn check<B>(request: &Request<B>, peer: &Peer) -> Result<(), Refused> {
    let headers = request.headers();
    judge(headers)?;
    let wanted = match *request.method() {
        Method::GET | Method::HEAD => Right::Read,
        _ => Right::Control,
    };
    let shown = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    peer.access.judge(peer.user, shown, wanted).map_err(refusal)
}

fn refusal(denied: Denied) -> Refused {
    let forbidden = |message| Refused::new(StatusCode::FORBIDDEN, "not_allowed", message);
    match denied {
        Denied::NoToken => {
            let message = "send a token of init's token file: `Authorization: Bearer TOKEN`";
            Refused::new(StatusCode::UNAUTHORIZED, "bad_token", message)
                .with(header::WWW_AUTHENTICATE, "Bearer")
        }
        Denied::ReadOnly => {
            forbidden("this right is to read only; it takes `control` to change anything")
        }
        Denied::Stranger => forbidden("this user has no right here"),
    }
}

/// The answer to who asks too often.
pub(super) fn too_many() -> Refused {
    let message = "this user sends more requests a second than he may; wait a second";
    Refused::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
        .with(header::RETRY_AFTER, "1")
}

fn judge(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.contains_key(header::ORIGIN) {
        let message = "requests from web pages are refused: send no Origin header";
        return Err(Refused::new(StatusCode::FORBIDDEN, "foreign_origin", message));
    }
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        let message = "send exactly one Host header";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "bad_host", message));
    };
    if host.to_str().is_ok_and(is_loopback) {
        return Ok(());
    }
    let message = "the Host header must be a loopback address or localhost, so that no web page \
                   can reach init under a name of its own";
    Err(Refused::new(StatusCode::FORBIDDEN, "foreign_host", message))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b26_only_loopback_hosts_pass() {
        for good in ["localhost", "127.0.0.1:1", "LOCALHOST:80", "[::1]:1", "127.9.9.9"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in
            ["", "evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil", "::"]
        {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
