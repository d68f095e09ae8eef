//! `listing`: init's CPU time for `GET /jobs` with 10,000 jobs.

use crate::client::Client;
use crate::report::{Row, median};
use crate::{cpu, crowd, inits};

const JOBS: u32 = 10_000;
const ROUNDS: usize = 10;
/// Milliseconds.
const REACH: f64 = 20.0;

pub fn measure() -> Vec<Row> {
    let init = inits::init();
    crowd::put(init.address, 0..JOBS);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let before = cpu::own(init.pid());
        let answer = Client::connect(init.address).list();
        let listed = answer.matches("\"pid\":").count();
        assert!(listed >= JOBS as usize, "{listed} jobs are listed");
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
        took.push((cpu::own(init.pid()) - before) as f64 / 1e6);
    }
    let row = Row::new("listing", "init: CPU with 10,000 jobs", median(took), "ms");
    vec![row.compared("20 ms", REACH).at_most(1.0)]
}
