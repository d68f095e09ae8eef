//! The hot path costs no more than it did: instructions, which no other load of the machine adds to.

use jobinit_tests::proxyd::instructions::{CASES, Count, TOLERANCE, countable, recorded};
use jobinit_tests::tools;

/// A count that is too high is taken again: what disturbs it only adds.
const TRIES: usize = 4;

#[test]
fn p00_instructions_a_request() {
    if !tools::present(&["valgrind"]) {
        return;
    }
    if !countable() {
        tools::skip("proxyd is not the one that `make build` makes");
        return;
    }
    let recorded = recorded();
    for case in CASES {
        let before = recorded.get(case.name).copied();
        let before = before.unwrap_or_else(|| panic!("{} is not on record", case.name));
        let most = before * TOLERANCE;
        let (mut count, mut counts) = (Count::new(case), Vec::new());
        while counts.last().is_none_or(|count| *count > most) {
            assert!(
                counts.len() < TRIES,
                "{}: a request took {before:.0} instructions and takes {counts:.0?}. If it is worth \
                 it, record that with `make bench FIGURE=--update`",
                case.name
            );
            counts.push(count.again());
        }
        println!("{}: {counts:.0?} instructions a request, {before:.0} on record", case.name);
    }
}
