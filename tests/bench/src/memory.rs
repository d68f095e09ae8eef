//! `memory`: what supervision costs, idle and a job.

use std::fs;

use crate::client::{Client, request};
use crate::inits;
use crate::report::Row;

const JOBS: u16 = 200;

pub fn measure() -> Vec<Row> {
    let init = inits::init();
    let mut client = Client::connect(init.address);
    let spec = r#"{"exec":"/bin/sleep","args":["600"]}"#;
    client.ask(&request("PUT", "/job/first", spec));
    let idle = pss(init.pid());
    for number in 0..JOBS {
        client.ask(&request("PUT", &format!("/job/job-{number}"), spec));
    }
    let full = pss(init.pid());
    let figure = "memory";
    vec![
        Row::new(figure, "init: PSS idle", idle, "KiB")
            .compared("2.5 MB", 2500.0 * 1000.0 / 1024.0),
        Row::new(figure, "init: PSS a further job", (full - idle) / f64::from(JOBS), "KiB"),
    ]
}

/// KiB.
fn pss(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("it is counted");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}
