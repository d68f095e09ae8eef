//! `tells_signals FILE LAST [OTHER]`: writes the number of each signal that it gets to FILE, a line
//! each after `ready`, and ends well after the signal LAST. With OTHER, a child does the same there.

use std::fs::OpenOptions;
use std::io::Write;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, file, last, others @ ..] = args.as_slice() else { panic!("FILE LAST [OTHER]") };
    let last: i32 = last.parse().expect("a signal's number");
    // SAFETY: an empty set is valid, and the set is ours.
    let set = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    };
    let mut file = file;
    if let [other] = others {
        // SAFETY: a single-threaded program may do anything after fork.
        if unsafe { libc::fork() } == 0 {
            file = other;
        }
    }
    let mut told = OpenOptions::new().create(true).append(true).open(file).expect("FILE opens");
    writeln!(told, "ready").expect("FILE can be written");
    loop {
        let mut number = 0;
        // SAFETY: writes to `number` only.
        assert_eq!(unsafe { libc::sigwait(&raw const set, &raw mut number) }, 0);
        if number != libc::SIGCHLD {
            writeln!(told, "{number}").expect("FILE can be written");
        }
        if number == last {
            return;
        }
    }
}
