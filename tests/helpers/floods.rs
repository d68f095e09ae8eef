//! Writes numbered lines to standard output as fast as they are taken: `floods BYTES`, rounded up to
//! whole lines of 100 bytes; without end if that is 0.

use std::fmt::Write as _;
use std::io::Write;

const LINES: usize = 600;

fn main() {
    let bytes: u64 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(0);
    let mut out = std::io::stdout().lock();
    let (mut line, mut written) = (0_u64, 0_u64);
    while bytes == 0 || written < bytes {
        let mut text = String::with_capacity(LINES * 100);
        for _ in 0..LINES {
            if bytes > 0 && written >= bytes {
                break;
            }
            let _ = writeln!(text, "{line:099}");
            line += 1;
            written += 100;
        }
        if out.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}
