//! Small static programs, built from C where they are needed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::report::target;

/// Builds `target/bench/NAME` from its source, and answers its whole path.
pub fn build(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let folder = target().join("bench");
    fs::create_dir_all(&folder).expect("target/ is writable");
    let (path, program) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&path, source).expect("target/ is writable");
    let built = Command::new("cc")
        .args(["-static", "-O2", "-fno-stack-protector"])
        .args(flags)
        .arg("-o")
        .args([&program, &path])
        .status();
    assert!(built.is_ok_and(|status| status.success()), "a C compiler builds {name}");
    program.canonicalize().expect("it was just built")
}
