//! How much of what brings no request nearer a client may send. Pure.
//!
//! Cancelling, asking whether we are there, changing settings: each of it is allowed, and each costs us
//! more than the client. So a client has an account of it, which grows with time and with what it is
//! served; who has used it up is told to calm down, and let go.

use tokio::time::Instant;

use crate::limits;

/// One connection's account.
#[derive(Debug)]
pub(super) struct Patience {
    left: u32,
    /// It has grown with time up to here.
    grown: Instant,
    /// Bytes that were taken and have not counted yet.
    taken: u32,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Patience {
        Patience { left: limits::H2_PATIENCE, grown: now, taken: 0 }
    }

    /// Takes something off. `false`: there was not enough.
    pub(super) fn spend(&mut self, cost: u32, now: impl FnOnce() -> Instant) -> bool {
        if self.left < cost {
            self.grow(now());
        }
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    /// The client has taken so many bytes of what it has asked for: that is worth frames of its own.
    pub(super) fn took(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = self.taken.saturating_add(bytes);
        self.taken = taken % limits::H2_BYTES_A_FRAME;
        self.add(taken / limits::H2_BYTES_A_FRAME);
    }

    fn grow(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.grown).as_millis();
        let more = passed.saturating_mul(u128::from(limits::H2_PATIENCE_RATE)) / 1000;
        if more > 0 {
            self.grown = now;
            self.add(u32::try_from(more).unwrap_or(u32::MAX));
        }
    }

    fn add(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(limits::H2_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_ends_and_comes_back_with_time() {
        let now = Instant::now();
        let mut patience = Patience::new(now);
        for _ in 0..limits::H2_PATIENCE {
            assert!(patience.spend(1, || now));
        }
        assert!(!patience.spend(1, || now));
        let later = now + Duration::from_secs(1);
        for _ in 0..limits::H2_PATIENCE_RATE {
            assert!(patience.spend(1, || later));
        }
        assert!(!patience.spend(1, || later));
    }

    #[test]
    fn who_takes_much_may_say_much() {
        let now = Instant::now();
        let mut patience = Patience::new(now);
        for _ in 0..100_000 {
            patience.took(limits::H2_BYTES_A_FRAME as usize);
            assert!(patience.spend(1, || now));
        }
    }

    proptest! {
        /// However it is spread, no more is spent than was there and has grown.
        #[test]
        fn never_more_than_there_is(costs in prop::collection::vec((1_u32..10, 0_u64..50), 1..2000)) {
            let start = Instant::now();
            let (mut now, mut spent) = (start, 0_u64);
            let mut patience = Patience::new(start);
            for (cost, wait) in costs {
                now += Duration::from_millis(wait);
                if patience.spend(cost, || now) {
                    spent += u64::from(cost);
                }
            }
            let passed = u64::try_from(now.duration_since(start).as_millis()).unwrap();
            let most = u64::from(limits::H2_PATIENCE) + passed * u64::from(limits::H2_PATIENCE_RATE) / 1000;
            prop_assert!(spent <= most);
        }
    }
}
