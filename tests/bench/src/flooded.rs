//! `flooded`: how long an answer takes while a hundred jobs write as fast as init reads.

use crate::client::{Client, request};
use crate::report::Row;
use crate::{capture, inits};

const JOBS: u32 = 100;
const ASKED: usize = 2000;
/// MiB that a job writes: more than there is time for.
const EACH: u32 = 1 << 20;
const FIGURE: &str = "flooded";
/// Milliseconds.
const REACH: f64 = 5.0;

pub fn measure() -> Vec<Row> {
    let flood = capture::flood();
    let init = inits::init();
    let mut client = Client::connect(init.address);
    let spec =
        format!("{{\"exec\":\"{}\",\"args\":[\"{EACH}\"],\"stdout\":\"log\"}}", flood.display());
    for job in 0..JOBS {
        client.ask(&request("PUT", &format!("/job/flood-{job}"), &spec));
    }
    let show = request("GET", "/job/flood-0", "");
    let mut took: Vec<_> = (0..ASKED).map(|_| client.ask(&show) / 1e3).collect();
    took.sort_by(f64::total_cmp);
    let of = |hundredths: usize| took.get(ASKED * hundredths / 100).copied().unwrap_or_default();
    let row = |which: &str, value| {
        let subject = format!("init: {which} answer, {JOBS} floods");
        Row::new(FIGURE, &subject, value, "ms")
    };
    vec![row("p50", of(50)), row("p99", of(99)).compared("5 ms", REACH).at_most(1.0)]
}
