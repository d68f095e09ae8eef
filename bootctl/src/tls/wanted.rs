//! What the proxy is to know of TLS. Compared as a whole with what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxyd_wire as wire;

use super::Pair;

/// It.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tls {
    pub(crate) settings: wire::Tls,
    /// By name.
    pub(crate) certificates: BTreeMap<String, Arc<Pair>>,
    /// Certificates that are left as they are: it is not known what becomes of them.
    pub(crate) kept: BTreeSet<String>,
    /// What sessions are resumed by, if there is anything to make it of.
    pub(crate) tickets: Option<Arc<Tickets>>,
    /// Those that the proxy is to obtain.
    pub(crate) acme: wire::Acme,
    /// Who can come by https.
    pub(crate) coverage: Coverage,
}

/// A secret, and what the proxy tells it by from others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tickets {
    pub(crate) secret: wire::Tickets,
    pub(crate) name: String,
}

/// Hosts for which there is a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    exact: BTreeSet<String>,
    /// By what is behind the first label.
    wild: BTreeSet<String>,
}

impl Coverage {
    /// Of certificates that are made out to these names.
    pub(crate) fn of<S: AsRef<str>>(names: impl Iterator<Item = S>) -> Self {
        let mut coverage = Self::default();
        for name in names {
            let name = name.as_ref();
            match name.strip_prefix("*.") {
                Some(domain) => coverage.wild.insert(domain.to_owned()),
                None => coverage.exact.insert(name.to_owned()),
            };
        }
        coverage
    }

    /// Whether a host is among them.
    pub(crate) fn has(&self, host: &str) -> bool {
        let domain = host.split_once('.').map(|(_, domain)| domain);
        self.exact.contains(host) || domain.is_some_and(|domain| self.wild.contains(domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o21_a_wildcard_is_for_one_label() {
        let coverage = Coverage::of(["a.test", "*.b.test"].iter());
        for (host, is_there) in [
            ("a.test", true),
            ("www.a.test", false),
            ("b.test", false),
            ("www.b.test", true),
            ("x.www.b.test", false),
            ("test", false),
        ] {
            assert_eq!(coverage.has(host), is_there, "{host}");
        }
    }
}
