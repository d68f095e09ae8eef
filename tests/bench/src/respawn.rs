//! `respawn`: from a service's end to the first thing that its next run does, with no delay asked.
//!
//! The service writes both times itself. It runs a little over a second before each end, because
//! runit makes one that ends sooner wait. s6 is left as it comes, and waits a second all the same.
//! One supervisor after the other: whoever had to wait for the others would find its memory paged
//! out on machines that do so after a few seconds.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::report::{Row, median};
use crate::service;
use crate::supervisors::{NAMES, Supervisor};

const ROUNDS: usize = 20;
const LIFE: Duration = Duration::from_millis(1100);

pub fn measure() -> Vec<Row> {
    let mut medians = Vec::new();
    for name in NAMES {
        match of(name) {
            Ok(took) => medians.push((name, median(took))),
            Err(why) => eprintln!("bench: SKIPPED {name}: {why}"),
        }
    }
    let runit = medians.iter().find(|(name, _)| *name == "runit").map(|(_, took)| *took);
    let row = |(name, took): &(&str, f64)| {
        let row = Row::new("respawn", name, *took, "us");
        match runit {
            Some(runit) if *name == "init" => row.compared("runit", runit).at_most(0.6),
            Some(runit) => row.compared("runit", runit),
            None => row,
        }
    };
    medians.iter().map(row).collect()
}

/// Microseconds of each round.
fn of(name: &str) -> Result<Vec<f64>, String> {
    let supervisor = Supervisor::start(name, 1)?;
    service::wait(&supervisor.folder, 1)?;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        std::thread::sleep(LIFE);
        let service = supervisor.service().ok_or("the service does not run")?;
        kill(Pid::from_raw(service.cast_signed()), Signal::SIGUSR1)
            .map_err(|errno| errno.to_string())?;
        let stamps = service::wait(&supervisor.folder, 2 * round + 3)?;
        let [.., ended, began] = stamps[..] else { continue };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
        took.push((began - ended) as f64 / 1000.0);
    }
    Ok(took)
}
