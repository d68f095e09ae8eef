//! `http2-100`, `http2-100-tls`: CPU per proxied request, 33 bytes of answer, over one HTTP/2 connection with 100 streams
//! at a time; HTTP/1.1 behind. Without TLS, and within TLS 1.3 (`TLS_AES_128_GCM_SHA256`, X25519).

use std::net::SocketAddr;
use std::process::Command;

use crate::contest::{self, Start, Than};
use crate::peers::{HOST, Setting, caddy, haproxy, nginx, proxyd};
use crate::report::Row;

const STREAMS: usize = 100;
const REQUESTS: usize = 40_000;
const WARM_UP: usize = 4_000;
const ROUNDS: usize = 7;

pub fn of_100_streams() -> Vec<Row> {
    let who: [(&str, Start); 4] = [
        ("proxyd", proxyd::over_http2),
        ("nginx", nginx::over_http2),
        ("haproxy", haproxy::over_http2),
        ("caddy", caddy::over_http2),
    ];
    measure("http2-100", "http", &who)
}

pub fn of_100_streams_over_tls() -> Vec<Row> {
    measure("http2-100-tls", "https", &contest::OVER_TLS)
}

fn measure(figure: &str, scheme: &str, who: &[(&'static str, Start)]) -> Vec<Row> {
    let setting = Setting::new(STREAMS);
    let ask = |address, requests| ask(scheme, address, requests);
    let subjects = contest::line_up_by(figure, &setting, who, |address| ask(address, 1));
    let standing = contest::run(figure, &subjects, ROUNDS, |subject, counts| {
        let requests = if counts { REQUESTS } else { WARM_UP };
        contest::cost(subject, requests, || ask(subject.peer.address, requests))
    });
    standing.rows(figure, "", "us", &[("proxyd", Than::Best, 1.0)])
}

/// So many requests, of which each has to be answered with 200.
fn ask(scheme: &str, address: SocketAddr, requests: usize) -> Result<(), String> {
    let (count, streams) = (requests.to_string(), STREAMS.to_string());
    let mut h2load = Command::new("h2load");
    h2load.args(["-c", "1", "-n", &count, "-m", &streams]);
    h2load.args(["--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--groups", "X25519"]);
    h2load.arg(format!("--connect-to={address}"));
    h2load.arg(format!("{scheme}://{HOST}/path?query=1"));
    let output = h2load.output().map_err(|error| format!("h2load cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains(&format!("status codes: {requests} 2xx,")) {
        Ok(())
    } else {
        Err(format!("h2load says: {said}"))
    }
}
