//! `instructions`: what proxyd spends on a keep-alive request in user space, one client and one
//! request at a time, beside what is on record in `instructions.toml`. A test fails when a count has
//! grown by more than 3 %; `bench --update` records what it counts.

use std::collections::BTreeMap;

use jobinit_tests::proxyd::instructions::{
    CASES, Count, TOLERANCE, countable, recorded, set_record,
};

use crate::report::Row;

const FIGURE: &str = "instructions";
const TRIES: usize = 3;

pub fn measure() -> Vec<Row> {
    if !countable() {
        eprintln!("!!! {FIGURE}: SKIPPED: proxyd is not the one that `make build` makes");
        return Vec::new();
    }
    let (recorded, mut rows) = (recorded(), Vec::new());
    for (name, count) in count() {
        let row = Row::new(FIGURE, &name, count, "a request");
        rows.push(match recorded.get(&name) {
            Some(before) => row.compared("the record", *before).at_most(TOLERANCE),
            None => row,
        });
    }
    rows
}

/// Makes what is counted the record.
pub fn update() {
    assert!(countable(), "proxyd is not the one that `make build` makes");
    set_record(&count());
}

fn count() -> BTreeMap<String, f64> {
    let least = |case| {
        let mut count = Count::new(case);
        (0..TRIES).map(|_| count.again()).last().unwrap_or_default()
    };
    CASES.into_iter().map(|case| (case.name.to_owned(), least(case))).collect()
}
