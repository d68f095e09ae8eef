//! proxyd: whatever a client sends is refused, or is one request behind the proxy that all readers
//! read in the same way.

use std::io::Write;
use std::sync::Arc;

use jobinit_tests::proxyd::lenient::Habits;
use jobinit_tests::proxyd::strict::{self, Hand, Outcome, Request};
use jobinit_tests::proxyd::vectors::{self, Expected, Vector};
use jobinit_tests::proxyd::{
    Answer, Backend, Client, Mutations, Proxyd, Random, Seen, checksum, judge,
};

/// Tells what it has read, so that an answer can be told from the answer to something else.
fn telling() -> Backend {
    Backend::start(|seen, out| {
        let text = tell(&seen.method, &seen.target, &seen.body);
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len())?;
        if seen.method != "HEAD" {
            out.write_all(text.as_bytes())?;
        }
        Ok(true)
    })
}

fn tell(method: &str, target: &str, body: &[u8]) -> String {
    format!("{method} {target} {} {:x}", body.len(), checksum(body))
}

/// Looks at the answer to a vector, and at what becomes of the connection.
fn check(vector: &Vector, client: &mut Client, answer: &Answer) {
    match vector.expected {
        Expected::Refused(status) => {
            assert_eq!(answer.status, status, "{} was answered {}", vector.show(), answer.text());
            assert_eq!(answer.field("connection").unwrap(), "close", "{}", vector.show());
            assert!(client.is_closed(), "{}", vector.show());
        }
        Expected::Passes(body) => {
            assert_eq!(answer.status, 200, "{} was answered {}", vector.show(), answer.text());
            let text = answer.text();
            let end = format!(" {} {:x}", body.len(), checksum(body.as_bytes()));
            assert!(text.contains(" /v") && text.ends_with(&end), "{} was {text}", vector.show());
            if answer.field("connection").is_some_and(|option| option == "close") {
                assert!(client.is_closed(), "{}", vector.show());
            } else {
                let next = client.get("/next").text();
                assert_eq!(next, tell("GET", "/next", b""), "behind {}", vector.show());
            }
        }
    }
}

/// Every request that came through, after all readers have agreed on it.
fn judged(backend: &Backend) -> Vec<Request> {
    let connections = backend.raw_bytes();
    connections.iter().flat_map(|bytes| judge(bytes, Habits::all())).collect()
}

#[test]
fn p09_vectors_in_one_piece() {
    let backend = telling();
    let proxyd = Proxyd::with_target(&backend.target());
    let vectors = vectors::all();
    for vector in &vectors {
        let mut client = proxyd.client();
        let _ = client.try_send(&vector.bytes);
        let answer = client.try_answer(false);
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", vector.show()));
        check(vector, &mut client, &answer);
    }
    let passing = vectors.iter().filter(|v| matches!(v.expected, Expected::Passes(_))).count();
    let requests = judged(&backend);
    let of_vectors = requests.iter().filter(|request| request.target.starts_with("/v")).count();
    assert_eq!(of_vectors, passing, "one request for each, and none for what is refused");
    assert!(requests.iter().all(|r| r.target == "/next" || r.target.starts_with("/v")));
    assert!(requests.iter().all(|request| request.host == "app.test"));
}

#[test]
fn p09_vectors_byte_by_byte() {
    let backend = telling();
    let proxyd = Proxyd::with_target(&backend.target());
    let vectors = vectors::all();
    let short: Vec<&Vector> = vectors.iter().filter(|vector| vector.bytes.len() < 300).collect();
    for vector in &short {
        let mut client = proxyd.client();
        for byte in &vector.bytes {
            // Refused early, it may not take the rest.
            if client.try_send([*byte]).is_err() {
                break;
            }
        }
        if let Ok(answer) = client.try_answer(false) {
            check(vector, &mut client, &answer);
        } else {
            assert!(matches!(vector.expected, Expected::Refused(_)), "{}", vector.show());
        }
    }
    let passing = short.iter().filter(|v| matches!(v.expected, Expected::Passes(_))).count();
    let requests = judged(&backend);
    let of_vectors = requests.iter().filter(|request| request.target.starts_with("/v")).count();
    assert_eq!(of_vectors, passing, "one request for each, and none for what is refused");
    assert!(requests.iter().all(|r| r.target == "/next" || r.target.starts_with("/v")));
}

#[test]
fn p09_the_strict_reader_agrees_with_the_table() {
    for vector in vectors::all() {
        let outcome = strict::read(&vector.bytes, Hand::Client);
        match (vector.expected, outcome) {
            (Expected::Passes(body), Outcome::Whole { request, used }) => {
                assert_eq!(request.body, body.as_bytes(), "{}", vector.show());
                assert_eq!(used, vector.bytes.len(), "{}", vector.show());
            }
            (Expected::Refused(_), Outcome::Refused(_) | Outcome::Partial) => {}
            // It knows of no bounds.
            (Expected::Refused(_), _) if vector.bytes.len() > 400 => {}
            (_, outcome) => panic!("{outcome:?} for {}", vector.show()),
        }
    }
}

/// What is mutated.
const SEEDS: &[&str] = &[
    "GET /v?query HTTP/1.1\r\nHost: app.test\r\nUser-Agent: fuzz\r\nAccept: */*\r\n\r\n",
    "POST /v HTTP/1.1\r\nHost: app.test\r\nContent-Length: 11\r\n\r\nhello=world",
    "POST /v HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
     5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: x\r\n\r\n",
    "POST /v HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "GET http://app.test/v HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, X\r\nX: y\r\n\r\n",
    "PUT /v HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "HEAD /v HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n",
    "POST /v HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 36\r\n\r\n\
     GET /v HTTP/1.1\r\nHost: app.test\r\n\r\nx",
    "GET /v HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
];

/// What mutations put in.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    "\u{b}",
    ":",
    ",",
    ";",
    "0",
    "1",
    "-1",
    "+3",
    "0x3",
    "ffffffffffffffff",
    "\u{7f}",
    "_",
    "Content-Length: 3\r\n",
    "Content-Length: 5\r\n",
    "content_length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Host: app.test\r\n",
    "Host: other.test\r\n",
    "Connection: close\r\n",
    "Connection: Content-Length\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "\r\n\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/2.0",
    "0\r\n\r\n",
    "3\r\nabc\r\n",
    "GET /v HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "GET / ",
    "\u{e9}",
    "Content-Length",
    "chunked",
    "http://",
    "[::1]",
];

const MUTATIONS: Mutations = Mutations { seeds: SEEDS, pieces: PIECES, cut: false };

/// What the strict reader says of all that is sent in one go.
struct Foretold {
    requests: Vec<Request>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another request may follow.
    Open,
    Closed,
    Refused,
    Partial,
}

fn foretell(bytes: &[u8]) -> Foretold {
    let mut requests = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match strict::read(&bytes[at..], Hand::Client) {
            Outcome::Partial => return Foretold { requests, end: End::Partial },
            Outcome::Refused(_) => return Foretold { requests, end: End::Refused },
            Outcome::Whole { request, used } => {
                let last = request.last;
                requests.push(*request);
                at += used;
                if last {
                    return Foretold { requests, end: End::Closed };
                }
            }
        }
    }
    Foretold { requests, end: End::Open }
}

/// Sends one mutation and a good request behind it, and holds what comes against what was
/// foretold. `None`: the connection has ended, as it should.
fn attack(mut client: Client, bytes: &[u8], passed: &mut Vec<Request>) -> Option<Client> {
    let foretold = foretell(bytes);
    // Refused early, it may not take the rest.
    let _ = client.try_send(bytes);
    for request in foretold.requests {
        let answer = client.try_answer(request.method == "HEAD").expect("an answer");
        if request.host != "app.test" {
            assert_eq!(answer.status, 404, "{request:?}");
            continue;
        }
        assert_eq!(answer.status, 200, "{request:?}");
        if request.method != "HEAD" {
            assert_eq!(answer.text(), tell(&request.method, &request.target, &request.body));
        }
        passed.push(request);
    }
    match foretold.end {
        End::Open => return Some(client),
        End::Closed => {}
        End::Refused => {
            let answer = client.try_answer(false).expect("an answer");
            assert!(matches!(answer.status, 400..=499 | 505), "{answer:?}");
            assert_eq!(answer.field("connection").unwrap(), "close");
        }
        End::Partial => {
            client.finish_sending();
            if let Ok(answer) = client.try_answer(false) {
                assert!(matches!(answer.status, 400..=499), "{answer:?}");
            }
        }
    }
    assert!(client.is_closed());
    None
}

const ROUNDS: usize = 8000;

#[test]
fn p09_mutations_on_kept_connections() {
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20);
    println!("to repeat: FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let backend = telling();
    let proxyd = Proxyd::with_target(&backend.target());
    let mut passed = Vec::new();
    let mut kept = None;
    let mut reused = 0;
    for round in 0..ROUNDS {
        let mut bytes = MUTATIONS.one(&mut random);
        let shown = Arc::new(String::from_utf8_lossy(&bytes).into_owned());
        bytes.extend(format!("GET /good/{round} HTTP/1.1\r\nHost: app.test\r\n\r\n").bytes());
        reused += usize::from(kept.is_some());
        let client = kept.take().unwrap_or_else(|| proxyd.client());
        let attacked = std::panic::AssertUnwindSafe(|| attack(client, &bytes, &mut passed));
        kept = std::panic::catch_unwind(attacked).unwrap_or_else(|panic| {
            eprintln!("to repeat: FUZZ_SEED={seed}; round {round}: {shown:?}");
            std::panic::resume_unwind(panic)
        });
    }
    assert!(reused > ROUNDS / 10, "connections were kept {reused} times");
    // Behind the proxy there is what the answers told of, in that order, and nothing else.
    let behind = backend.seen();
    for (seen, passed) in behind.iter().zip(&passed) {
        assert_eq!(of(seen), (&passed.method[..], &passed.target[..], &passed.body[..]));
    }
    assert_eq!(behind.len(), passed.len(), "FUZZ_SEED={seed}");
    let connections = backend.raw_bytes();
    let readers = [0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 0x99, 0x66].map(Habits);
    let judged = connections.iter().map(|bytes| judge(bytes, readers).len());
    assert_eq!(judged.sum::<usize>(), passed.len(), "FUZZ_SEED={seed}");
    assert!(!proxyd.stderr().contains("panicked"), "{}", proxyd.stderr());
}

fn of(seen: &Seen) -> (&str, &str, &[u8]) {
    (&seen.method, &seen.target, &seen.body)
}

#[test]
fn o19_the_handshake_of_rfc_6455() {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    // "Hello", masked and not, as in its section 5.7.
    const MASKED: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    const PLAIN: &[u8] = b"\x81\x05\x48\x65\x6c\x6c\x6f";
    let backend = Backend::raw(|mut connection| {
        let Some(head) = connection.head() else { return };
        assert_eq!(head.field("sec-websocket-key").unwrap(), KEY);
        assert_eq!(head.field("sec-websocket-protocol").unwrap(), "chat, superchat");
        assert_eq!(head.field("sec-websocket-version").unwrap(), "13");
        assert_eq!(head.field("origin").unwrap(), "http://app.test");
        assert_eq!(connection.take_unread(), b"", "nothing may come before 101");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        );
        let _ = connection.stream.write_all(answer.as_bytes());
        assert_eq!(connection.read_exact(MASKED.len()).unwrap(), MASKED);
        let _ = connection.stream.write_all(PLAIN);
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let head = format!(
        "GET /chat HTTP/1.1\r\nHost: app.test\r\nUpgrade: WebSocket\r\n\
         Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nOrigin: http://app.test\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    client.send([head.as_bytes(), MASKED].concat());
    let answer = client.answer();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.field("sec-websocket-accept").unwrap(), ACCEPT);
    assert_eq!(answer.field("sec-websocket-protocol").unwrap(), "chat");
    assert_eq!(client.read_exact(PLAIN.len()), PLAIN);
}
