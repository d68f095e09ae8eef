//! How often requests may be sent again: a share of them, and a few a second.
//!
//! Without it a target that answers nothing any more would get each request twice, just when it
//! has enough to do.

use proxyd_wire as wire;

/// So many requests are saved up for, and so many seconds.
const SAVED_REQUESTS: u64 = 500;
const SAVED_SECONDS: u64 = 10;
/// What one more sending costs.
const PRICE: u64 = 1000;

/// What has been saved, in thousandths of a request. It starts full.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// `None`: all that may be saved.
    saved: Option<u64>,
    /// When it was last paid into by the clock, in milliseconds.
    paid: u64,
}

impl Budget {
    /// Takes in what so many first sendings earn.
    pub(crate) fn earn(&mut self, requests: u64, rule: &wire::Retry) {
        if let Some(saved) = &mut self.saved {
            let earned = requests.saturating_mul(u64::from(rule.budget_percent) * PRICE / 100);
            *saved = saved.saturating_add(earned).min(capacity(rule));
        }
    }

    /// Whether a request may be sent again; it is paid for then.
    pub(crate) fn spend(&mut self, now: u64, rule: &wire::Retry) -> bool {
        let capacity = capacity(rule);
        let since = now.saturating_sub(self.paid).min(SAVED_SECONDS * 1000);
        // A token a second is a thousandth a millisecond.
        let earned = since * u64::from(rule.budget_per_s);
        let saved = self.saved.unwrap_or(capacity).saturating_add(earned).min(capacity);
        self.paid = now;
        let left = saved.checked_sub(PRICE);
        self.saved = Some(left.unwrap_or(saved));
        left.is_some()
    }
}

fn capacity(rule: &wire::Retry) -> u64 {
    let share = u64::from(rule.budget_percent) * PRICE / 100 * SAVED_REQUESTS;
    share + u64::from(rule.budget_per_s) * PRICE * SAVED_SECONDS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(budget_percent: u32, budget_per_s: u32) -> wire::Retry {
        wire::Retry { budget_percent, budget_per_s, ..wire::Retry::default() }
    }

    #[test]
    fn nothing_is_nothing() {
        let mut budget = Budget::default();
        assert!(!budget.spend(0, &rule(0, 0)));
        budget.earn(1_000_000, &rule(0, 0));
        assert!(!budget.spend(1_000_000, &rule(0, 0)));
    }

    #[test]
    fn by_the_clock() {
        let mut budget = Budget::default();
        let rule = rule(0, 2);
        assert_eq!((0..100).filter(|_| budget.spend(0, &rule)).count(), 20);
        assert_eq!((0..100).filter(|_| budget.spend(3000, &rule)).count(), 6);
        assert_eq!((0..100).filter(|_| budget.spend(1_000_000, &rule)).count(), 20);
    }

    proptest! {
        #[test]
        fn never_beyond_the_share(
            percent in 0..=300_u32,
            per_s in 0..=20_u32,
            steps in proptest::collection::vec((0..200_u64, 0..500_u64), 1..200),
        ) {
            let rule = rule(percent, per_s);
            let mut budget = Budget::default();
            let (mut now, mut requests, mut sent_again) = (0, 0, 0);
            for (more, passed) in steps {
                requests += more;
                now += passed;
                budget.earn(more, &rule);
                sent_again += (0..more).filter(|_| budget.spend(now, &rule)).count() as u64;
            }
            let bound = capacity(&rule) + requests * u64::from(percent) * 10 + now * u64::from(per_s);
            prop_assert!(sent_again * PRICE <= bound, "{sent_again} of {requests} in {now} ms");
        }
    }
}
