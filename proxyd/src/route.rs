//! A route: which requests it is for, and what becomes of them.

use std::fmt;
use std::sync::Arc;

use proxyd_wire as wire;
use thiserror::Error;

use crate::bounds::{Bounds, OutOfRange};
use crate::host::Host;
use crate::meter::Meter;
use crate::name::{Name, NotAName};
use crate::path;
use crate::rules::{NotARule, Rules};

/// Which requests a route is for: those for a host whose path begins with a prefix.
///
/// The host is in the one spelling of [`Host`], or `*.` and a domain for all names below it, or `*`
/// for any. The prefix begins with `/` and does not end with one, unless it is `/`; it is in the one
/// spelling of [`path`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) host: String,
    pub(crate) prefix: String,
}

/// Text that names no route.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAKey {
    #[error(
        "`{0}` is not a host: write a name or an address without a port, such as shop.example, \
         or *.example for all names below it, or * for any"
    )]
    Host(String),
    #[error(
        "`{0}` is not the beginning of a path, which is for all below it: write visible ASCII from a `/` \
         on, without `?`, `#`, `//` and `.`, `..` or `*` as a step"
    )]
    Prefix(String),
}

impl Key {
    /// From `HOST` or `HOST/PREFIX`.
    pub(crate) fn parse(text: &str) -> Result<Key, NotAKey> {
        let at = text.find('/').unwrap_or(text.len());
        let (host, prefix) = text.split_at_checked(at).unwrap_or((text, ""));
        Ok(Key { host: parse_host(host)?, prefix: parse_prefix(prefix)? })
    }

    /// How many steps the prefix has.
    pub(crate) fn steps(&self) -> usize {
        self.prefix.split('/').filter(|step| !step.is_empty()).count()
    }

    /// Whether the prefix ends where a step of the path does, which is in the one spelling of [`path`].
    pub(crate) fn covers(&self, path: &[u8]) -> bool {
        let prefix = self.prefix.as_bytes();
        prefix == b"/"
            || path.strip_prefix(prefix).is_some_and(|rest| matches!(rest, [] | [b'/' | b'?', ..]))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.prefix == "/" { "" } else { &self.prefix };
        write!(f, "{}{prefix}", self.host)
    }
}

fn parse_host(text: &str) -> Result<String, NotAKey> {
    let wrong = || NotAKey::Host(text.chars().take(200).collect());
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (below, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    let host = Host::parse(name.as_bytes()).ok_or_else(wrong)?;
    let has_port = name.rsplit_once(']').map_or(name, |(_, rest)| rest).contains(':');
    let wild_address = !below.is_empty() && name.starts_with('[');
    if has_port || wild_address {
        return Err(wrong());
    }
    Ok(format!("{below}{host}"))
}

pub(crate) fn parse_prefix(text: &str) -> Result<String, NotAKey> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if trimmed.is_empty() {
        return Ok("/".to_owned());
    }
    let wrong = || NotAKey::Prefix(text.chars().take(200).collect());
    let visible = trimmed.bytes().all(|byte| byte > b' ' && byte < 0x7f && !b"?#".contains(&byte));
    if trimmed.len() > 1024 || !visible {
        return Err(wrong());
    }
    let mut spelled = Vec::with_capacity(trimmed.len());
    for step in trimmed.split('/').skip(1) {
        let start = spelled.len();
        spelled.push(b'/');
        path::decode(step.as_bytes(), &mut spelled);
        // Whoever writes a star means all below, which a prefix is for anyway.
        if matches!(spelled.get(start..), None | Some(b"/" | b"/." | b"/.." | b"/*" | b"/**")) {
            return Err(wrong());
        }
    }
    String::from_utf8(spelled).map_err(|_| wrong())
}

/// A route, ready for use.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) key: Key,
    /// As it was put.
    pub(crate) wire: wire::Route,
    pub(crate) service: Option<Name>,
    /// What it says beyond its service. Most say nothing.
    pub(crate) rules: Option<Box<Rules>>,
    pub(crate) meter: Arc<Meter>,
}

/// Why a route cannot be as it was put.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotARoute {
    #[error("{0}")]
    Service(#[from] NotAName),
    #[error("{0}")]
    Limits(#[from] OutOfRange),
    #[error("a route needs a `service` to go to, `files` to serve, or a `redirect`")]
    Nowhere,
    #[error("a route has a `service` or `files`, and this one both: remove one of the two")]
    ServiceAndFiles,
    #[error(
        "a route has a `redirect` or a `service` or `files`, and this one both: remove one of the two, or add \
         unless_https = true to the redirect"
    )]
    Both,
    #[error(
        "redirect.unless_https needs a `service` or `files` for those who came by https: add one"
    )]
    HttpsNowhere,
    #[error("{0}")]
    Rule(#[from] NotARule),
}

impl NotARoute {
    /// Which key of the route is wrong; none if it is the route as a whole.
    pub(crate) fn key(&self) -> Vec<String> {
        match self {
            NotARoute::Service(_) => vec!["service".to_owned()],
            NotARoute::Both => vec!["redirect".to_owned()],
            NotARoute::ServiceAndFiles => vec!["files".to_owned()],
            NotARoute::Limits(error) => error.key(),
            NotARoute::HttpsNowhere => vec!["redirect".to_owned(), "unless_https".to_owned()],
            NotARoute::Nowhere => Vec::new(),
            NotARoute::Rule(error) => error.key(),
        }
    }
}

/// All that is wrong with a route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) Vec<NotARoute>);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Wrong {}

impl Route {
    /// Pages that are files are not read yet: see [`Route::read_pages`].
    pub(crate) fn new(key: Key, wire: wire::Route) -> Result<Route, Wrong> {
        let mut wrong = Vec::new();
        let service =
            wire.service.as_deref().map(Name::parse).transpose().unwrap_or_else(|error| {
                wrong.push(error.into());
                None
            });
        if wire.service.is_some() && wire.files.is_some() {
            wrong.push(NotARoute::ServiceAndFiles);
        }
        let serves = wire.service.is_some() || wire.files.is_some();
        match (serves, &wire.redirect) {
            (false, None) => wrong.push(NotARoute::Nowhere),
            (true, Some(redirect)) if !redirect.unless_https => wrong.push(NotARoute::Both),
            (false, Some(redirect)) if redirect.unless_https => wrong.push(NotARoute::HttpsNowhere),
            (true, _) | (false, Some(_)) => {}
        }
        if let Some(Err(error)) = wire.limits.as_ref().map(Bounds::check) {
            wrong.push(error.into());
        }
        let rules = Rules::new(&key, &wire).unwrap_or_else(|errors| {
            wrong.extend(errors.into_iter().map(NotARoute::Rule));
            None
        });
        if wrong.is_empty() {
            Ok(Route { key, wire, service, rules, meter: Arc::default() })
        } else {
            Err(Wrong(wrong))
        }
    }

    /// Reads the error pages that are files. One that cannot be read is as good as none.
    pub(crate) fn read_pages(&mut self) -> Result<(), Wrong> {
        let read = self.rules.as_mut().map_or(Ok(()), |rules| rules.read_pages());
        read.map_err(|errors| Wrong(errors.into_iter().map(NotARoute::Rule).collect()))
    }

    /// Whether the service is asked for another path than the client asks for.
    pub(crate) fn rewrites(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.rewrites())
    }

    /// Whether nothing would change if this one took the other's place.
    pub(crate) fn is_like(&self, other: &Route) -> bool {
        let same_pages = match (&self.rules, &other.rules) {
            (Some(rules), Some(others)) => rules.has_pages_of(others),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.wire == other.wire && same_pages
    }

    /// Takes the place of an earlier route of the same key, and goes on with what that has counted.
    pub(crate) fn succeed(&mut self, old: &Route) {
        self.meter = Arc::clone(&old.meter);
        if let (Some(rules), Some(old)) = (&mut self.rules, &old.rules) {
            rules.succeed(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (text, shown) in [
            ("Shop.Example.", "shop.example"),
            ("shop.example/", "shop.example"),
            ("shop.example/api/", "shop.example/api"),
            ("shop.example/api/v1.2", "shop.example/api/v1.2"),
            ("*.Example", "*.example"),
            ("*", "*"),
            ("*/status", "*/status"),
            ("[::1]/x", "[::1]/x"),
            ("a/%61pi/%c3%a4%2f", "a/api/%C3%A4%2F"),
        ] {
            assert_eq!(Key::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "/", "a b", "a:80", "*.", "*.*", "a.*", "*a", "*.[::1]", "[::1]:80"] {
            assert!(matches!(Key::parse(bad), Err(NotAKey::Host(_))), "{bad:?}");
        }
        for bad in [
            "a/*", "a/x/**", "a/%2a", "a//", "a/x//y", "a/..", "a/./x", "a/x?y", "a/x#y",
            "a/\u{e4}", "a/x y", "a/%2e%2E",
        ] {
            assert!(matches!(Key::parse(bad), Err(NotAKey::Prefix(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_covers_whole_steps() {
        let key = Key::parse("a/api").unwrap();
        for path in ["/api", "/api/", "/api/x", "/api?x"] {
            assert!(key.covers(path.as_bytes()), "{path}");
        }
        for path in ["/", "/ap", "/apis", "/x/api", "*"] {
            assert!(!key.covers(path.as_bytes()), "{path}");
        }
        assert!(Key::parse("a").unwrap().covers(b"*"));
    }
}
