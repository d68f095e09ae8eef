//! Certificates as they are shown: whose, for which hosts, by whom, and until when.

use super::pair::day;
use super::unix_time;
use crate::admin::wire::{CertificateState, CertificateView};
use crate::supervise::Supervisor;

const DAY: i64 = 24 * 3600;
/// From when on it is said that one has to be renewed.
const WARNED: i64 = 14 * DAY;

impl Supervisor {
    pub(crate) fn certificate_views(&self) -> Vec<CertificateView> {
        let now = unix_time();
        let held = self.keys.ring.held().iter();
        let of_files = held.map(|(name, held)| {
            let doubts = held.doubts(now).into_iter();
            let doubts = doubts.map(|doubt| format!("the certificate of {name}: it {doubt}"));
            let pair = held.pair.as_deref();
            let end = pair.map(|pair| pair.not_after);
            let (state, ending) = judged(name, end, now);
            CertificateView {
                name: name.clone(),
                state,
                hosts: pair.map(|pair| pair.names.clone()).unwrap_or_default(),
                issuer: pair.map(|pair| pair.issuer.clone()),
                not_after: end,
                why: doubts.chain(ending).collect(),
            }
        });
        of_files.collect()
    }
}

/// Where one stands that is valid until then, and what is to be said of that.
pub(super) fn judged(name: &str, end: Option<i64>, now: i64) -> (CertificateState, Option<String>) {
    let Some(end) = end else { return (CertificateState::Missing, None) };
    let left = end.saturating_sub(now);
    if left < 0 {
        return (CertificateState::Expired, None);
    }
    if left >= WARNED {
        return (CertificateState::Valid, None);
    }
    let when = match left / DAY {
        0 => "within a day".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    };
    let why = format!("the certificate of {name} expires {when}, on {}: renew it", day(end));
    (CertificateState::Expiring, Some(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o21_a_certificate_is_warned_of_two_weeks_before_its_end() {
        let at = |left| judged("a", Some(1_800_000_000), 1_800_000_000 - left);
        assert_eq!(judged("a", None, 0), (CertificateState::Missing, None));
        assert_eq!(at(14 * DAY), (CertificateState::Valid, None));
        let told = |left| {
            let (state, why) = at(left);
            assert_eq!(state, CertificateState::Expiring);
            why.unwrap_or_default()
        };
        assert_eq!(
            told(14 * DAY - 1),
            "the certificate of a expires in 13 days, on 2027-01-15: renew it"
        );
        assert!(told(DAY).contains(" in 1 day,") && told(0).contains(" within a day,"));
        assert_eq!(at(-1), (CertificateState::Expired, None));
    }
}
