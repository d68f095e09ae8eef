//! Names that certificates are made out to.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A name of at least two labels, in lower case, without a dot at its end; perhaps `*.` before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Domain(String);

/// A name that no authority makes a certificate out to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a name that a certificate can be obtained for: write one with a domain, such as \
     shop.example, or *.shop.example for all names beside it; others than ASCII as punycode (xn--…)"
)]
pub(crate) struct NotADomain(String);

impl Domain {
    pub(crate) fn parse(text: &str) -> Result<Domain, NotADomain> {
        let not = || NotADomain(text.chars().take(260).collect());
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let plain = name.strip_prefix("*.").unwrap_or(&name);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last = plain.rsplit('.').next().unwrap_or_default();
        // The last label of an address is a number, and that of a name never.
        let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
        if name.len() <= 253 && plain.contains('.') && plain.split('.').all(is_label) && !is_address
        {
            Ok(Domain(name))
        } else {
            Err(not())
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for all names beside it.
    pub(crate) fn is_wild(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Without `*.`: what is proved.
    pub(crate) fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }
}

impl Display for Domain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Domain {
    type Error = NotADomain;

    fn try_from(text: String) -> Result<Domain, NotADomain> {
        Domain::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_name() {
        for (text, name) in [
            ("Shop.Example", "shop.example"),
            ("shop.example.", "shop.example"),
            ("*.shop.example", "*.shop.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a_b.1.example", "a_b.1.example"),
        ] {
            assert_eq!(Domain::parse(text).unwrap().as_str(), name);
        }
        for text in [
            "",
            ".",
            "localhost",
            "10.0.0.1",
            "[::1]",
            "*",
            "*.",
            "*.*.a.b",
            "a.*.b",
            "a..b",
            "-a.b",
            "a-.b",
            "bücher.example",
            "a b.c",
            "a.b/c",
            "a.b:443",
            "../a.b",
        ] {
            assert!(Domain::parse(text).is_err(), "{text}");
        }
        assert!(Domain::parse(&format!("{}.example", "a".repeat(64))).is_err());
        assert!(Domain::parse(&format!("{}example", "a.".repeat(130))).is_err());
    }
}
