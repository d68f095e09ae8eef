//! What is answered at `/.well-known/acme-challenge/` (RFC 8555, 8.3), before any route is asked.
//!
//! All of an account's answers end in the same: its thumbprint. So a token that only another generation
//! of this proxy knows, or one that has ended, is answered all the same. That is worth nothing to whoever
//! does not have the account's key.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::domain::Domain;

const PREFIX: &[u8] = b"/.well-known/acme-challenge/";
/// A longer token is none.
const TOKEN: usize = 128;

/// Tokens of orders that are under way, and for which hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    hosts: Arc<HashSet<Box<str>, RandomState>>,
    /// The whole answer, by token.
    tokens: Arc<BTreeMap<String, String>>,
    thumbprint: Option<Arc<str>>,
}

impl Proofs {
    /// For these names, and no others.
    pub(crate) fn set_hosts<'a>(&mut self, names: impl Iterator<Item = &'a Domain>) {
        let plain = names.filter(|name| !name.is_wild());
        self.hosts = Arc::new(plain.map(|name| name.as_str().into()).collect());
    }

    pub(crate) fn set_thumbprint(&mut self, thumbprint: &str) {
        self.thumbprint = Some(thumbprint.into());
    }

    pub(crate) fn put(&mut self, token: &str, answer: &str) {
        Arc::make_mut(&mut self.tokens).insert(token.to_owned(), answer.to_owned());
    }

    pub(crate) fn remove(&mut self, token: &str) {
        Arc::make_mut(&mut self.tokens).remove(token);
    }

    /// Whether a request asks for a proof; it is a look at two bytes for those that do not.
    pub(crate) fn may_be_asked_by(target: &[u8]) -> bool {
        matches!(target, [b'/', b'.', ..]) && target.starts_with(PREFIX)
    }

    /// The answer to whom a host was asked for it, in lower case. `None`: it is not ours to answer.
    pub(crate) fn answer(&self, host: &[u8], target: &[u8]) -> Option<String> {
        let host = std::str::from_utf8(host).ok()?;
        if !self.hosts.contains(host) {
            return None;
        }
        let token = std::str::from_utf8(target.strip_prefix(PREFIX)?).ok()?;
        let token = token.split('?').next().unwrap_or_default();
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=TOKEN).contains(&token.len()) || !token.bytes().all(is_allowed) {
            return None;
        }
        if let Some(answer) = self.tokens.get(token) {
            return Some(answer.clone());
        }
        self.thumbprint.as_ref().map(|thumbprint| format!("{token}.{thumbprint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_answered_what() {
        let mut proofs = Proofs::default();
        let names = ["a.test", "*.w.test"].map(|name| Domain::parse(name).unwrap());
        proofs.set_hosts(names.iter());
        proofs.put("t-1_x", "t-1_x.own");
        let ask = |proofs: &Proofs, host: &str, target: &str| {
            assert_eq!(
                Proofs::may_be_asked_by(target.as_bytes()),
                target.starts_with("/.well-known/acme")
            );
            proofs.answer(host.as_bytes(), target.as_bytes())
        };
        let path = |token: &str| format!("/.well-known/acme-challenge/{token}");
        assert_eq!(ask(&proofs, "a.test", &path("t-1_x")).as_deref(), Some("t-1_x.own"));
        assert_eq!(ask(&proofs, "a.test", &path("t-1_x?q=1")).as_deref(), Some("t-1_x.own"));
        assert_eq!(ask(&proofs, "a.test", &path("other")), None);
        proofs.set_thumbprint("print");
        assert_eq!(ask(&proofs, "a.test", &path("other")).as_deref(), Some("other.print"));
        for (host, token) in [("b.test", "t-1_x"), ("x.w.test", "t-1_x"), ("*.w.test", "t-1_x")] {
            assert_eq!(ask(&proofs, host, &path(token)), None, "{host}");
        }
        for token in ["", "a/b", "a.b", "<b>", "%61", &"a".repeat(129)] {
            assert_eq!(ask(&proofs, "a.test", &path(token)), None, "{token}");
        }
        assert_eq!(ask(&proofs, "a.test", "/.well-known/other"), None);
        proofs.remove("t-1_x");
        assert_eq!(ask(&proofs, "a.test", &path("t-1_x")).as_deref(), Some("t-1_x.print"));
    }
}
