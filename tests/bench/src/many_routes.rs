//! `routes`: CPU per request of a proxyd with 10,000 routes, and of one with a single route.
//!
//! The requests are for one host of the ten thousand; they arrived one by one at the control API.

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::load;
use crate::peers::{Peer, Setting, proxyd};
use crate::report::Row;

const FIGURE: &str = "routes";
const CONNECTIONS: usize = 64;
const REQUESTS: usize = 40_000;
const WARM_UP: usize = 5_000;
const ROUNDS: usize = 9;
const ROUTES: usize = 10_000;

pub fn measure() -> Vec<Row> {
    let setting = Setting::new(CONNECTIONS);
    let who: [(&'static str, contest::Start); 2] =
        [("1 route", proxyd::to_tcp), ("10,000 routes", with_many)];
    let subjects = contest::line_up(FIGURE, &setting, &who);
    let ask = Ask::small();
    let standing = contest::run(FIGURE, &subjects, ROUNDS, |subject, counts| {
        let requests = if counts { REQUESTS } else { WARM_UP };
        let load = || load::run(&setting, subject.peer.address, &ask, CONNECTIONS, requests);
        contest::cost(subject, requests, load)
    });
    standing.rows(FIGURE, "", "us", &[("10,000 routes", Than::Subject("1 route"), 1.03)])
}

fn with_many(setting: &Setting) -> Result<Peer, String> {
    let peer = proxyd::to_tcp(setting)?;
    let control = peer.control.as_ref().ok_or("there is no control socket")?;
    // One is there already.
    for number in 1..ROUTES {
        let path = format!("/routes/app-{number}.example.test");
        proxyd::put(control, &path, r#"{"service":"origin"}"#)?;
    }
    Ok(peer)
}
