//! `body-1m`, `body-100m`: CPU per MiB of a large body, from the target to the client (down) and
//! back (up).
//!
//! A request of a 1 MiB body costs what a MiB costs, one of 100 MiB a hundred times that; what a
//! head costs is in both. The clients throw away what comes without looking at it, so that whoever is
//! measured is the slowest on the way. There are two floors: the relay copies as proxyd does, the
//! other one moves pages through a pipe.

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::load;
use crate::peers::Setting;
use crate::report::Row;

const MIB: usize = 1 << 20;
const ROUNDS: usize = 5;

pub fn of_1_mib() -> Vec<Row> {
    measure("body-1m", 1, 16, 400)
}

pub fn of_100_mib() -> Vec<Row> {
    measure("body-100m", 100, 4, 8)
}

fn measure(figure: &str, mib: usize, connections: usize, requests: usize) -> Vec<Row> {
    let setting = Setting::new(connections);
    let who = [
        contest::PROXYD,
        contest::PROXYD_UNIX,
        contest::NGINX,
        contest::HAPROXY,
        contest::HAPROXY_SPLICE,
        contest::CADDY,
        contest::TRAEFIK,
        contest::RELAY,
        contest::RELAY_UNIX,
        contest::RELAY_SPLICE,
    ];
    let subjects = contest::line_up(figure, &setting, &who);
    let reach = [
        ("proxyd", Than::Best, 0.7),
        ("proxyd", Than::Subject("relay"), 1.1),
        ("proxyd to a unix socket", Than::Subject("relay to a unix socket"), 1.1),
    ];
    let mut rows = Vec::new();
    for (what, ask) in [("down", Ask::download(mib * MIB)), ("up", Ask::upload(mib * MIB))] {
        let standing = contest::run(figure, &subjects, ROUNDS, |subject, counts| {
            let requests = if counts { requests } else { connections };
            let load = || load::run(&setting, subject.peer.address, &ask, connections, requests);
            contest::cost(subject, requests * mib, load)
        });
        rows.extend(standing.rows(figure, what, "us/MiB", &reach));
    }
    rows
}
