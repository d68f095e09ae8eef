//! `deploys`: requests that fail while an app is deployed, the proxy replaced, and the proxy killed, under
//! load; and how long one of each takes.

use jobinit_tests::deploys::{self, Outcome};

use crate::report::Row;

/// Deploys, and generations of the proxy.
const ROUNDS: usize = 100;
const KILLS: usize = 20;

pub fn measure() -> Vec<Row> {
    let own = std::env::current_exe().expect("it has a path");
    let own = own.to_str().expect("UTF-8");
    let app = &[own, "serve"][..];
    let mut rows = of("deploy", &deploys::deploys(app, ROUNDS));
    rows.extend(of("proxy replaced", &deploys::generations(app, ROUNDS)));
    rows.extend(of("proxy killed", &deploys::kills(app, KILLS)));
    rows
}

fn of(what: &str, outcome: &Outcome) -> Vec<Row> {
    println!("{what}: {}", outcome.told());
    for failure in outcome.failed.iter().take(10) {
        println!("  {failure:?}");
    }
    let row = |what: String, value: f64, unit| Row::new("deploys", &what, value, unit);
    let rounds = outcome.rounds;
    let each = outcome.took.as_secs_f64() * 1e3 / as_f64(rounds.max(1));
    vec![
        row(format!("{what}, {rounds} times: lost"), as_f64(outcome.failed.len()), "requests"),
        row(format!("{what}: in flight when killed"), as_f64(outcome.in_flight), "requests"),
        row(format!("{what}: one, with its load"), each, "ms"),
    ]
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
