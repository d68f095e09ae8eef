//! Any bytes as an answer, to HEAD or to something else: however they come in pieces they mean the
//! same; a strict reader that is not ours reads the same in them; and so does the client.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proxyd::fuzz::{Answer, Reading, answer};
use proxyd_fuzz::strict_answer::{self as strict, Outcome};
use proxyd_fuzz::{cuts, everywhere};

fuzz_target!(|bytes: &[u8]| {
    for to_head in [false, true] {
        let whole = answer(bytes, &[], to_head);
        for ends in [cuts(bytes), everywhere(bytes)] {
            assert!(same(&whole, &answer(bytes, &ends, to_head)), "another meaning in {ends:?}");
        }
        match (whole, strict::read(bytes, to_head)) {
            (Reading::Whole(ours), Outcome::Whole(theirs)) => {
                assert_eq!(ours.status, theirs.status);
                assert_eq!(ours.until_close, theirs.until_close);
                assert_eq!((&ours.body.bytes, ours.body.used), (&theirs.body, theirs.used));
                check_written(&ours, &theirs, to_head);
            }
            (Reading::Partial, Outcome::Partial) => {}
            // A mistake may be seen before its line is over, and bounds are only ours.
            (Reading::Refused { .. }, Outcome::Refused(_) | Outcome::Partial) => {}
            (Reading::Refused { bound: true }, _) => {}
            (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
        }
    }
});

fn same(one: &Reading<Answer>, other: &Reading<Answer>) -> bool {
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

fn check_written(ours: &Answer, theirs: &strict::Answer, to_head: bool) {
    let written = &ours.body.written;
    let Outcome::Whole(again) = strict::read(written, to_head) else {
        panic!("{:?}", String::from_utf8_lossy(written))
    };
    assert_eq!((again.status, &again.body), (ours.status, &ours.body.bytes));
    assert!(!again.until_close && again.used == written.len());
    // Nothing is there that did not come; what frames is our own.
    for (name, value) in &again.fields {
        let came = theirs.fields.iter().any(|(n, v)| n == name && v == value);
        let framing = ["content-length", "transfer-encoding", "connection", "upgrade"];
        assert!(came || framing.contains(&name.as_str()), "{name}: {value:?}");
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(written).expect("what is written is HTTP");
    assert!(status.is_complete());
    assert_eq!((parsed.code, parsed.version), (Some(ours.status), Some(1)));
    assert_eq!(parsed.headers.len(), again.fields.len());
}
