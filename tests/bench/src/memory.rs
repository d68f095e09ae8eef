//! `memory`: what supervision costs, idle and a job. The peers' share of a service is that of all
//! their supervising processes.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::report::Row;
use crate::supervisors::{NAMES, Supervisor};
use crate::{crowd, inits, service};

const SERVICES: u16 = 100;
/// Until init has let go of what only its start needs.
const SETTLE: Duration = Duration::from_secs(1);
const FIGURE: &str = "memory";
/// In KiB.
const KB: f64 = 1000.0 / 1024.0;

pub fn measure() -> Vec<Row> {
    let init = inits::init();
    drop(Client::connect(init.address));
    thread::sleep(SETTLE);
    // A job, so that what is idle is a supervisor that has supervised.
    crowd::put(init.address, 0..1);
    let idle = pss(init.pid());
    // What is used for further jobs, and was not for the first, is not theirs.
    crowd::put(init.address, 1..101);
    let hundred = pss(init.pid());
    crowd::put(init.address, 101..1101);
    let thousand = pss(init.pid());
    crowd::put(init.address, 1101..10_101);
    let most = pss(init.pid());
    drop(init);
    let init = inits::init();
    let logs = ",\"stdout\":\"log\",\"stderr\":\"log\"";
    drop(Client::connect(init.address));
    thread::sleep(SETTLE);
    crowd::put_with(init.address, 0..100, logs);
    let some_captured = pss(init.pid());
    crowd::put_with(init.address, 100..1100, logs);
    let captured = (pss(init.pid()) - some_captured) / 1000.0;
    let mut rows = vec![
        Row::new(FIGURE, "init: PSS idle", idle, "KiB")
            .compared("2.5 MB", 2500.0 * 1000.0 / 1024.0)
            .at_most(1.0),
    ];
    for (subject, each) in [
        ("init: a further job, of 1,000", (thousand - hundred) / 1000.0),
        ("init: a further job, of 10,000", (most - hundred) / 10_000.0),
    ] {
        rows.push(Row::new(FIGURE, subject, each, "KiB").compared("1 KB", KB).at_most(1.0));
    }
    let subject = "init: a further silent job, captured";
    rows.push(Row::new(FIGURE, subject, captured, "KiB").compared("2 KB", 2.0 * KB).at_most(1.0));
    drop(init);
    for name in NAMES.into_iter().skip(1) {
        match peer(name) {
            Ok(each) => rows.push(Row::new(FIGURE, &format!("{name}: a service"), each, "KiB")),
            Err(why) => eprintln!("bench: SKIPPED {name}: {why}"),
        }
    }
    rows
}

/// All supervising processes of 100 services, a service.
fn peer(name: &str) -> Result<f64, String> {
    let supervisor = Supervisor::start(name, usize::from(SERVICES))?;
    service::wait(&supervisor.folder, usize::from(SERVICES))?;
    Ok(supervisor.pids().into_iter().map(pss).sum::<f64>() / f64::from(SERVICES))
}

/// KiB.
pub fn pss(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("it is counted");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}
