//! The smallest program there is: what is measured is whoever starts it.

use std::path::PathBuf;

use crate::tiny;

const SOURCE: &str = "void _start(void) {\n\
    __asm__ volatile(\"mov $60, %eax; xor %edi, %edi; syscall\");\n}\n";

/// A static program that exits at once, without a C library.
pub fn program() -> PathBuf {
    tiny::build("noop", SOURCE, &["-nostdlib"])
}
