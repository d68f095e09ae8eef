//! Any bytes as a request: however they come in pieces they mean the same; a strict reader that is
//! not ours reads the same in them; and what goes to the target means the same to everybody.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::fuzz::{Reading, Request, request};
use proxyd_fuzz::judge::judge;
use proxyd_fuzz::lenient::Habits;
use proxyd_fuzz::strict::{self, Hand, Outcome};
use proxyd_fuzz::{cuts, everywhere};

fuzz_target!(|bytes: &[u8]| {
    for trusted in [false, true] {
        check(bytes, trusted);
    }
});

fn check(bytes: &[u8], trusted: bool) {
    let whole = request(bytes, &[], trusted);
    for ends in [cuts(bytes), everywhere(bytes)] {
        let pieces = request(bytes, &ends, trusted);
        assert!(same(&whole, &pieces), "another meaning in pieces {ends:?}");
    }
    match (whole, strict::read(bytes, Hand::Client)) {
        (Reading::Whole(ours), Outcome::Whole { request, used }) => {
            assert_eq!(ours.method, request.method.as_bytes());
            assert_eq!(ours.target, request.target.as_bytes());
            assert_eq!(ours.host, request.host);
            assert_eq!(ours.last, request.last);
            assert_eq!(ours.body.bytes, request.body);
            assert_eq!(ours.body.used, used);
            if !ours.host.is_empty() {
                check_written(&ours);
            }
        }
        (Reading::Partial, Outcome::Partial) => {}
        // A mistake may be seen before its line is over, and bounds are only ours.
        (Reading::Refused { .. }, Outcome::Refused(_) | Outcome::Partial) => {}
        (Reading::Refused { bound: true }, _) => {}
        (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
    }
}

fn same(one: &Reading<Request>, other: &Reading<Request>) -> bool {
    match (one, other) {
        (Reading::Whole(one), Reading::Whole(other)) => {
            let mut other = other.clone();
            other.body.written.clone_from(&one.body.written);
            *one == other
        }
        (Reading::Refused { .. }, Reading::Refused { .. }) => true,
        _ => one == other,
    }
}

fn check_written(ours: &Request) {
    let habits = [0, 1, 2, 4, 8, 16, 32, 64, 128, 255].map(Habits);
    let judged = judge(&ours.body.written, habits);
    let [judged] = &judged[..] else { panic!("{judged:?} from {ours:?}") };
    assert_eq!(judged.method.as_bytes(), ours.method);
    assert_eq!(judged.target.as_bytes(), ours.target);
    assert_eq!((&judged.host, &judged.body), (&ours.host, &ours.body.bytes));

    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Request::new(&mut fields);
    let status = parsed.parse(&ours.body.written).expect("what is written is HTTP");
    assert!(status.is_complete());
    assert_eq!(parsed.method.map(str::as_bytes), Some(&ours.method[..]));
    assert_eq!(parsed.path.map(str::as_bytes), Some(&ours.target[..]));
    assert_eq!(parsed.version, Some(1));
    let count = |name: &str| {
        parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
    };
    assert_eq!(count("host"), 1);
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    assert!(count("connection") <= 1 && count("x-forwarded-for") == 1);
}
