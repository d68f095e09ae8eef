//! What every request must pass before it is looked at: it must have been meant for init.
//!
//! A web page can make a browser send requests to loopback. It cannot leave out `Origin` on those
//! that matter, and a name that it rebinds to 127.0.0.1 shows in `Host`. Both are refused.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refused;

/// Lets a request through or refuses it.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match judge(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
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
