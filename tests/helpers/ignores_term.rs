//! Ignores SIGTERM, says so in the file that it is given, and waits to be killed.

use std::time::Duration;

fn main() {
    // SAFETY: ignoring runs no code.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    if let Some(path) = std::env::args_os().nth(1) {
        std::fs::write(path, "ready").expect("the marker can be written");
    }
    loop {
        std::thread::sleep(Duration::from_mins(1));
    }
}
