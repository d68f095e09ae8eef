//! Which certificate is for a name: found in two looks, however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::challenge::Challenges;

/// All certificates, by the names that they are for.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    exact: HashMap<Box<str>, Arc<Certificate>, RandomState>,
    /// By what is behind the first label.
    wild: HashMap<Box<str>, Arc<Certificate>, RandomState>,
    default: Option<Arc<Certificate>>,
    challenges: Challenges,
}

impl Shelf {
    pub(super) fn new<'a>(
        certificates: impl Iterator<Item = &'a Arc<Certificate>>,
        default: Option<Arc<Certificate>>,
        challenges: Challenges,
    ) -> Shelf {
        let mut shelf = Shelf { default, challenges, ..Shelf::default() };
        for certificate in certificates {
            for name in &certificate.names {
                let (place, name) = match name.strip_prefix("*.") {
                    Some(domain) => (&mut shelf.wild, domain),
                    None => (&mut shelf.exact, &**name),
                };
                match place.get_mut(name) {
                    Some(other) if other.not_after >= certificate.not_after => {}
                    Some(other) => *other = Arc::clone(certificate),
                    None => drop(place.insert(name.into(), Arc::clone(certificate))),
                }
            }
        }
        shelf
    }

    /// The certificate for a name in lower case: of that very name, or of all names beside it.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.exact.get(name).or_else(|| self.wild.get(name.split_once('.')?.1))
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        if Challenges::are_asked_by(&hello) {
            return self.challenges.find(name?);
        }
        let found = name.and_then(|name| self.find(name)).or(self.default.as_ref())?;
        Some(Arc::clone(&found.signed))
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::made;
    use super::*;

    fn shelf(certificates: &[&[&str]]) -> Shelf {
        let made: Vec<_> = certificates.iter().map(|names| Arc::new(made(names))).collect();
        Shelf::new(made.iter(), None, Challenges::default())
    }

    #[test]
    fn o21_the_very_name_then_the_wildcard_for_one_label() {
        let shelf = shelf(&[&["Shop.example", "www.shop.example"], &["*.shop.example"]]);
        for (name, found) in [
            ("shop.example", Some("shop.example")),
            ("shop.example.", Some("shop.example")),
            ("www.shop.example", Some("shop.example")),
            ("api.shop.example", Some("*.shop.example")),
            ("a.api.shop.example", None),
            (".shop.example", Some("*.shop.example")),
            ("example", None),
            ("", None),
            ("*.shop.example", Some("*.shop.example")),
        ] {
            let first = shelf.find(name).map(|certificate| &*certificate.names[0]);
            assert_eq!(first, found, "{name}");
        }
    }

    #[test]
    fn of_two_the_one_that_is_valid_for_longer() {
        let (mut short, mut long) = (made(&["a.test", "b.test"]), made(&["a.test"]));
        (short.not_after, long.not_after) = (1, 2);
        let (short, long) = (Arc::new(short), Arc::new(long));
        for order in [[&short, &long], [&long, &short]] {
            let shelf = Shelf::new(order.into_iter(), None, Challenges::default());
            assert!(Arc::ptr_eq(shelf.find("a.test").unwrap(), &long));
            assert!(Arc::ptr_eq(shelf.find("b.test").unwrap(), &short));
        }
    }
}
