//! The token that init's API wants to see where init was started with some.

use std::io;
use std::path::PathBuf;

use http::HeaderValue;
use tracing::error;

/// A token that gives full control, never shown.
pub(crate) struct Token(HeaderValue);

/// Why there is none, although there should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("cannot read init's token file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("init's token file {} has no line `TOKEN control`", path.display())]
    NoControl { path: PathBuf },
}

impl Token {
    /// The first one that may do all, of the file that init names in `INIT_TOKEN_FILE`.
    pub(crate) fn of_init() -> Result<Option<Self>, TokenError> {
        Self::of_init_or(None)
    }

    /// The same, else of `other`, which somebody has named who may have been mistaken: then it is told, and there is none.
    pub(crate) fn of_init_or(other: Option<PathBuf>) -> Result<Option<Self>, TokenError> {
        if let Some(named) = std::env::var_os("INIT_TOKEN_FILE") {
            return Self::read(named.into()).map(Some);
        }
        let token = other.and_then(|path| {
            Self::read(path).inspect_err(|error| error!("bootctl.token: {error}; ignored")).ok()
        });
        Ok(token)
    }

    fn read(path: PathBuf) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| TokenError::Unreadable { path: path.clone(), source })?;
        Self::first(&text).ok_or(TokenError::NoControl { path })
    }

    fn first(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let mut pairs = lines.filter_map(|line| line.split_once(char::is_whitespace));
        let (token, _) = pairs.find(|(_, right)| right.trim() == "control")?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// What `Authorization` is to be.
    pub(crate) fn authorization(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b25_the_first_token_with_full_control_is_taken() {
        let token =
            Token::first("# a control\nb read\nc\td read\n  e   control \nf control").unwrap();
        assert_eq!(token.authorization(), "Bearer e");
        assert!(token.authorization().is_sensitive(), "it shows in no log");
        assert!(Token::first("a read\n").is_none());
    }
}
