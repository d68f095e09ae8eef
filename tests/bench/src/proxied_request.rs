//! CPU per proxied request: 33 bytes of answer, 64 keep-alive connections.
//!
//! Proxies run on core 0, load and origin on core 1. Each round measures every subject once, and
//! the median of the rounds counts, so that what else the machine does falls on all alike.

use crate::cpu;
use crate::load;
use crate::origin;
use crate::peers::{self, Peer};
use crate::report::{Row, median};

const FIGURE: &str = "proxied-request";
const CONNECTIONS: usize = 64;
const REQUESTS: usize = 40_000;
const WARM_UP: usize = 5_000;
const ROUNDS: usize = 7;

struct Subject {
    name: &'static str,
    peer: Peer,
    /// Microseconds a request, a round each.
    rounds: Vec<f64>,
}

pub fn measure() -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unix = folder.path().join("origin.sock");
    let origin = origin::start(&unix);
    cpu::pin(0);
    let here = folder.path();
    let candidates = [
        ("proxyd", peers::proxyd(here, &format!("tcp:{origin}"))),
        ("proxyd to a unix socket", peers::proxyd(here, &format!("unix:{}", unix.display()))),
        ("nginx", peers::nginx(here, origin)),
        ("haproxy", peers::haproxy(here, origin)),
        ("relay (the floor)", peers::relay(origin)),
    ];
    let mut subjects = Vec::new();
    for (name, peer) in candidates {
        match peer {
            Ok(peer) => subjects.push(Subject { name, peer, rounds: Vec::new() }),
            Err(why) => eprintln!("!!! {FIGURE}: {name} is SKIPPED: {why}"),
        }
    }
    cpu::pin(1);
    for round in 0..=ROUNDS {
        for subject in &mut subjects {
            let requests = if round == 0 { WARM_UP } else { REQUESTS };
            let before = cpu::used(subject.peer.pid());
            if let Err(why) = load::run(subject.peer.address, CONNECTIONS, requests) {
                eprintln!("!!! {FIGURE}: a round of {} is SKIPPED: {why}", subject.name);
                continue;
            }
            let used = cpu::used(subject.peer.pid()) - before;
            if round > 0 {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                subject.rounds.push(used as f64 / requests as f64 / 1000.0);
            }
        }
    }
    let values: Vec<(&str, f64)> = subjects
        .iter()
        .filter(|subject| !subject.rounds.is_empty())
        .map(|subject| (subject.name, median(subject.rounds.clone())))
        .collect();
    rows(&values)
}

/// Each value, ours compared to every other's.
fn rows(values: &[(&str, f64)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, value) in values {
        let row = Row::new(FIGURE, name, *value, "us");
        if name.starts_with("proxyd") {
            let others = values.iter().filter(|(other, _)| !other.starts_with("proxyd"));
            rows.extend(others.map(|(other, theirs)| row.compared(other, *theirs)));
        } else {
            rows.push(row);
        }
    }
    rows
}
