//! `orphans COUNT`: leaves COUNT grandchildren behind, whose parents are gone: some exit at once,
//! some in a session of their own. Ends when all have been forked.

fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    // Batches keep the number of processes at once low.
    for batch in 0..count.div_ceil(100) {
        let size = 100.min(count - batch * 100);
        // SAFETY: a single-threaded program may do anything after fork.
        let parent = unsafe { libc::fork() };
        if parent == 0 {
            for number in 0..size {
                // SAFETY: as above.
                if unsafe { libc::fork() } == 0 {
                    if number % 2 == 0 {
                        // SAFETY: a plain system call.
                        unsafe { libc::setsid() };
                    }
                    std::process::exit(i32::try_from(number % 256).unwrap_or(0));
                }
            }
            std::process::exit(0);
        }
        // SAFETY: waits for the child just made.
        unsafe { libc::waitpid(parent, std::ptr::null_mut(), 0) };
    }
}
