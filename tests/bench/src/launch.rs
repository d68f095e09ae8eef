//! `launch`: from starting the supervisor to the first thing that the last of 1,000 services does.
//!
//! init is given its jobs by four clients, a PUT each; runit and s6 find theirs in a folder.

use crate::report::{Row, median};
use crate::service;
use crate::supervisors::{NAMES, Supervisor};

const ROUNDS: usize = 3;
const SERVICES: usize = 1000;

pub fn measure() -> Vec<Row> {
    let mut took = vec![Vec::new(); NAMES.len()];
    for _ in 0..ROUNDS {
        for (name, took) in NAMES.iter().zip(&mut took) {
            match once(name) {
                Ok(milliseconds) => took.push(milliseconds),
                Err(why) => eprintln!("bench: SKIPPED {name}: {why}"),
            }
        }
    }
    let medians: Vec<f64> = took.into_iter().map(median).collect();
    let runit = medians[1];
    let row = |(name, took): (&&str, &f64)| {
        let row = Row::new("launch", name, *took, "ms");
        if runit == 0.0 {
            return row;
        }
        let row = row.compared("runit", runit);
        if *name == "init" { row.at_most(0.5) } else { row }
    };
    NAMES.iter().zip(&medians).filter(|(_, took)| **took > 0.0).map(row).collect()
}

fn once(name: &str) -> Result<f64, String> {
    let supervisor = Supervisor::start(name, SERVICES)?;
    let stamps = service::wait(&supervisor.folder, SERVICES)?;
    let last = stamps.iter().max().copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
    let took = (last - supervisor.begun) as f64 / 1e6;
    Ok(took)
}
