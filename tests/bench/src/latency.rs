//! `latency`: how long answers of 33 bytes take over 64 keep-alive connections, in the middle and of
//! the slowest hundredth: with 8,000 requests a second, which all can serve, and with as many as are
//! answered.
//!
//! At a rate, requests are due at fixed moments and time counts from then on, so that a proxy that
//! halts does not make its clients ask less. A proxy has one core to itself; the clients and the
//! origin share the other, and are part of what is measured. The median of the rounds counts.

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::peers::Setting;
use crate::report::Row;
use crate::{load, pace};

const FIGURE: &str = "latency";
const CONNECTIONS: usize = 64;
const RATE: u32 = 8_000;
const PACED: u32 = 8_000;
const UNPACED: usize = 15_000;
const ROUNDS: usize = 5;

pub fn measure() -> Vec<Row> {
    let setting = Setting::new(CONNECTIONS);
    let who = [
        contest::PROXYD,
        contest::PROXYD_UNIX,
        contest::NGINX,
        contest::HAPROXY,
        contest::CADDY,
        contest::TRAEFIK,
        contest::RELAY,
    ];
    let subjects = contest::line_up(FIGURE, &setting, &who);
    let ask = Ask::small();
    let reach = [("proxyd", Than::Best, 1.0), ("proxyd", Than::Subject("relay"), 1.1)];
    let mut rows = Vec::new();
    for (load, paced) in [("8,000 a second", true), ("as many as it can", false)] {
        let mut slowest = Vec::new();
        let middle = contest::run(FIGURE, &subjects, ROUNDS, |subject, counts| {
            let address = subject.peer.address;
            let mut took = if paced {
                pace::run(&setting, address, &ask, CONNECTIONS, RATE, PACED)?
            } else {
                load::timed(&setting, address, &ask, CONNECTIONS, UNPACED)?
            };
            took.sort_unstable();
            if counts {
                slowest.push((subject.name, of(&took, 99)));
            }
            Ok(of(&took, 50))
        });
        rows.extend(middle.rows(FIGURE, &format!("p50, {load}"), "us", &reach));
        let slowest = contest::medians(&subjects, slowest);
        rows.extend(slowest.rows(FIGURE, &format!("p99, {load}"), "us", &reach));
    }
    rows
}

/// Microseconds that so many of a hundred are not above.
fn of(sorted: &[u64], percent: usize) -> f64 {
    let nanoseconds = sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
    let microseconds = nanoseconds as f64 / 1000.0;
    microseconds
}
