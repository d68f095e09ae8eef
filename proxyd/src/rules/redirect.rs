//! Clients sent elsewhere. Where to is said by the config alone: what a client asked for only ever
//! goes behind the first slash of the path, and the host that it asked only in the place of a `*`.

use proxyd_wire as wire;
use thiserror::Error;

use crate::h1::syntax;
use crate::host::Host;
use crate::path;
use crate::route::Key;

/// The longest `to`; a request's target has the same bound.
const MAX: usize = crate::limits::TARGET;

/// Where clients of a route are sent.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent settings of an administrator")]
pub(crate) struct Redirect {
    pub(crate) status: u16,
    to: String,
    /// `to` is a path on the host that was asked.
    same_host: bool,
    /// Where in `to` that host is to stand.
    star: Option<usize>,
    /// How many steps the route's prefix has.
    steps: usize,
    keep_path: bool,
    keep_query: bool,
    /// Who came by https is served instead.
    pub(crate) unless_https: bool,
}

/// Where nobody can be sent.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotARedirect {
    #[error(
        "redirect.to is `{0}`: write https://HOST, http://HOST, either with a port and a path if \
         there is one, and * for the host that was asked, or a /PATH on the same host, in visible ASCII"
    )]
    To(String),
    #[error(
        "redirect.to is `{0}`, whose `?` or `#` leaves no place for more: write it without, or \
         keep_path = false and keep_query = false beside it"
    )]
    Query(String),
    #[error("redirect.status is {0}: write 301, 302, 303, 307 or 308")]
    Status(u16),
}

impl NotARedirect {
    pub(crate) fn key(&self) -> &'static str {
        match self {
            NotARedirect::To(_) | NotARedirect::Query(_) => "to",
            NotARedirect::Status(_) => "status",
        }
    }
}

impl Redirect {
    pub(crate) fn new(key: &Key, wire: &wire::Redirect) -> Result<Redirect, Vec<NotARedirect>> {
        let mut wrong = Vec::new();
        let shown = || wire.to.chars().take(200).collect::<String>();
        if !matches!(wire.status, 301 | 302 | 303 | 307 | 308) {
            wrong.push(NotARedirect::Status(wire.status));
        }
        if !is_place(&wire.to) {
            wrong.push(NotARedirect::To(shown()));
        } else if (wire.keep_path || wire.keep_query) && wire.to.contains(['?', '#']) {
            wrong.push(NotARedirect::Query(shown()));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let to = if wire.keep_path {
            wire.to.strip_suffix('/').unwrap_or(&wire.to).to_owned()
        } else {
            wire.to.clone()
        };
        Ok(Redirect {
            status: wire.status,
            same_host: wire.to.starts_with('/'),
            star: ["https://", "http://"]
                .into_iter()
                .find(|scheme| to.strip_prefix(scheme).is_some_and(|host| host.starts_with('*')))
                .map(str::len),
            to,
            steps: key.steps(),
            keep_path: wire.keep_path,
            keep_query: wire.keep_query,
            unless_https: wire.unless_https,
        })
    }

    /// Appends where a client goes that asked a host for `target`.
    pub(crate) fn write(&self, host: &[u8], target: &[u8], out: &mut Vec<u8>) {
        let (path, query) = path::split(target);
        let to = self.to.as_bytes();
        match self.star.and_then(|at| Some((to.get(..at)?, to.get(at + 1..)?))) {
            Some((before, behind)) => out.extend_from_slice(&[before, host, behind].concat()),
            None => out.extend_from_slice(to),
        }
        if self.keep_path && path.starts_with(b"/") {
            if self.steps > 0 {
                self.append(&path::below(path, self.steps), out);
            } else {
                self.append(path, out);
            }
        }
        // An address without a path means `/`, and a query must not stand behind a host.
        if !self.has_path(out) {
            out.push(b'/');
        }
        if self.keep_query {
            out.extend_from_slice(query);
        }
    }

    /// On the same host, and with nothing before it, `//x` and `/\x` would be another host.
    fn append(&self, mut rest: &[u8], out: &mut Vec<u8>) {
        if self.same_host && self.to.is_empty() {
            while let [b'/' | b'\\', behind @ ..] = rest {
                rest = behind;
            }
            out.push(b'/');
        }
        out.extend_from_slice(rest);
    }

    fn has_path(&self, place: &[u8]) -> bool {
        let scheme = if self.same_host { 0 } else { "https://".len() };
        place.get(scheme..).is_some_and(|rest| syntax::find(b'/', rest).is_some())
    }
}

/// Whether `to` is a path, or the address of a host.
fn is_place(to: &str) -> bool {
    if to.len() > MAX || !to.bytes().all(|byte| byte > b' ' && byte < 0x7f && byte != b'\\') {
        return false;
    }
    if to.starts_with('/') {
        return !to.starts_with("//");
    }
    let Some(rest) = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://")) else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A query without a path before it could not be told from a host by every reader.
    let (authority, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
    is_authority(authority) && (behind.is_empty() || behind.starts_with('/'))
}

/// Whether it is a host, or the star that stands for the one that was asked, perhaps with a port.
fn is_authority(text: &str) -> bool {
    let named = match text.strip_prefix('*') {
        Some(port) if port.is_empty() || port.starts_with(':') => &format!("asked{port}"),
        Some(_) => return false,
        None => text,
    };
    Host::parse(named.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(to: &str) -> wire::Redirect {
        serde_json::from_value(serde_json::json!({ "to": to })).unwrap()
    }

    fn location(key: &str, wire: &wire::Redirect, target: &str) -> String {
        let mut out = Vec::new();
        let redirect = Redirect::new(&Key::parse(key).unwrap(), wire).unwrap();
        redirect.write(b"asked.test", target.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn o17_path_and_query_are_kept_byte_for_byte() {
        for (key, to, target, expected) in [
            ("a", "https://b", "/", "https://b/"),
            ("a", "https://b/", "/x%2f?y=%20&z", "https://b/x%2f?y=%20&z"),
            ("a", "https://b:8443/base", "/x/../y//z", "https://b:8443/base/x/../y//z"),
            ("a/blog", "https://b", "/blog", "https://b/"),
            ("a/blog", "https://b", "/blog?q", "https://b/?q"),
            ("a/blog", "https://b/news", "/blog/1", "https://b/news/1"),
            ("a/old", "/new", "/old/x?y", "/new/x?y"),
            ("a/old", "/", "/old", "/"),
            ("a", "https://b", "*", "https://b/"),
            ("*.test", "https://*", "/x?y", "https://asked.test/x?y"),
            ("*.test", "https://*:8443/base/", "/x", "https://asked.test:8443/base/x"),
            ("*.test/old", "https://*", "/old", "https://asked.test/"),
            ("a", "https://b/://*", "/x", "https://b/://*/x"),
            // What a client could try.
            ("a", "https://b", "//evil.example", "https://b//evil.example"),
            ("a", "https://b", "/@evil.example", "https://b/@evil.example"),
            ("a/old", "/", "/old//evil.example", "/evil.example"),
            ("a/old", "/", "/old/\\evil.example", "/evil.example"),
            ("a/old", "/", "//old//\\/evil.example", "/evil.example"),
            ("a", "/", "//evil.example", "/evil.example"),
        ] {
            assert_eq!(location(key, &wire(to), target), expected, "{key} {to} {target}");
        }
        let neither = wire::Redirect { keep_path: false, keep_query: false, ..wire("https://b") };
        assert_eq!(location("a", &neither, "/x?y"), "https://b/");
        let query = wire::Redirect { keep_path: false, ..wire("https://b/soon") };
        assert_eq!(location("a", &query, "/x?y"), "https://b/soon?y");
        let own = wire::Redirect { to: "https://b/?gone#top".into(), ..neither };
        assert_eq!(location("a", &own, "/x?y"), "https://b/?gone#top");
    }

    #[test]
    fn odd_places_are_told() {
        let refused = |wire: &wire::Redirect| Redirect::new(&Key::parse("a").unwrap(), wire);
        for bad in [
            "",
            "b",
            "//b",
            "https://",
            "https:///x",
            "https://u@b",
            "https://b?x",
            "https://*.b",
            "https://**",
            "https://*:x",
            "https://b/\\x",
            "ftp://b",
            "javascript:x",
            "https://b\r\nX: y",
            "https://b/\u{e4}",
        ] {
            let error = refused(&wire(bad)).unwrap_err();
            assert_eq!(error, [NotARedirect::To(bad.into())], "{bad}");
        }
        let error = refused(&wire("https://b/?x")).unwrap_err();
        assert_eq!(error, [NotARedirect::Query("https://b/?x".into())]);
        let both = wire::Redirect { status: 200, ..wire("b") };
        assert_eq!(refused(&both).unwrap_err().len(), 2);
    }

    proptest! {
        #[test]
        fn the_host_is_the_configs(
            rest in "(/|\\\\|\\.|%2e|@|:|evil\\.example|\\?|a){0,10}",
            to in "(https://b|https://b/|https://b/base|/|/new)",
            key in "(a|a/old)",
        ) {
            let prefix = if key == "a" { "" } else { "/old" };
            let place = location(&key, &wire(&to), &format!("{prefix}/{rest}"));
            if let Some(host) = to.strip_prefix("https://") {
                let host = host.split('/').next().unwrap();
                let expected = format!("https://{host}/");
                prop_assert!(place.starts_with(&expected), "{}", place);
            } else {
                prop_assert!(place.starts_with('/'));
                prop_assert!(!place.starts_with("//") && !place.starts_with("/\\"), "{}", place);
            }
        }
    }
}
