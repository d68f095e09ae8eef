//! The smallest program there is: what is measured is whoever starts it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::report::target;

const SOURCE: &str = "void _start(void) {\n\
    __asm__ volatile(\"mov $60, %eax; xor %edi, %edi; syscall\");\n}\n";

/// A static program that exits at once, without a C library.
pub fn program() -> PathBuf {
    let folder = target().join("bench");
    fs::create_dir_all(&folder).expect("target/ is writable");
    let (source, noop) = (folder.join("noop.c"), folder.join("noop"));
    fs::write(&source, SOURCE).expect("target/ is writable");
    let built = Command::new("cc")
        .args(["-static", "-nostdlib", "-O2", "-o"])
        .args([&noop, &source])
        .status();
    assert!(built.is_ok_and(|status| status.success()), "a C compiler builds the no-op");
    noop.canonicalize().expect("it was just built")
}
