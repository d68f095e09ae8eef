//! Another path for the service than the one the client asked for: the route's prefix is replaced,
//! the rest and the query stay as they came.

use std::borrow::Cow;

use proxyd_wire as wire;
use thiserror::Error;

use crate::path;
use crate::route::{Key, parse_prefix};

/// What becomes of a path below a route's prefix.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rewrite {
    /// How many steps the prefix has.
    steps: usize,
    /// What stands there instead, without a slash at its end.
    to: String,
    /// The field that tells the service what it does not see, if it is more than `/`.
    told: Vec<u8>,
}

/// What cannot be rewritten so.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotARewrite {
    #[error(
        "rewrite is `{0}`: write a path from a `/` on, such as / or /v2, in visible ASCII without \
         `?`, `#`, `//` and `.` or `..` as a step"
    )]
    Path(String),
    #[error("strip_prefix says what `rewrite` says with `/`: remove one of the two")]
    Twice,
}

impl NotARewrite {
    pub(crate) fn key(&self) -> &'static str {
        match self {
            NotARewrite::Path(_) => "rewrite",
            NotARewrite::Twice => "strip_prefix",
        }
    }
}

impl Rewrite {
    pub(crate) fn new(key: &Key, wire: &wire::Route) -> Result<Option<Rewrite>, Vec<NotARewrite>> {
        let to = match (&wire.rewrite, wire.strip_prefix) {
            (Some(_), true) => return Err(vec![NotARewrite::Twice]),
            (None, false) => return Ok(None),
            (Some(to), false) => to.as_str(),
            (None, true) => "/",
        };
        let wrong = || vec![NotARewrite::Path(to.chars().take(200).collect())];
        if !to.starts_with('/') {
            return Err(wrong());
        }
        // Passed on as it is written: a prefix is kept in another spelling.
        parse_prefix(to).map_err(|_| wrong())?;
        let to = to.strip_suffix('/').unwrap_or(to).to_owned();
        let told = match key.prefix.as_str() {
            "/" => Vec::new(),
            prefix => format!("X-Forwarded-Prefix: {prefix}\r\n").into_bytes(),
        };
        Ok(Some(Rewrite { steps: key.steps(), to, told }))
    }

    /// The target to ask for.
    pub(crate) fn target<'a>(&self, target: &'a [u8]) -> Cow<'a, [u8]> {
        let (path, query) = path::split(target);
        if !path.starts_with(b"/") {
            // `OPTIONS *` asks for no path.
            return Cow::Borrowed(target);
        }
        let below = path::below(path, self.steps);
        let mut out = Vec::with_capacity(self.to.len() + below.len() + query.len() + 1);
        out.extend_from_slice(self.to.as_bytes());
        out.extend_from_slice(&below);
        if out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(query);
        Cow::Owned(out)
    }

    /// A whole line, or nothing.
    pub(crate) fn told(&self) -> &[u8] {
        &self.told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite(key: &str, to: &str) -> Rewrite {
        let wire = wire::Route { rewrite: Some(to.to_owned()), ..wire::Route::to("s") };
        Rewrite::new(&Key::parse(key).unwrap(), &wire).unwrap().unwrap()
    }

    #[test]
    fn prefixes_are_replaced() {
        for (key, to, target, expected) in [
            ("a/api", "/", "/api", "/"),
            ("a/api", "/", "/api/", "/"),
            ("a/api", "/", "/api?x=/y", "/?x=/y"),
            ("a/api", "/", "/api/x?y", "/x?y"),
            ("a/api", "/", "/api//evil.example", "/evil.example"),
            ("a/api", "/", "//api//evil.example", "/evil.example"),
            ("a/api", "/v2", "/api", "/v2"),
            ("a/api", "/v2/", "/api/x%2Fy", "/v2/x%2Fy"),
            ("a/api", "/", "/x/../%61pi/../api/y", "/y"),
            ("a", "/app", "/", "/app/"),
            ("a", "/app", "//x", "/app/x"),
            ("a/api/v1", "/", "/api/v1/x", "/x"),
            ("a", "/", "*", "*"),
        ] {
            let asked = rewrite(key, to).target(target.as_bytes()).into_owned();
            assert_eq!(String::from_utf8(asked).unwrap(), expected, "{key} {to} {target}");
        }
        assert_eq!(rewrite("a/api", "/").told(), b"X-Forwarded-Prefix: /api\r\n");
        assert_eq!(rewrite("a", "/v").told(), b"");
    }

    #[test]
    fn what_is_no_path_is_told() {
        for bad in ["", "v2", "//v2", "/v2?x", "/../x", "/a b", "https://x"] {
            let wire = wire::Route { rewrite: Some(bad.into()), ..wire::Route::to("s") };
            let error = Rewrite::new(&Key::parse("a").unwrap(), &wire).unwrap_err();
            assert_eq!(error, [NotARewrite::Path(bad.into())], "{bad}");
        }
        let wire =
            wire::Route { rewrite: Some("/".into()), strip_prefix: true, ..wire::Route::to("s") };
        let error = Rewrite::new(&Key::parse("a").unwrap(), &wire).unwrap_err();
        assert_eq!(error, [NotARewrite::Twice]);
    }

    proptest! {
        #[test]
        fn always_a_path(
            rest in "(/|\\.|%2e|a|\\\\|%5c|b){0,12}",
            query in "(\\?[a/?]{0,4})?",
            to in "(/|/v|/v/w)",
        ) {
            let target = format!("/api/{rest}{query}");
            let asked = rewrite("a/api", &to).target(target.as_bytes()).into_owned();
            let asked = String::from_utf8(asked).unwrap();
            prop_assert!(asked.starts_with('/') && !asked.starts_with("//"), "{}", asked);
            prop_assert!(asked.ends_with(&query));
        }
    }
}
