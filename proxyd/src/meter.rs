//! What was asked of a route: how many requests ended how, how long they took, and how much they
//! brought.
//!
//! Workers count without a lock, each in a place of its own: to read a count and to write it need not be one step there.
//! Those for whom there is no place share the last one. A route's places are made when they are first needed: most of ten
//! thousand routes sleep.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histogram of times, in microseconds. One more place is for what is above.
pub(crate) const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

const PLACES: usize = 8;

/// The counts of one route.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    places: [OnceLock<Box<Place>>; PLACES],
}

#[derive(Debug, Default)]
struct Place {
    /// From 1xx to 5xx.
    classes: [AtomicU64; 5],
    /// By the first bound that they are not above.
    times: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
    bytes: AtomicU64,
}

/// What all workers have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// From 1xx to 5xx.
    pub(crate) classes: [u64; 5],
    /// Each with those below it, as histograms are read; the last one is all.
    pub(crate) times: [u64; BOUNDS.len() + 1],
    pub(crate) micros: u64,
    pub(crate) bytes: u64,
}

impl Meter {
    /// One request has ended.
    pub(crate) fn count(&self, worker: usize, status: u16, bytes: u64, took: Duration) {
        let is_own = worker < PLACES - 1;
        let Some(place) = self.places.get(worker.min(PLACES - 1)) else { return };
        let place = place.get_or_init(Box::default);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = usize::from(status / 100).saturating_sub(1);
        let time = BOUNDS.partition_point(|bound| *bound < micros);
        for (count, more) in [
            (place.classes.get(class), 1),
            (place.times.get(time), 1),
            (Some(&place.micros), micros),
            (Some(&place.bytes), bytes),
        ] {
            match count {
                Some(count) if is_own => {
                    count
                        .store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
                }
                Some(count) => drop(count.fetch_add(more, Ordering::Relaxed)),
                None => {}
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let places = || self.places.iter().filter_map(OnceLock::get);
        let sum = |of: &dyn Fn(&Place) -> Option<&AtomicU64>| {
            places().filter_map(|place| of(place)).map(|n| n.load(Ordering::Relaxed)).sum::<u64>()
        };
        let mut below = 0;
        Counts {
            classes: array::from_fn(|class| sum(&|place| place.classes.get(class))),
            times: array::from_fn(|time| {
                below += sum(&|place| place.times.get(time));
                below
            }),
            micros: sum(&|place| Some(&place.micros)),
            bytes: sum(&|place| Some(&place.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_once_wherever_it_was_served() {
        let meter = Meter::default();
        assert_eq!(meter.counts(), Counts::default());
        for (worker, status, micros) in [
            (0, 200, 400),
            (1, 204, 500),
            (9, 404, 501),
            (3, 503, 70_000_000),
            (3, 99, 0),
            (2, 999, 1),
        ] {
            meter.count(worker, status, 10, Duration::from_micros(micros));
        }
        let counts = meter.counts();
        assert_eq!(counts.classes, [1, 2, 0, 1, 1], "what is no status is not counted as another");
        assert_eq!((counts.times[0], counts.times[1]), (4, 5));
        assert_eq!((counts.times[13], counts.times[14]), (5, 6));
        assert_eq!((counts.bytes, counts.micros), (60, 70_001_402));
    }
}
