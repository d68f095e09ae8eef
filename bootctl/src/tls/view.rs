//! Certificates as they are shown: whose, for which hosts, by whom, and until when.

use proxyd_wire::{AcmeCertificateView, AcmeState};

use super::pair::day;
use super::unix_time;
use crate::admin::wire::{CertificateState, CertificateView};
use crate::supervise::Supervisor;
use crate::table::span;

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
        of_files.chain(self.obtained_views(now)).collect()
    }

    /// Those that the proxy obtains.
    fn obtained_views(&self, now: i64) -> impl Iterator<Item = CertificateView> {
        let all = self.keys.obtaining.view().into_iter().flat_map(|(_, view)| &view.certificates);
        all.map(move |(name, it)| obtained(name, it, now))
    }

    /// What is wrong with all that is obtained.
    pub(crate) fn obtaining_trouble(&self) -> Option<String> {
        let trouble = self.keys.obtaining.view().and_then(|(_, view)| view.trouble.as_ref());
        trouble.map(|trouble| format!("no certificate is obtained: {trouble}"))
    }
}

fn obtained(name: &str, it: &AcmeCertificateView, now: i64) -> CertificateView {
    let again = it.next_try.filter(|at| *at > now).map(|at| {
        let left = u64::try_from(at - now).unwrap_or_default();
        format!("; it is tried again in {}", span(left.saturating_mul(1000)))
    });
    let again = again.unwrap_or_default();
    let mut why = Vec::new();
    if let Some(failure) = &it.failure {
        let message = failure.message.trim_end_matches('.');
        why.push(format!("the certificate of {name} was not obtained: {message}{again}"));
    }
    for (host, reason) in &it.blocked {
        let reason = reason.trim_end_matches('.');
        why.push(format!("the certificate of {name} is not for {host} yet: {reason}{again}"));
    }
    let state = match (judged(name, it.not_after, now).0, it.state) {
        // A renewal comes before that, so it is of no interest unless it has failed.
        (CertificateState::Expiring, _) if it.failure.is_none() => CertificateState::Valid,
        (CertificateState::Missing, AcmeState::Waiting | AcmeState::Ordering) => {
            CertificateState::Obtaining
        }
        (state, _) => state,
    };
    let hosts = if it.covers.is_empty() { &it.names } else { &it.covers };
    CertificateView {
        name: name.to_owned(),
        state,
        hosts: hosts.clone(),
        issuer: it.authority.as_deref().map(authority),
        not_after: it.not_after,
        why,
    }
}

/// The host of an authority's directory.
fn authority(directory: &str) -> String {
    let rest = directory.strip_prefix("https://").unwrap_or(directory);
    rest.split('/').next().unwrap_or(rest).to_owned()
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
    #[test]
    fn o22_what_is_in_the_way_is_told_with_the_next_try() {
        let failure = proxyd_wire::AcmeFailure {
            kind: "dns".into(),
            message: "the name does not resolve: add a record.".into(),
            authority: String::new(),
            at: 0,
            tries: 2,
        };
        let names = vec!["a.dev".to_owned(), "b.dev".to_owned()];
        let first = AcmeCertificateView {
            names: names.clone(),
            state: AcmeState::Failed,
            failure: Some(failure),
            next_try: Some(700),
            ..AcmeCertificateView::default()
        };
        let view = obtained("a.dev", &first, 100);
        assert_eq!((view.state, view.hosts), (CertificateState::Missing, names));
        assert_eq!(
            view.why,
            [
                "the certificate of a.dev was not obtained: the name does not resolve: add a record; it is tried again in \
                 10m 0s"
            ]
        );
        let part = AcmeCertificateView {
            state: AcmeState::Valid,
            covers: vec!["a.dev".into()],
            not_after: Some(1000),
            blocked: [("b.dev".to_owned(), "it does not resolve".to_owned())].into(),
            authority: Some("https://ca.example/d".into()),
            failure: None,
            next_try: None,
            ..first
        };
        let view = obtained("a.dev", &part, 100);
        assert_eq!((view.state, view.hosts), (CertificateState::Valid, vec!["a.dev".into()]));
        assert_eq!(view.issuer.as_deref(), Some("ca.example"));
        assert_eq!(
            view.why,
            ["the certificate of a.dev is not for b.dev yet: it does not resolve"]
        );
        let ordering = AcmeCertificateView { state: AcmeState::Ordering, ..Default::default() };
        assert_eq!(obtained("a.dev", &ordering, 0).state, CertificateState::Obtaining);
    }
}
