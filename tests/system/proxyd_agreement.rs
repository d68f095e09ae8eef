//! proxyd: where nginx and `HAProxy` are of one opinion about a request, so is proxyd, or it is
//! stricter for a reason that is written down.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jobinit_tests::proxyd::vectors::{self, Expected};
use jobinit_tests::proxyd::{Backend, Peer};
use jobinit_tests::tools;

const NGINX: &str = "/usr/sbin/nginx";
const HAPROXY: &str = "/usr/sbin/haproxy";

/// Takes whatever it is sent for a request.
fn origin() -> Backend {
    Backend::raw(|mut connection| {
        let mut came = Vec::new();
        while !came.windows(4).any(|window| window == b"\r\n\r\n") {
            if connection.more().is_none() {
                return;
            }
            came.extend(connection.take_unread());
        }
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        let _ = std::io::Write::write_all(&mut connection.stream, answer);
        // Whoever is still sending gets to read it.
        while connection.more().is_some() {}
    })
}

#[test]
fn p09_where_others_agree_so_do_we() {
    if !tools::present(&[NGINX, HAPROXY]) {
        return;
    }
    let origin = origin();
    let peers = [Peer::nginx(NGINX, origin.address), Peer::haproxy(HAPROXY, origin.address)];
    let vectors = vectors::all();
    let next = AtomicUsize::new(0);
    // Several at a time: some are waited for until the peer has had enough.
    let wrong: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut wrong = Vec::new();
            while let Some(vector) = vectors.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answers = [0, 1].map(|peer: usize| peers[peer].answers(&vector.bytes));
                let taken = answers.map(|answer| answer.is_some_and(|status| status < 300));
                let ours = matches!(vector.expected, Expected::Passes(_));
                let agrees = taken != [!ours; 2] || (!ours && vector.stricter.is_some());
                if !agrees {
                    wrong.push(format!("nginx, HAProxy: {answers:?} for {}", vector.show()));
                }
            }
            wrong
        };
        let workers: Vec<_> = (0..32).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
