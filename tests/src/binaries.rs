//! Where the programs under test are.

use std::path::PathBuf;

/// A program of `make build`, or of the folder in `JOBINIT_BIN`.
pub fn program(name: &str) -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bin");
    let folder = std::env::var_os("JOBINIT_BIN").map_or_else(|| built.into(), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is not there: run `make build` first", path.display());
    path.canonicalize().expect("a path that exists has a canonical form")
}
