//! proxyd: whatever a target answers, the client gets that answer, or sees that it got none; and the
//! next one gets his own.

use std::io::Write;
use std::sync::{Arc, Mutex};

use jobinit_tests::proxyd::strict_answer::{self, Answer, Outcome};
use jobinit_tests::proxyd::{Backend, Client, Mutations, Proxyd, Random};

/// What is mutated.
const SEEDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n\r\nall there is",
];

/// What mutations put in.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    "0",
    "1",
    "-",
    "\u{7f}",
    "Content-Length: 3\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "0\r\n\r\n",
    "3\r\nabc\r\n",
];

const MUTATIONS: Mutations = Mutations { seeds: SEEDS, pieces: PIECES, cut: true };

/// What the strict reader says that the client has to see: nothing but that it got none, or this;
/// and whether there is something behind it.
fn foretell(bytes: &[u8]) -> (Option<Answer>, bool) {
    let mut rest = bytes;
    loop {
        match strict_answer::read(rest, false) {
            Outcome::Whole(answer) if answer.status < 200 && answer.status != 101 => {
                rest = &rest[answer.used..];
            }
            Outcome::Whole(answer) if answer.status != 101 => {
                let behind = rest.len() > answer.used;
                return (Some(answer), behind);
            }
            _ => return (None, false),
        }
    }
}

const ROUNDS: usize = 4000;

#[test]
fn p09_mutated_answers_reach_nobody_else() {
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20);
    println!("to repeat: FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let next = Arc::new(Mutex::new(Vec::new()));
    let current = Arc::clone(&next);
    let backend = Backend::start(move |seen, out| {
        if seen.target == "/good" {
            return out
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
                .map(|()| true);
        }
        let bytes: Vec<u8> = current.lock().unwrap().clone();
        // Refused early, it is not all taken.
        let _ = out.write_all(&bytes);
        // It stays wherever an answer says itself where it ends: then the proxy decides.
        Ok(foretell(&bytes).0.is_some_and(|answer| !answer.until_close))
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut kept: Option<Client> = None;
    let mut passed = 0;
    for round in 0..ROUNDS {
        let bytes = MUTATIONS.one(&mut random);
        let shown =
            format!("FUZZ_SEED={seed}; round {round}: {:?}", String::from_utf8_lossy(&bytes));
        let (expected, behind) = foretell(&bytes);
        *next.lock().unwrap() = bytes;
        let mut client = kept.take().unwrap_or_else(|| proxyd.client());
        client.send("GET /bad HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut answer = client.try_answer(false);
        while answer.as_ref().is_ok_and(|answer| answer.status < 200) {
            answer = client.try_answer(false);
        }
        match (expected, answer) {
            (Some(expected), Ok(answer)) => {
                assert_eq!(answer.status, expected.status, "{shown}");
                assert_eq!(answer.body, expected.body, "{shown}");
                assert!(answer.complete, "{shown}");
                passed += 1;
                kept = Some(client);
            }
            (None, Ok(answer)) if answer.complete => {
                assert_eq!(answer.status, 502, "{shown}");
                kept = Some(client);
            }
            (None, _) => {}
            (Some(_), Err(error)) => panic!("{error}: {shown}"),
        }
        let before = backend.connections();
        let mut client = kept.take().unwrap_or_else(|| proxyd.client());
        assert_eq!(client.get("/good").text(), "good", "after {shown}");
        assert!(!behind || backend.connections() > before, "used again after {shown}");
        kept = Some(client);
    }
    let some = ROUNDS / 10..ROUNDS - ROUNDS / 10;
    assert!(some.contains(&passed), "{passed} of {ROUNDS} answers passed");
    assert!(!proxyd.stderr().contains("panicked"), "{}", proxyd.stderr());
}
