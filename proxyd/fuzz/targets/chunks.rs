//! Any bytes as a chunked body, of a request and of an answer: both mean the same, in all pieces,
//! to us and to a strict reader that is not ours, and so does what goes out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::fuzz::{Payload, Reading, answer, request};
use proxyd_fuzz::strict::{self, Hand, Outcome};
use proxyd_fuzz::{cuts, everywhere};

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|bytes: &[u8]| {
    let there = [REQUEST, bytes].concat();
    let back = [ANSWER, bytes].concat();
    let whole = of_request(&there, &[]);
    for ends in [cuts(&there), everywhere(&there)] {
        assert!(same(&whole, &of_request(&there, &ends)), "another meaning in {ends:?}");
    }
    for ends in [vec![], cuts(&back), everywhere(&back)] {
        assert!(same(&whole, &of_answer(&back, &ends)), "another meaning behind us in {ends:?}");
    }
    match (whole, strict::read(&there, Hand::Client)) {
        (Reading::Whole(ours), Outcome::Whole { request, .. }) => {
            assert_eq!(ours.bytes, request.body);
            let Outcome::Whole { request: again, used } = strict::read(&ours.written, Hand::Proxy)
            else {
                panic!("{:?}", String::from_utf8_lossy(&ours.written))
            };
            assert_eq!((used, &again.body), (ours.written.len(), &ours.bytes));
            // Some of the fields behind it, in their order, and no others.
            let mut came = request.trailers.iter();
            assert!(again.trailers.iter().all(|field| came.any(|other| other == field)));
        }
        (Reading::Partial, Outcome::Partial) => {}
        // A mistake may be seen before its line is over, and bounds are only ours.
        (Reading::Refused { .. }, Outcome::Refused(_) | Outcome::Partial) => {}
        (Reading::Refused { bound: true }, _) => {}
        (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
    }
});

/// The body without what its head adds.
fn of_request(bytes: &[u8], ends: &[usize]) -> Reading<Payload> {
    match request(bytes, ends, false) {
        Reading::Whole(request) => whole(request.body, REQUEST),
        Reading::Partial => Reading::Partial,
        Reading::Refused { bound } => Reading::Refused { bound },
    }
}

fn of_answer(bytes: &[u8], ends: &[usize]) -> Reading<Payload> {
    match answer(bytes, ends, false) {
        Reading::Whole(answer) => whole(answer.body, ANSWER),
        Reading::Partial => Reading::Partial,
        Reading::Refused { bound } => Reading::Refused { bound },
    }
}

fn whole(mut body: Payload, head: &[u8]) -> Reading<Payload> {
    body.used -= head.len();
    Reading::Whole(Box::new(body))
}

fn same(one: &Reading<Payload>, other: &Reading<Payload>) -> bool {
    match (one, other) {
        (Reading::Whole(one), Reading::Whole(other)) => {
            (&one.bytes, &one.trailers, one.used) == (&other.bytes, &other.trailers, other.used)
        }
        (Reading::Refused { .. }, Reading::Refused { .. }) => true,
        _ => one == other,
    }
}
