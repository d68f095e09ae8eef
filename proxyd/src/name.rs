//! Names of services and targets.

use thiserror::Error;

/// `[A-Za-z0-9._-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(String);

/// A name that is none.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a name: use 1 to 128 letters, digits, dots, underscores and hyphens")]
pub(crate) struct NotAName(String);

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Name, NotAName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Name(text.to_owned()))
        } else {
            Err(NotAName(text.chars().take(200).collect()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
