//! proxyd: where nginx and `HAProxy` are of one opinion about a request or an answer, so is proxyd,
//! or it is stricter for a reason that is written down.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jobinit_tests::proxyd::vectors::{self, Expected};
use jobinit_tests::proxyd::{Backend, Peer, answers};
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
        let _ = connection.stream.write_all(answer);
        // Whoever is still sending gets to read it.
        while connection.more().is_some() {}
    })
}

#[test]
fn p09_where_others_agree_on_requests_so_do_we() {
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

/// Gives the answer of the number that is asked for, and closes.
fn app(list: Vec<Vec<u8>>) -> Backend {
    Backend::raw(move |mut connection| {
        let Some(head) = connection.head() else { return };
        let number: usize = head.target[1..].parse().unwrap();
        let _ = connection.stream.write_all(&list[number]);
    })
}

#[test]
fn p09_where_others_agree_on_answers_so_do_we() {
    if !tools::present(&[NGINX, HAPROXY]) {
        return;
    }
    let passing = answers::passing().into_iter().map(|(vector, _)| (vector, true));
    let refused = answers::refused().into_iter().map(|vector| (vector, false));
    let vectors: Vec<_> = passing.chain(refused).collect();
    let app = app(vectors.iter().map(|(vector, _)| vector.bytes.clone()).collect());
    let peers = [Peer::nginx(NGINX, app.address), Peer::haproxy(HAPROXY, app.address)];
    let mut wrong = Vec::new();
    for (number, (vector, ours)) in vectors.iter().enumerate() {
        let request =
            format!("GET /{number} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        let answers = [0, 1].map(|peer: usize| peers[peer].answers(request.as_bytes()));
        let taken = answers.map(|answer| answer.is_some_and(|status| status < 500));
        if taken == [!ours; 2] && (*ours || vector.stricter.is_none()) {
            wrong.push(format!("nginx, HAProxy: {answers:?} for {}", vector.show()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
