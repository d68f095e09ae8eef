//! All routes and what answers for each, in one consistent picture that never changes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::acme::Proofs;
use crate::front::Front;
use crate::path;
use crate::route::Route;
use crate::service::Service;
use crate::tls::Tls;

/// A route, and the service that it names if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) route: Arc<Route>,
    pub(crate) service: Option<Arc<Service>>,
}

/// A host.
#[derive(Clone, Debug)]
struct Site {
    entries: Range<usize>,
    /// One of its routes is for part of its paths only, or replaces their beginning: then it matters how
    /// a path is understood.
    reads_paths: bool,
}

/// Why there is no entry for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    Unknown,
    /// Servers could understand the path differently, and so go around the rules of a prefix.
    Ambiguous,
}

/// The picture of one version of the state.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) version: u64,
    pub(crate) front: Arc<Front>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) proofs: Arc<Proofs>,
    /// By host; those of a host are neighbours, each before those that its prefix begins.
    entries: Vec<Entry>,
    sites: HashMap<Box<[u8]>, Site, RandomState>,
    has_wildcards: bool,
    /// The numbers of all live targets, of services without a route, too.
    pub(crate) live: HashSet<u64>,
}

impl Table {
    /// From routes in the order of their keys.
    pub(crate) fn new(version: u64, entries: Vec<Entry>, live: HashSet<u64>) -> Table {
        let mut sites: HashMap<Box<[u8]>, Site, RandomState> = HashMap::default();
        for (at, entry) in entries.iter().enumerate() {
            let key = &entry.route.key;
            let site = Site { entries: at..at + 1, reads_paths: false };
            let site = sites.entry(key.host.as_bytes().into()).or_insert(site);
            site.entries.end = at + 1;
            site.reads_paths |= key.prefix != "/" || entry.route.rewrites();
        }
        let has_wildcards = sites.keys().any(|host| host.starts_with(b"*"));
        Table { version, entries, sites, has_wildcards, live, ..Table::default() }
    }

    /// Which entry is for a request: of the most particular host the longest prefix.
    pub(crate) fn find(&self, host: &[u8], target: &[u8]) -> Result<usize, NotFound> {
        let site = match self.sites.get(host) {
            Some(site) => Some(site),
            None if self.has_wildcards => self.wildcard(host),
            None => None,
        };
        let site = site.ok_or(NotFound::Unknown)?;
        if !site.reads_paths {
            return Ok(site.entries.start);
        }
        let (path, _) = path::split(target);
        let path = path::spelling(path).map_err(|path::Ambiguous| NotFound::Ambiguous)?;
        let covers = |at: &usize| self.entry(*at).is_some_and(|e| e.route.key.covers(&path));
        site.entries.clone().rev().find(covers).ok_or(NotFound::Unknown)
    }

    fn wildcard(&self, host: &[u8]) -> Option<&Site> {
        let dots = host.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let domains = dots.filter_map(|(at, _)| host.get(at..));
        let wild = |domain: &[u8]| self.sites.get([b"*", domain].concat().as_slice());
        domains.into_iter().find_map(wild).or_else(|| self.sites.get(b"*".as_slice()))
    }

    pub(crate) fn serves_files(&self) -> bool {
        self.entries.iter().any(|entry| entry.route.wire.files.is_some())
    }

    pub(crate) fn entry(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }
}

#[cfg(test)]
mod tests {
    use proxyd_wire as wire;

    use super::*;
    use crate::route::Key;

    #[test]
    fn the_most_particular_host_then_the_longest_prefix() {
        let mut keys: Vec<Key> = [
            "a.test",
            "a.test/api",
            "a.test/api/v1",
            "a.test/apis",
            "*.test",
            "*.b.test/x",
            "[::1]",
            "*",
        ]
        .map(|key| Key::parse(key).unwrap())
        .into();
        keys.sort();
        let entry = |key: &Key| Entry {
            route: Arc::new(Route::new(key.clone(), wire::Route::to("s")).unwrap()),
            service: None,
        };
        let table = Table::new(1, keys.iter().map(entry).collect(), HashSet::new());
        let find = |host: &str, path: &str| {
            let found = table.find(host.as_bytes(), path.as_bytes());
            found.map(|at| table.entries[at].route.key.to_string())
        };
        for (host, path, found) in [
            ("a.test", "/", "a.test"),
            ("a.test", "/api", "a.test/api"),
            ("a.test", "/api/v2", "a.test/api"),
            ("a.test", "/api/v1?q", "a.test/api/v1"),
            ("a.test", "/apis/v1", "a.test/apis"),
            ("a.test", "/apiss", "a.test"),
            ("a.test", "/x/../api", "a.test/api"),
            ("a.test", "/%61pi/x", "a.test/api"),
            ("a.test", "//api?/../x", "a.test/api"),
            ("a.test", "/api/%2e%2e/x", "a.test"),
            ("a.test", "/api%2Fv1", "a.test"),
            ("a.test", "*", "a.test"),
            ("c.test", "/", "*.test"),
            ("d.c.test", "/", "*.test"),
            ("d.b.test", "/x/y", "*.b.test/x"),
            ("test", "/", "*"),
            ("[::1]", "/", "[::1]"),
        ] {
            assert_eq!(find(host, path).as_deref(), Ok(found), "{host}{path}");
        }
        assert_eq!(find("d.b.test", "/y"), Err(NotFound::Unknown), "the host decides first");
        assert_eq!(find("a.test", "/a//../api"), Err(NotFound::Ambiguous));
        assert_eq!(find("c.test", "/a//../api").as_deref(), Ok("*.test"), "it has no prefixes");
        // `/in//../../out` is within `/in` to one reader, and `/out` to another.
        let within = wire::Route { rewrite: Some("/in".to_owned()), ..wire::Route::to("s") };
        let route = Arc::new(Route::new(Key::parse("r.test").unwrap(), within).unwrap());
        let table = Table::new(2, vec![Entry { route, service: None }], HashSet::new());
        assert_eq!(table.find(b"r.test", b"//../../out"), Err(NotFound::Ambiguous));
        assert_eq!(table.find(b"r.test", b"/../out"), Ok(0));
    }
}
