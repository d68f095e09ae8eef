//! Types of content that are worth compressing.

use thiserror::Error;

use crate::h1::syntax;
use crate::limits;

/// Those that are compressed where a route does not name others. What is packed already, such as most images, is not
/// among them.
const USUAL: [&str; 22] = [
    "text/*",
    "application/atom+xml",
    "application/geo+json",
    "application/graphql-response+json",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/rss+xml",
    "application/vnd.api+json",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/xhtml+xml",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// Events come one by one, and each at once.
const NEVER: &[u8] = b"text/event-stream";

/// A list of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Types(Vec<String>);

/// What is no such list.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAType {
    #[error(
        "`{0}` is no type of content: write one such as application/json, or text/* for all of a kind"
    )]
    Form(String),
    #[error("there are more than {} types: write fewer", limits::TYPES)]
    Many,
}

impl Types {
    pub(crate) fn usual() -> Types {
        Types(USUAL.map(str::to_owned).into())
    }

    /// An empty list means the usual ones.
    pub(crate) fn new(wire: &[String]) -> Result<Types, NotAType> {
        if wire.is_empty() {
            return Ok(Types::usual());
        }
        if wire.len() > limits::TYPES {
            return Err(NotAType::Many);
        }
        let one = |text: &String| {
            let (kind, sort) = text.split_once('/').unwrap_or_default();
            let is_token = |part: &str| {
                !part.is_empty() && part.bytes().all(syntax::is_token_byte) && !part.contains('*')
            };
            let good = is_token(kind) && (sort == "*" || is_token(sort)) && text.len() <= 128;
            let shown = || NotAType::Form(text.chars().take(200).collect());
            good.then(|| text.to_ascii_lowercase()).ok_or_else(shown)
        };
        wire.iter().map(one).collect::<Result<_, _>>().map(Types)
    }

    /// Whether a `Content-Type` is one of them, whatever is behind its `;`.
    pub(crate) fn has(&self, content_type: &[u8]) -> bool {
        let bare = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
        let bare = syntax::trim(bare);
        let is = |known: &String| match known.strip_suffix('*') {
            Some(kind) => bare
                .get(..kind.len())
                .is_some_and(|front| front.eq_ignore_ascii_case(kind.as_bytes())),
            None => bare.eq_ignore_ascii_case(known.as_bytes()),
        };
        !bare.eq_ignore_ascii_case(NEVER) && self.0.iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name_or_by_kind() {
        let types = Types::new(&["Application/JSON".into(), "text/*".into()]).unwrap();
        assert!(types.has(b"application/json") && types.has(b"application/json ; charset=x"));
        assert!(types.has(b"TEXT/plain") && types.has(b"text/html;x"));
        assert!(!types.has(b"text/event-stream") && !types.has(b"Text/Event-Stream; x"));
        assert!(!types.has(b"application/jsonp") && !types.has(b"texts/plain") && !types.has(b""));
        for bad in ["", "text", "text/", "/x", "*/*", "te*/x", "text/h*", "a b/c", "a/b;c"] {
            assert!(matches!(Types::new(&[bad.into()]), Err(NotAType::Form(_))), "{bad}");
        }
        assert_eq!(Types::new(&vec!["a/b".to_owned(); 101]), Err(NotAType::Many));
    }
}
