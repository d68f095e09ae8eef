//! When a job that ended is started again, or that it is not.
//!
//! The n-th restart in a row waits `delay * factor^(n-1)`, at most `max_delay`, varied by
//! `jitter`. A run that lasted `reset_after` starts the row anew. More than `limit` restarts
//! within `window` and the answer is to give up. Pure: time and chance are given.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use init_wire::{Policy, Restart};
use serde::{Deserialize, Serialize};

use crate::clock::mono;
use crate::signal::Exit;

/// What a job's restarts so far have been.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    in_a_row: u32,
    #[serde(with = "mono::all")]
    recent: VecDeque<Instant>,
}

/// What follows from an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The policy does not ask for a restart.
    Rest,
    /// Start again then.
    StartAt(Instant),
    /// It has been restarted too often.
    GiveUp,
}

impl History {
    /// Judges an ending at `now` after `lived`; `chance` is a random number.
    pub fn judge(
        &mut self,
        rule: &Restart,
        exit: Exit,
        lived: Duration,
        now: Instant,
        chance: u32,
    ) -> Verdict {
        let wanted = match rule.policy {
            Policy::Never => false,
            Policy::OnFailure => !exit.is_success(),
            Policy::Always => true,
        };
        if !wanted {
            return Verdict::Rest;
        }
        if lived >= Duration::from_millis(rule.reset_after_ms) {
            self.in_a_row = 0;
        }
        if rule.limit > 0 {
            let window = Duration::from_millis(rule.window_ms);
            while self.recent.front().is_some_and(|at| now.duration_since(*at) > window) {
                self.recent.pop_front();
            }
            if self.recent.len() >= rule.limit as usize {
                return Verdict::GiveUp;
            }
            self.recent.push_back(now);
        }
        let delay = delay(rule, self.in_a_row, chance);
        self.in_a_row = self.in_a_row.saturating_add(1);
        // A delay beyond what the clock can hold is capped by the spec's own bounds.
        Verdict::StartAt(now.checked_add(delay).unwrap_or(now))
    }
}

/// The wait before the restart that follows `before` others in a row.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds below 2^53; float to int saturates"
)]
fn delay(rule: &Restart, before: u32, chance: u32) -> Duration {
    if rule.delay_ms == 0 {
        // Zero times what has grown beyond all numbers is none.
        return Duration::ZERO;
    }
    let steps = i32::try_from(before).unwrap_or(i32::MAX);
    let grown = rule.delay_ms as f64 * rule.factor.powi(steps);
    let capped = grown.min(rule.max_delay_ms as f64);
    let swing = f64::from(chance) / f64::from(u32::MAX) * 2.0 - 1.0;
    let varied = (capped * (1.0 + rule.jitter * swing)).min(rule.max_delay_ms as f64);
    Duration::from_micros((varied * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MID: u32 = u32::MAX / 2;

    fn rule() -> Restart {
        Restart {
            policy: Policy::Always,
            delay_ms: 100,
            factor: 2.0,
            max_delay_ms: 500,
            reset_after_ms: 1000,
            ..Restart::default()
        }
    }

    fn wait(history: &mut History, rule: &Restart, lived_ms: u64, now: Instant) -> Option<u128> {
        let lived = Duration::from_millis(lived_ms);
        match history.judge(rule, Exit::Code(1), lived, now, MID) {
            Verdict::StartAt(at) => Some((at - now).as_millis()),
            Verdict::Rest | Verdict::GiveUp => None,
        }
    }

    #[test]
    fn b24_delays_grow_are_capped_and_reset() {
        let (mut history, now) = (History::default(), Instant::now());
        let waits: Vec<_> = (0..5).filter_map(|_| wait(&mut history, &rule(), 10, now)).collect();
        assert_eq!(waits, [100, 200, 400, 500, 500]);
        assert_eq!(wait(&mut history, &rule(), 1000, now), Some(100));
    }

    #[test]
    fn b24_the_policy_decides() {
        let now = Instant::now();
        let judge = |policy, exit| {
            History::default().judge(&Restart { policy, ..rule() }, exit, Duration::ZERO, now, MID)
        };
        for exit in [Exit::Code(0), Exit::Code(1), Exit::Signal(9)] {
            assert_eq!(judge(Policy::Never, exit), Verdict::Rest);
            assert!(matches!(judge(Policy::Always, exit), Verdict::StartAt(_)));
        }
        assert_eq!(judge(Policy::OnFailure, Exit::Code(0)), Verdict::Rest);
        assert!(matches!(judge(Policy::OnFailure, Exit::Signal(9)), Verdict::StartAt(_)));
    }

    #[test]
    fn b24_a_limit_holds_within_its_window_only() {
        let rule = Restart { limit: 2, window_ms: 1000, ..rule() };
        let (mut history, now) = (History::default(), Instant::now());
        assert!(wait(&mut history, &rule, 0, now).is_some());
        assert!(wait(&mut history, &rule, 0, now).is_some());
        assert_eq!(wait(&mut history, &rule, 0, now), None);
        let later = now + Duration::from_millis(1001);
        assert!(wait(&mut history, &rule, 0, later).is_some());
    }

    #[test]
    fn b24_no_delay_stays_none() {
        let rule = Restart { delay_ms: 0, ..rule() };
        assert_eq!(delay(&rule, 5000, MID), Duration::ZERO);
    }

    #[test]
    fn b24_jitter_stays_in_its_range() {
        let rule = Restart { jitter: 0.5, max_delay_ms: 10_000, ..rule() };
        assert_eq!(delay(&rule, 0, 0).as_millis(), 50);
        assert_eq!(delay(&rule, 0, u32::MAX).as_millis(), 150);
        assert_eq!(delay(&rule, 63, u32::MAX).as_millis(), 10_000);
    }
}
