//! `proxied-request`, `proxied-request-1000`: CPU per proxied request, 33 bytes of answer, over 64
//! and over 1,000 keep-alive connections, to TCP and to unix-socket targets.
//!
//! What the kernel does for a proxy's sockets counts as the proxy's; what clients and origin do
//! does not. The floor has no log, no head to parse and none to write.

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::load;
use crate::peers::Setting;
use crate::report::Row;

const REQUESTS: usize = 20_000;
const WARM_UP: usize = 4_000;

pub fn of_64() -> Vec<Row> {
    measure("proxied-request", 64, 7)
}

pub fn of_1000() -> Vec<Row> {
    measure("proxied-request-1000", 1000, 5)
}

fn measure(figure: &str, connections: usize, rounds: usize) -> Vec<Row> {
    let setting = Setting::new(connections);
    let who = [
        contest::PROXYD,
        contest::PROXYD_UNIX,
        contest::NGINX,
        contest::HAPROXY,
        contest::CADDY,
        contest::TRAEFIK,
        contest::RELAY,
        contest::RELAY_UNIX,
    ];
    let subjects = contest::line_up(figure, &setting, &who);
    let ask = Ask::small();
    let standing = contest::run(figure, &subjects, rounds, |subject, counts| {
        let requests = if counts { REQUESTS } else { WARM_UP };
        let load = || load::run(&setting, subject.peer.address, &ask, connections, requests);
        contest::cost(subject, requests, load)
    });
    let reach = [
        ("proxyd", Than::Best, 0.9),
        ("proxyd", Than::Subject("relay"), 1.1),
        ("proxyd to a unix socket", Than::Best, 0.8),
        ("proxyd to a unix socket", Than::Subject("relay to a unix socket"), 1.1),
    ];
    standing.rows(figure, "", "us", &reach)
}
