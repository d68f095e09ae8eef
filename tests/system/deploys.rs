//! The whole: no request is lost, whatever is replaced. A few rounds each; `JOBINIT_ROUNDS=100` for more.

use std::sync::atomic::Ordering;

use jobinit_tests::deploys::{self, Outcome};

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
