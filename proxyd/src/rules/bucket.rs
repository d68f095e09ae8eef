//! A bucket of tokens, as one number: the time at which it will be full again.
//!
//! It holds `burst` tokens and gets one back each `interval`. A request takes one, which moves that
//! time by an interval; it may come while the bucket is not empty, which is while that time is less
//! than a burst of intervals away. A bucket that nobody remembers is a full one.

use std::time::Duration;

/// How fast a bucket fills, and how much it holds. Times are nanoseconds since some beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    interval: u64,
    /// All intervals but one: how far away the time may be for another token to be there.
    depth: u64,
}

impl Bucket {
    /// `requests` in `per_s` seconds and `burst` at once; each is at least 1.
    pub(super) fn new(requests: u32, per_s: u32, burst: u32) -> Bucket {
        let per = u64::from(per_s.max(1)) * 1_000_000_000;
        let interval = (per / u64::from(requests.max(1))).max(1);
        Bucket { interval, depth: interval.saturating_mul(u64::from(burst.max(1)) - 1) }
    }

    /// Takes a token from the bucket that is full at `full`: when it is full then. An error is the time
    /// until there is one to take.
    pub(super) fn take(self, full: u64, now: u64) -> Result<u64, Duration> {
        let full = full.max(now);
        match (full - now).checked_sub(self.depth) {
            None | Some(0) => Ok(full.saturating_add(self.interval)),
            Some(early) => Err(Duration::from_nanos(early)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_then_the_rate() {
        let bucket = Bucket::new(2, 1, 3);
        let mut full = 0;
        for _ in 0..3 {
            full = bucket.take(full, SECOND).unwrap();
        }
        assert_eq!(bucket.take(full, SECOND), Err(Duration::from_millis(500)));
        full = bucket.take(full, SECOND + SECOND / 2).unwrap();
        assert!(bucket.take(full, SECOND + SECOND / 2).is_err());
        // After a long time it holds the burst, and no more.
        let full = (0..3).fold(full, |full, _| bucket.take(full, 100 * SECOND).unwrap());
        assert!(bucket.take(full, 100 * SECOND).is_err());
    }

    proptest! {
        /// Whenever requests come: in no stretch of time are more let through than the burst and what
        /// comes back in it, and who waits as long as he was told is let through.
        #[test]
        fn never_more_than_promised(
            requests in 1..50_u32, per_s in 1..5_u32, burst in 1..20_u32,
            gaps in proptest::collection::vec(0..SECOND / 2, 1..200),
        ) {
            let bucket = Bucket::new(requests, per_s, burst);
            let (mut now, mut full) = (SECOND, 0);
            let mut passed = Vec::new();
            for gap in gaps {
                now += gap;
                match bucket.take(full, now) {
                    Ok(next) => {
                        full = next;
                        passed.push(now);
                    }
                    Err(wait) => {
                        let then = now + u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert!(wait > Duration::ZERO && bucket.take(full, then).is_ok());
                        prop_assert!(bucket.take(full, then - 1).is_err());
                    }
                }
            }
            for (at, from) in passed.iter().enumerate() {
                for (more, to) in passed[at..].iter().enumerate() {
                    let back = (to - from) / bucket.interval;
                    prop_assert!((more as u64) < u64::from(burst) + back);
                }
            }
        }
    }
}
