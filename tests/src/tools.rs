//! Programs that only some machines have.

use std::env;
use std::path::Path;

/// Whether all of these can be run. If not, the test says so and is to skip itself; in CI, where
/// nobody reads what was skipped, it fails.
#[track_caller]
pub fn present(tools: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &&&str| {
        Path::new(tool).is_absolute() && Path::new(tool).exists()
            || env::split_paths(&path).any(|folder| folder.join(tool).is_file())
    };
    let missing: Vec<_> = tools.iter().filter(|tool| !is_there(tool)).collect();
    if missing.is_empty() {
        return true;
    }
    skip(&format!("{missing:?} cannot be found; tests/install-deps installs it"));
    false
}

/// Says loudly that a test is skipped; in CI that is a failure.
#[track_caller]
pub fn skip(why: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "in CI nothing may be skipped: {why}");
    eprintln!("*** SKIPPED: {why} ***");
}
