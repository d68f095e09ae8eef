//! `tls-keep-alive`: CPU per proxied request as in `proxied-request`, over kept connections of TLS 1.3
//! (`TLS_AES_128_GCM_SHA256`). Their handshakes do not count.

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::peers::Setting;
use crate::report::Row;
use crate::secure::Crowd;

const FIGURE: &str = "tls-keep-alive";
const CONNECTIONS: usize = 64;
const REQUESTS: usize = 20_000;
const WARM_UP: usize = 4_000;
const ROUNDS: usize = 7;

pub fn measure() -> Vec<Row> {
    let setting = Setting::new(CONNECTIONS);
    let ask = Ask::small();
    let connect = |address, count| Crowd::connect(&setting, address, &ask, count);
    let subjects = contest::line_up_by(FIGURE, &setting, &contest::OVER_TLS, |address| {
        connect(address, 1).map(drop)
    });
    let standing = contest::run(FIGURE, &subjects, ROUNDS, |subject, counts| {
        let requests = if counts { REQUESTS } else { WARM_UP };
        let mut crowd = connect(subject.peer.address, CONNECTIONS)?;
        contest::cost(subject, requests, || crowd.ask(&setting, &ask, requests))
    });
    standing.rows(FIGURE, "", "us", &[("proxyd", Than::Best, 1.0)])
}
