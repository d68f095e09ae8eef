//! What proxyd's tests need: the process, a client that sends exact bytes, and backends.

pub mod answers;
mod backend;
mod client;
pub mod instructions;
mod judge;
pub mod lenient;
pub mod mint;
mod mutation;
pub mod pebble;
mod peer;
mod process;
mod secure;
pub mod strict;
pub mod strict_answer;
pub mod vectors;
pub mod websocket;

pub use backend::{Backend, Connection, Seen};
pub use client::{Answer, Client};
pub use judge::judge;
pub use mutation::Mutations;
pub use peer::Peer;
pub use process::{Proxyd, binary};
pub use secure::{Authority, Pair, SecureClient, Trust, alert};

use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Looks again and again until there is something to see.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A checksum that order and content of bytes change.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Bytes that look random and are the same for the same seed.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..count).map(|_| random.next().to_le_bytes()[0]).collect()
}

/// A small generator; the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
