//! How fast a client sends or takes a body, judged by the time that it is waited for: whoever is
//! held up by the other side is not slow.

use std::time::Duration;

use crate::bounds::Bounds;

/// One body's pace. It is judged whenever the client was waited for by a whole window of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes a second; 0 judges nobody.
    rate: u64,
    window: Duration,
    waited: Duration,
    moved: u64,
}

impl Pace {
    pub(crate) fn new(bounds: &Bounds) -> Pace {
        Pace { rate: bounds.rate, window: bounds.window, waited: Duration::ZERO, moved: 0 }
    }

    /// For a request's body, which may be a stream.
    pub(crate) fn of_upload(bounds: &Bounds, is_stream: bool) -> Pace {
        let rate = if is_stream { bounds.stream_rate } else { bounds.rate };
        Pace { rate, ..Pace::new(bounds) }
    }

    /// For a side that nobody judges.
    pub(crate) fn any() -> Pace {
        Pace { rate: 0, window: Duration::MAX, waited: Duration::ZERO, moved: 0 }
    }

    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes as u64);
    }

    /// Counts in a wait; `false`: the window is over, and too little has moved in it.
    pub(crate) fn waited(&mut self, time: Duration) -> bool {
        if self.rate == 0 {
            return true;
        }
        self.waited = self.waited.saturating_add(time);
        if self.waited < self.window {
            return true;
        }
        let due = u128::from(self.rate).saturating_mul(self.waited.as_millis()) / 1000;
        let enough = u128::from(self.moved) >= due;
        self.waited = Duration::ZERO;
        self.moved = 0;
        enough
    }

    /// How much more waiting there is until it is judged.
    pub(crate) fn left(&self) -> Duration {
        if self.rate == 0 { Duration::MAX } else { self.window.saturating_sub(self.waited) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: u64) -> Pace {
        Pace::new(&Bounds { rate, window: 10 * SECOND, ..Bounds::default() })
    }

    #[test]
    fn judged_by_the_window() {
        let mut slow = pace(100);
        slow.moved(999);
        assert!(slow.waited(9 * SECOND));
        assert_eq!(slow.left(), SECOND);
        assert!(!slow.waited(SECOND));
        let mut just = pace(100);
        for _ in 0..3 {
            just.moved(1000);
            assert!(just.waited(10 * SECOND));
        }
        assert!(!just.waited(10 * SECOND), "what moved before does not count again");
        let mut anyone = pace(0);
        assert!(anyone.waited(Duration::MAX));
        assert_eq!(anyone.left(), Duration::MAX);
    }

    proptest! {
        #[test]
        fn nobody_at_twice_the_rate_is_slow(waits in proptest::collection::vec(1..3000_u64, 1..200)) {
            let mut pace = pace(1000);
            for wait in waits {
                pace.moved(usize::try_from(wait * 2).unwrap());
                prop_assert!(pace.waited(Duration::from_millis(wait)));
            }
        }

        #[test]
        fn half_the_rate_is_slow_in_two_windows(waits in proptest::collection::vec(1..3000_u64, 200)) {
            let mut pace = pace(1000);
            let total: u64 = waits.iter().sum();
            let kept = waits.iter().all(|&wait| {
                pace.moved(usize::try_from(wait / 2).unwrap());
                pace.waited(Duration::from_millis(wait))
            });
            prop_assert!(!kept || total < 20_000);
        }
    }
}
