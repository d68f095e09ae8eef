//! Who may do what: by the user that owns the other end of a connection, or by a token.
//!
//! Root and the user that init runs as may do all. Others may as far as they are granted it by user
//! id, or show a token. Where containers share a network, and with it the loopback, user ids mean
//! little; there tokens can be insisted on.

use std::sync::Arc;

use crate::token::Tokens;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look.
    Read,
    /// All.
    Control,
}

impl Right {
    /// From `read` or `control`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Self::Read),
            "control" => Some(Self::Control),
            _ => None,
        }
    }
}

/// The rules of an init.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// init's own user id.
    pub own: u32,
    /// The id that stands for everybody who has none in init's user namespace. It tells nobody
    /// from anybody, so it gives no right, even if it is init's own.
    pub unmapped: Option<u32>,
    /// Rights by user id.
    pub grants: Vec<(u32, Right)>,
    /// Rights by token, if there are tokens.
    pub tokens: Option<Arc<Tokens>>,
    /// Whether everybody must show a token.
    pub insists: bool,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It shows no token, or one that is none.
    NoToken,
    /// Its right is not enough.
    ReadOnly,
    /// Its user has no right at all.
    Stranger,
}

impl Access {
    /// Whether a user is served before others, and without bounds of his own.
    #[must_use]
    pub fn is_privileged(&self, user: u32) -> bool {
        (user == 0 || user == self.own) && self.unmapped != Some(user)
    }

    /// Whether a user's connection is worth listening to.
    #[must_use]
    pub fn may_speak(&self, user: u32) -> bool {
        self.tokens.is_some() || self.right_of(user).is_some()
    }

    /// Judges a request by its user, the token it shows, and what it wants.
    pub fn judge(&self, user: u32, shown: Option<&[u8]>, wanted: Right) -> Result<(), Denied> {
        let by_user = self.right_of(user).filter(|_| !self.insists);
        let right = match (&self.tokens, shown) {
            // Who shows a token means it: a wrong one is not made up for.
            (Some(tokens), Some(shown)) => {
                let by_token = tokens.right_of(bearer(shown).ok_or(Denied::NoToken)?);
                by_user.max(Some(by_token.ok_or(Denied::NoToken)?))
            }
            (Some(_), None) => Some(by_user.ok_or(Denied::NoToken)?),
            (None, _) => by_user,
        };
        match right {
            Some(right) if right >= wanted => Ok(()),
            Some(_) => Err(Denied::ReadOnly),
            None => Err(Denied::Stranger),
        }
    }

    fn right_of(&self, user: u32) -> Option<Right> {
        if self.is_privileged(user) {
            return Some(Right::Control);
        }
        if self.unmapped == Some(user) {
            return None;
        }
        self.grants.iter().filter(|(granted, _)| *granted == user).map(|(_, right)| *right).max()
    }
}

/// The token of an `Authorization` header.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: &str = "0123456789abcdef";
    const CONTROLS: &str = "fedcba9876543210";

    fn access(insists: bool) -> Access {
        let tokens = Tokens::parse(&format!("{READS} read\n{CONTROLS} control\n")).unwrap();
        let grants = vec![(5, Right::Read), (6, Right::Control)];
        Access { own: 7, unmapped: None, grants, tokens: Some(Arc::new(tokens)), insists }
    }

    fn judge(access: &Access, user: u32, token: &str, wanted: Right) -> Result<(), Denied> {
        let shown = format!("Bearer {token}");
        access.judge(user, (!token.is_empty()).then_some(shown.as_bytes()), wanted)
    }

    #[test]
    fn b25_users_have_what_they_are_granted() {
        let access = Access { tokens: None, ..access(false) };
        for user in [0, 6, 7] {
            assert_eq!(access.judge(user, None, Right::Control), Ok(()), "{user}");
        }
        assert_eq!(access.judge(5, None, Right::Read), Ok(()));
        assert_eq!(access.judge(5, None, Right::Control), Err(Denied::ReadOnly));
        assert_eq!(access.judge(8, None, Right::Read), Err(Denied::Stranger));
        assert!(!access.may_speak(8) && access.may_speak(5));
    }

    #[test]
    fn b25_who_has_no_id_here_has_no_right() {
        let access = Access { own: 6, unmapped: Some(6), tokens: None, ..access(false) };
        assert!(!access.may_speak(6) && access.may_speak(5) && access.may_speak(0));
        assert_eq!(access.judge(6, None, Right::Read), Err(Denied::Stranger));
    }

    #[test]
    fn b25_tokens_give_rights_to_anybody() {
        let access = access(false);
        assert_eq!(judge(&access, 8, READS, Right::Read), Ok(()));
        assert_eq!(judge(&access, 8, READS, Right::Control), Err(Denied::ReadOnly));
        assert_eq!(judge(&access, 8, CONTROLS, Right::Control), Ok(()));
        for bad in ["", "wrong", "0123456789abcde", "0123456789abcdefg", " "] {
            assert_eq!(judge(&access, 8, bad, Right::Read), Err(Denied::NoToken), "{bad:?}");
        }
        // A user's own right is not less for a lesser token, but a wrong one is an error.
        assert_eq!(judge(&access, 0, READS, Right::Control), Ok(()));
        assert_eq!(judge(&access, 0, "wrong", Right::Read), Err(Denied::NoToken));
        assert_eq!(access.judge(8, Some(b"Basic eDp5"), Right::Read), Err(Denied::NoToken));
        assert_eq!(access.judge(8, Some(b"Bear"), Right::Read), Err(Denied::NoToken));
    }

    #[test]
    fn b25_tokens_can_be_insisted_on() {
        let access = access(true);
        assert_eq!(judge(&access, 0, "", Right::Read), Err(Denied::NoToken));
        assert_eq!(judge(&access, 0, READS, Right::Control), Err(Denied::ReadOnly));
        assert_eq!(judge(&access, 8, CONTROLS, Right::Control), Ok(()));
    }
}
