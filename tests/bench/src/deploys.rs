//! `deploys`: requests that fail while an app is deployed, the proxy replaced, and the proxy killed, under
//! load; and how long one of each takes. Then the same over TLS, by what is spoken, and for new certificates.

use std::time::Duration;

use jobinit_tests::deploys::{self, Outcome};
use jobinit_tests::over_tls;

use crate::report::Row;

/// Deploys, generations of the proxy, and certificates.
const ROUNDS: usize = 100;
const KILLS: usize = 20;

pub fn measure() -> Vec<Row> {
    let own = std::env::current_exe().expect("it has a path");
    let own = own.to_str().expect("UTF-8");
    let app = &[own, "serve"][..];
    let mut rows = of("deploy", &deploys::deploys(app, ROUNDS));
    rows.extend(of("proxy replaced", &deploys::generations(app, ROUNDS)));
    rows.extend(of("proxy killed", &deploys::kills(app, KILLS)));
    rows.extend(of_tls("certificate swapped", &over_tls::swaps(app, ROUNDS)));
    rows.extend(of_tls("deploy over TLS", &over_tls::deploys(app, ROUNDS)));
    rows.extend(of_tls("proxy replaced under TLS", &over_tls::generations(app, ROUNDS)));
    rows
}

fn of(what: &str, outcome: &Outcome) -> Vec<Row> {
    println!("{what}: {}", outcome.told());
    for failure in outcome.failed.iter().take(10) {
        println!("  {failure:?}");
    }
    let rounds = outcome.rounds;
    vec![
        row(&format!("{what}, {rounds} times: lost"), as_f64(outcome.failed.len()), "requests"),
        row(&format!("{what}: in flight when killed"), as_f64(outcome.in_flight), "requests"),
        row(&format!("{what}: one, with its load"), each(outcome.took, rounds), "ms"),
    ]
}

fn of_tls(what: &str, outcome: &over_tls::Outcome) -> Vec<Row> {
    println!("{what}: {}", outcome.told());
    for failure in outcome.failed().iter().take(10) {
        println!("  {failure:?}");
    }
    let rounds = outcome.rounds;
    let lost = outcome.spoken.iter().map(|(spoken, fates)| {
        let failed = fates.failures.lock().map_or(usize::MAX, |failures| failures.len());
        row(&format!("{what}, {rounds} times: lost of {spoken}"), as_f64(failed), "requests")
    });
    let each = each(outcome.took, rounds);
    lost.chain([row(&format!("{what}: one, with its load"), each, "ms")]).collect()
}

fn row(what: &str, value: f64, unit: &str) -> Row {
    Row::new("deploys", what, value, unit)
}

/// Milliseconds of one round.
fn each(took: Duration, rounds: usize) -> f64 {
    took.as_secs_f64() * 1e3 / as_f64(rounds.max(1))
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
