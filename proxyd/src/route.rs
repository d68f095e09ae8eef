//! A route: which requests it is for, and what becomes of them.

use std::fmt;

use proxyd_wire as wire;
use thiserror::Error;

use crate::bounds::{Bounds, OutOfRange};
use crate::host::Host;
use crate::name::{Name, NotAName};

/// Which requests a route is for: those for a host whose path begins with a prefix.
///
/// The host is in the one spelling of [`Host`], or `*.` and a domain for all names below it, or `*`
/// for any. The prefix begins with `/` and does not end with one, unless it is `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        "`{0}` is not the beginning of a path: write visible ASCII from a `/` on, without `?`, `#`, \
         `//` and `.` or `..` as a step"
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

    /// Whether the prefix ends where a step of the path does.
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
    Ok(format!("{below}{}", host.as_str()))
}

fn parse_prefix(text: &str) -> Result<String, NotAKey> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if trimmed.is_empty() {
        return Ok("/".to_owned());
    }
    let visible = trimmed.bytes().all(|byte| byte > b' ' && byte < 0x7f && !b"?#".contains(&byte));
    let steps = trimmed.split('/').skip(1).all(|step| !matches!(step, "" | "." | ".."));
    if trimmed.len() <= 1024 && visible && steps {
        Ok(trimmed.to_owned())
    } else {
        Err(NotAKey::Prefix(text.chars().take(200).collect()))
    }
}

/// A route, ready for use.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) key: Key,
    /// As it was put.
    pub(crate) wire: wire::Route,
    pub(crate) service: Option<Name>,
}

/// Why a route cannot be as it was put.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotARoute {
    #[error("{0}")]
    Service(#[from] NotAName),
    #[error("{0}")]
    Limits(#[from] OutOfRange),
    #[error("a route needs a `service` to go to")]
    Nowhere,
}

impl Route {
    pub(crate) fn new(key: Key, wire: wire::Route) -> Result<Route, NotARoute> {
        let service = wire.service.as_deref().map(Name::parse).transpose()?;
        if service.is_none() {
            return Err(NotARoute::Nowhere);
        }
        wire.limits.as_ref().map(Bounds::check).transpose()?;
        Ok(Route { key, wire, service })
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
        ] {
            assert_eq!(Key::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "/", "a b", "a:80", "*.", "*.*", "a.*", "*a", "*.[::1]", "[::1]:80"] {
            assert!(matches!(Key::parse(bad), Err(NotAKey::Host(_))), "{bad:?}");
        }
        for bad in ["a//", "a/x//y", "a/..", "a/./x", "a/x?y", "a/x#y", "a/\u{e4}", "a/x y"] {
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
