//! `new-connections`: CPU per connection that has one request, 33 bytes of answer and an end.
//!
//! A client asks with `Connection: close` and connects anew after the answer, 32 at a time. Proxies
//! keep their connections to the origin; the relay cannot, and makes two connections where they make
//! one.

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::load;
use crate::peers::Setting;
use crate::report::Row;

const FIGURE: &str = "new-connections";
const AT_ONCE: usize = 32;
const CONNECTIONS: usize = 4_000;
const WARM_UP: usize = 500;
const ROUNDS: usize = 7;

pub fn measure() -> Vec<Row> {
    let setting = Setting::new(2 * AT_ONCE);
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
    let ask = Ask::once();
    let standing = contest::run(FIGURE, &subjects, ROUNDS, |subject, counts| {
        let connections = if counts { CONNECTIONS } else { WARM_UP };
        let load = || load::run(&setting, subject.peer.address, &ask, AT_ONCE, connections);
        contest::cost(subject, connections, load)
    });
    standing.rows(FIGURE, "", "us", &[("proxyd", Than::Best, 0.9)])
}
