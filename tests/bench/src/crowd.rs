//! Many jobs that only wait.

use std::net::SocketAddr;
use std::ops::Range;

use crate::client::{Client, request};
use crate::tiny;

const SOURCE: &str = "void _start(void) {\n\
    for (;;) __asm__ volatile(\"mov $34, %eax; syscall\");\n}\n";

/// Starts a job a number, of a program without a C library that pauses.
pub fn put(init: SocketAddr, numbers: Range<u32>) {
    put_with(init, numbers, "");
}

/// The same with more in the spec.
pub fn put_with(init: SocketAddr, numbers: Range<u32>, more: &str) {
    let program = tiny::build("pause", SOURCE, &["-nostdlib"]);
    let spec = format!("{{\"exec\":\"{}\"{more}}}", program.display());
    let mut client = Client::connect(init);
    for number in numbers {
        client.ask(&request("PUT", &format!("/job/job-{number}"), &spec));
    }
}
