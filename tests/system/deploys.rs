//! The whole: no request is lost, whatever is replaced. A few rounds each; `JOBINIT_ROUNDS=100` for more.

use std::sync::atomic::Ordering;

use jobinit_tests::deploys::{self, Outcome};
use jobinit_tests::over_tls;

const SERVES: &[&str] = &[env!("CARGO_BIN_EXE_serves")];

fn check(outcome: &Outcome) {
    println!("{}", outcome.told());
    assert!(outcome.failed.is_empty(), "{}: {:#?}", outcome.told(), outcome.failed);
}

#[test]
fn o03_deploys_lose_no_request() {
    let outcome = deploys::deploys(SERVES, deploys::rounds(6));
    check(&outcome);
    let idle = outcome.fates.closed_idle.load(Ordering::SeqCst);
    assert_eq!((outcome.in_flight, idle), (0, 0), "{}", outcome.told());
}

#[test]
fn p02_generations_of_the_proxy_lose_no_request() {
    let outcome = deploys::generations(SERVES, deploys::rounds(8));
    check(&outcome);
    let idle = outcome.fates.closed_idle.load(Ordering::SeqCst);
    assert_eq!((outcome.in_flight, idle), (0, 0), "{}", outcome.told());
}

#[test]
fn p01_a_killed_proxy_loses_only_what_is_in_flight() {
    check(&deploys::kills(SERVES, deploys::rounds(6)));
}

/// Over TLS nothing fails either, whatever is spoken; and no connection is closed without a word.
fn check_secure(outcome: &over_tls::Outcome) {
    println!("{}", outcome.told());
    assert!(outcome.failed().is_empty(), "{}: {:#?}", outcome.told(), outcome.failed());
    for (name, fates) in &outcome.spoken {
        assert_eq!(fates.closed_idle.load(Ordering::SeqCst), 0, "{name}: {}", outcome.told());
        // There were handshakes all the time.
        let connections = fates.connections.load(Ordering::SeqCst);
        assert!(connections > outcome.rounds as u64, "{name}: {}", outcome.told());
    }
}

#[test]
fn o21_new_certificates_lose_no_request() {
    check_secure(&over_tls::swaps(SERVES, deploys::rounds(10)));
}

#[test]
fn o03_deploys_over_tls_lose_no_request() {
    check_secure(&over_tls::deploys(SERVES, deploys::rounds(10)));
}

#[test]
fn p02_generations_over_tls_lose_no_request() {
    let outcome = over_tls::generations(SERVES, deploys::rounds(10));
    check_secure(&outcome);
    for (name, fates) in &outcome.spoken[1..] {
        let told = fates.going_away.load(Ordering::SeqCst);
        assert!(told >= outcome.rounds as u64, "{name}: who was there is told: {}", outcome.told());
    }
}
