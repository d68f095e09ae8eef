//! Numbers for requests, so that a line in one log finds its fellows in others.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

/// A worker's own source of them.
#[derive(Debug)]
pub(crate) struct Ids {
    /// The same in all numbers of a worker, and in no other's.
    worker: u64,
    last: Cell<u64>,
    key: u64,
}

impl Ids {
    pub(crate) fn new() -> Ids {
        // The standard library's hashers are keyed by the system's random numbers.
        let random = || RandomState::new().build_hasher().finish();
        Ids { worker: random(), last: Cell::new(0), key: random() }
    }

    /// 32 hexadecimal digits that were not there before. They do not tell how many were.
    pub(crate) fn next(&self) -> Vec<u8> {
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        let mut id = Vec::with_capacity(32);
        // Writing to memory does not fail.
        let _ = write!(id, "{:016x}{:016x}", self.worker, scatter(number ^ self.key));
        id
    }
}

/// One to one, so that what was different stays so.
fn scatter(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Whether one that came from elsewhere is fit to be passed on.
pub(crate) fn is_fit(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn none_is_given_twice() {
        let workers = [Ids::new(), Ids::new()];
        let all: HashSet<Vec<u8>> = (0..20_000).map(|n| workers[n % 2].next()).collect();
        assert_eq!(all.len(), 20_000);
        assert!(all.iter().all(|id| id.len() == 32 && is_fit(id)));
    }

    #[test]
    fn what_is_fit() {
        assert!(is_fit(b"7f-x") && is_fit(&[b'a'; 128]));
        for bad in [&b""[..], b"a b", b"a\tb", b"\xff", &[b'a'; 129]] {
            assert!(!is_fit(bad), "{bad:?}");
        }
    }
}
