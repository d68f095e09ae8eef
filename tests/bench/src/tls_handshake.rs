//! `tls-handshake`, `tls-resumed`: CPU per TLS connection on which nothing is asked: a TCP connection, the handshake of
//! TLS 1.3 (X25519, ECDSA P-256, `TLS_AES_128_GCM_SHA256`), the tickets that each of them gives, and the end; 32 at a time.
//!
//! A resumed one is by a ticket, with X25519 and without a signature. Nobody keeps sessions: all of them seal tickets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};

use crate::contest::{self, Than};
use crate::peers::Setting;
use crate::report::Row;
use crate::secure;

const AT_ONCE: usize = 32;
const CONNECTIONS: usize = 2_000;
const WARM_UP: usize = 10 * AT_ONCE;
const ROUNDS: usize = 7;

pub fn full() -> Vec<Row> {
    measure("tls-handshake", HandshakeKind::Full)
}

pub fn resumed() -> Vec<Row> {
    measure("tls-resumed", HandshakeKind::Resumed)
}

fn measure(figure: &str, kind: HandshakeKind) -> Vec<Row> {
    let setting = Setting::new(2 * AT_ONCE);
    let resumes = kind == HandshakeKind::Resumed;
    let crowd = || (0..AT_ONCE).map(|_| secure::config(&setting, resumes)).collect::<Vec<_>>();
    let shake = |address, clients: &[Arc<ClientConfig>], count, kind| {
        secure::handshakes(&setting, address, clients, count, kind)
    };
    let subjects = contest::line_up_by(figure, &setting, &contest::OVER_TLS, |address| {
        shake(address, &crowd(), 1, None)
    });
    // What each has given its clients.
    let mut known: HashMap<SocketAddr, Vec<Arc<ClientConfig>>> = HashMap::new();
    let standing = contest::run(figure, &subjects, ROUNDS, |subject, counts| {
        let address = subject.peer.address;
        let clients = known.entry(address).or_insert_with(crowd);
        if !counts {
            return shake(address, clients, WARM_UP, None).map(|()| 0.0);
        }
        contest::cost(subject, CONNECTIONS, || shake(address, clients, CONNECTIONS, Some(kind)))
    });
    standing.rows(figure, "", "us", &[("proxyd", Than::Subject("nginx"), 0.65)])
}
