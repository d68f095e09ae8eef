//! The verbs that bootctl has, as it tells them itself: whoever goes over all of them forgets none that is new.

use std::process::Command;

use crate::binaries::program;
use crate::bootctl::said;

/// All that people use, from the list in `bootctl --help`.
#[track_caller]
pub fn all() -> Vec<String> {
    let said = said(Command::new(program("bootctl")).arg("--help").output().expect("it runs"));
    assert_eq!(said.code, Some(0), "{said:?}");
    let verbs = said.out.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs: Vec<_> = verbs
        .take_while(|line| !line.is_empty())
        // What is longer than a line goes on further to the right.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|verb| verb != "help")
        .collect();
    assert!(verbs.len() > 10, "{said:?}");
    verbs
}
