//! `at-rest`: what bootctl costs when there is nothing to do: a reload that changes nothing, memory, wake-ups
//! with and without probes, and how long `status` takes.

use std::time::Duration;

use jobinit_tests::bootctl::Site;

use crate::memory::pss;
use crate::report::{Row, median};
use crate::{cpu, idle, sites};

const FIGURE: &str = "at-rest";
const ROUNDS: usize = 10;
/// Until what the start leaves behind is over.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(10);

pub fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for apps in [100, 1000] {
        let site = sites::boot(folder.path(), apps, "");
        std::thread::sleep(SETTLE);
        rows.push(within(reload(&site), &format!("CPU of a reload of {apps} apps"), "ms", 20.0));
        let memory = pss(supervisor(&site)) / 1024.0;
        rows.push(within(memory, &format!("PSS with {apps} apps"), "MiB", 20.0));
        if apps == 100 {
            let status = |words: &[&str]| {
                median((0..ROUNDS).map(|_| sites::command(&site, words)).collect())
            };
            rows.push(within(status(&["status"]), "`status` with 100 apps", "ms", 50.0));
            let asked =
                (0..ROUNDS).map(|_| sites::ask(&site.socket(), "GET", "/status").2).collect();
            rows.push(row("GET /status with 100 apps", median(asked), "ms"));
            rows.push(row("wake-ups, 100 probes in it", wakes(&site), "in 10 s"));
        }
    }
    let site = sites::boot(folder.path(), 100, "[health]\ninterval = \"1h\"\n");
    std::thread::sleep(SETTLE);
    rows.push(row("wake-ups, no probes due", wakes(&site), "in 10 s"));
    rows
}

fn row(subject: &str, value: f64, unit: &str) -> Row {
    Row::new(FIGURE, subject, value, unit)
}

fn within(value: f64, subject: &str, unit: &str, most: f64) -> Row {
    row(subject, value, unit).compared(&format!("{most} {unit}"), most).at_most(1.0)
}

/// Milliseconds of bootctl's CPU.
fn reload(site: &Site) -> f64 {
    let pid = supervisor(site);
    let once = || {
        let before = cpu::own(pid);
        let (status, body, _) = sites::ask(&site.socket(), "PUT", "/reload");
        assert_eq!(status, 200, "{body}");
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
        let used = (cpu::own(pid) - before) as f64 / 1e6;
        used
    };
    median((0..ROUNDS).map(|_| once()).collect())
}

fn wakes(site: &Site) -> f64 {
    let pid = supervisor(site);
    let before = idle::switches(pid);
    std::thread::sleep(IDLE);
    f64::from(idle::switches(pid).saturating_sub(before))
}

fn supervisor(site: &Site) -> u32 {
    u32::try_from(site.supervisor()).expect("a pid")
}
