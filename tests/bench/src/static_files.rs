//! `static-1m`, `static-16k`: CPU of a file that whoever is measured serves by itself: from memory, over HTTP/1.1,
//! with sendfile where it is worth it. One is mostly bytes, the other mostly heads.

use crate::ask::Ask;
use crate::contest::{self, Than};
use crate::load;
use crate::peers::{self, Setting};
use crate::report::Row;

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 16;

pub fn of_1_mib() -> Vec<Row> {
    measure("static-1m", "1m.bin", 1 << 20, 600, "us/MiB")
}

pub fn of_16_kib() -> Vec<Row> {
    measure("static-16k", "16k.bin", 16 << 10, 10_000, "us")
}

fn measure(figure: &str, name: &str, size: usize, requests: usize, unit: &'static str) -> Vec<Row> {
    let setting = Setting::new(CONNECTIONS);
    let file = vec![b'x'; size];
    peers::write_site(&setting, name, &file).expect("the file can be written");
    let ask = Ask::file(name, size);
    let who =
        [("proxyd", peers::proxyd::of_files as contest::Start), ("nginx", peers::nginx::of_files)];
    let once = |address| load::run(&setting, address, &ask, 1, 1);
    let subjects = contest::line_up_by(figure, &setting, &who, once);
    let standing = contest::run(figure, &subjects, ROUNDS, |subject, counts| {
        let requests = if counts { requests } else { CONNECTIONS };
        let load = || load::run(&setting, subject.peer.address, &ask, CONNECTIONS, requests);
        contest::cost(subject, requests, load)
    });
    standing.rows(figure, "get", unit, &[("proxyd", Than::Best, 1.0)])
}
