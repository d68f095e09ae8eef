//! Who has shown too many wrong tokens: 10 within a minute, and an address is not listened to until that minute
//! is over. Pure.
//!
//! An address is an IPv4 address or 64 bits of an IPv6 one, which is what one subscriber has. At most 4096 are
//! remembered; beyond, the one whose minute began first is forgotten.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
const REMEMBERED: usize = 4096;

/// All that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    seen: BTreeMap<IpAddr, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    count: u32,
    since: Instant,
}

impl Tries {
    /// How long an address is still not listened to, if it is not.
    pub(crate) fn barred(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let seen = self.seen.get(&subscriber(from))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(seen.since))?;
        (seen.count >= MOST && !left.is_zero()).then_some(left)
    }

    /// Notes a wrong one.
    pub(crate) fn failed(&mut self, from: IpAddr, now: Instant) {
        let is_over = |seen: &Seen| now.saturating_duration_since(seen.since) >= WINDOW;
        let from = subscriber(from);
        match self.seen.get_mut(&from) {
            Some(seen) if !is_over(seen) => seen.count = seen.count.saturating_add(1),
            Some(_) | None => {
                if self.seen.len() >= REMEMBERED {
                    self.seen.retain(|_, seen| !is_over(seen));
                }
                if self.seen.len() >= REMEMBERED
                    && let Some(first) = self.first()
                {
                    self.seen.remove(&first);
                }
                self.seen.insert(from, Seen { count: 1, since: now });
            }
        }
    }

    fn first(&self) -> Option<IpAddr> {
        self.seen.iter().min_by_key(|(_, seen)| seen.since).map(|(address, _)| *address)
    }
}

/// What one subscriber has.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn z09_ten_wrong_tokens_a_minute_are_the_most() {
        let (mut tries, begun) = (Tries::default(), Instant::now());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for second in 0..10 {
            let now = begun + Duration::from_secs(second);
            assert_eq!(tries.barred(one, now), None);
            tries.failed(one, now);
        }
        let left = tries.barred(one, begun + Duration::from_secs(20));
        assert_eq!(left, Some(Duration::from_secs(40)));
        assert_eq!(tries.barred(other, begun + Duration::from_secs(20)), None);
        let later = begun + WINDOW;
        assert_eq!(tries.barred(one, later), None);
        tries.failed(one, later);
        assert_eq!(tries.barred(one, later), None, "it is counted anew");
    }

    #[test]
    fn z09_whoever_has_many_addresses_of_one_network_has_one() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for last in 0..10 {
            tries.failed(address(&format!("2001:db8::{last:x}")), now);
        }
        assert!(tries.barred(address("2001:db8::ffff"), now).is_some());
        assert!(tries.barred(address("2001:db8:0:1::"), now).is_none());
        for _ in 0..10 {
            tries.failed(address("::ffff:192.0.2.1"), now);
        }
        assert!(tries.barred(address("192.0.2.1"), now).is_some());
    }

    #[test]
    fn z09_what_is_remembered_is_bounded() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        let count = u32::try_from(REMEMBERED).expect("small") + 50;
        for number in 0..count {
            tries.failed(IpAddr::V4(number.into()), now + Duration::from_millis(1) * number);
        }
        assert_eq!(tries.seen.len(), REMEMBERED);
        assert!(tries.seen.contains_key(&IpAddr::V4((count - 1).into())));
    }
}
