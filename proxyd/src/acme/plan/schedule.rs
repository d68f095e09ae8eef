//! When something is tried again, and when a certificate is due.

/// Seconds since 1970: certificates end by the calendar, whatever other clocks there are.
pub(crate) type Time = i64;

pub(super) const MINUTE: Time = 60;
pub(super) const DAY: Time = 86_400;
/// An authority is believed to be closed for no longer.
pub(super) const CLOSED: Time = 7 * DAY;

/// What a name that is in nobody's way costs is a look: it is looked for more often than others are asked.
const LOOK: Time = 10 * MINUTE;

/// A row of numbers that nobody needs to guess: so that not all the world asks at the same second.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// From 0 to below `end`.
    pub(super) fn below(&mut self, end: Time) -> Time {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let number = Time::try_from(self.0 >> 2).unwrap_or_default();
        if end > 0 { number % end } else { 0 }
    }
}

/// How long the next try waits after so many that failed in a row: 1, 10, 100 minutes, then a day.
pub(super) fn backoff(tries: u32) -> Time {
    match tries {
        0 | 1 => MINUTE,
        2 => 10 * MINUTE,
        3 => 100 * MINUTE,
        _ => DAY,
    }
}

/// The same for names that are only looked for.
pub(super) fn look_again(rounds: u32) -> Time {
    backoff(rounds).min(LOOK)
}

/// Two thirds of its time, and a little that is another for each.
pub(super) fn usual_renewal(not_before: Time, not_after: Time, random: &mut Random) -> Time {
    let lifetime = not_after.saturating_sub(not_before).max(0);
    let two_thirds = lifetime / 3 * 2 + lifetime % 3;
    not_before.saturating_add(two_thirds).saturating_add(random.below(lifetime / 50))
}

/// A moment within a window that the authority has suggested, and before the end all the same.
pub(super) fn suggested_renewal(
    (start, end): (Time, Time),
    (not_before, not_after): (Time, Time),
    random: &mut Random,
) -> Time {
    let moment = start.saturating_add(random.below(end.saturating_sub(start)));
    let lifetime = not_after.saturating_sub(not_before).max(0);
    moment.min(not_after.saturating_sub(lifetime / 20))
}
