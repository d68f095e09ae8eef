//! A token: `bootctl_` and 256 random bits in base64url. What is kept is its SHA-256: of so many random bits
//! nobody finds the beginning, so there is no need to make it slow.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

/// What all of them begin with: whoever finds one in a place where it should not be knows what it is.
const HEAD: &str = "bootctl_";
const BYTES: usize = 32;

/// A token as its owner has it. Never shown but once.
pub(crate) struct Secret([u8; BYTES]);

/// What is kept of it.
#[derive(Clone, Debug)]
pub(crate) struct Seal([u8; BYTES]);

/// The kernel gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the kernel gives no random bytes, so no token was made")]
pub(crate) struct NoRandom;

impl Secret {
    pub(crate) fn generate() -> Result<Self, NoRandom> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
        Ok(Self(bytes))
    }

    /// What somebody shows, if it can be one at all.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(HEAD)?).ok()?;
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn text(&self) -> String {
        format!("{HEAD}{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    pub(crate) fn seal(&self) -> Seal {
        let mut seal = [0; BYTES];
        // Both have the length of the hash.
        seal.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        Seal(seal)
    }
}

impl Seal {
    /// Takes the same time wherever the two differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z10_a_token_has_256_bits_and_no_two_are_the_same() {
        let (one, other) =
            (Secret::generate().expect("random"), Secret::generate().expect("random"));
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), HEAD.len() + 43);
        let read = Secret::parse(&one.text()).expect("it is one");
        assert!(read.seal().is(&one.seal()) && !read.seal().is(&other.seal()));
        let kept = Seal::parse(&one.seal().text()).expect("it is one");
        assert!(kept.is(&one.seal()));
    }

    #[test]
    fn z10_what_is_empty_or_short_or_somebodys_default_is_no_token() {
        let good = Secret::generate().expect("random").text();
        let (short, long) = (&good[..good.len() - 1], format!("{good}A"));
        for text in ["", "bootctl_", "changeme", "token", "Bearer", short, &long, &good[8..]] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
    }
}
