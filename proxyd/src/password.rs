//! `proxyd hash-password`: a password from standard input, or from a terminal that does not show it,
//! becomes what a route's `basic_auth` holds.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use thiserror::Error;

use crate::rules::hash_password;
use crate::say::say;

/// What bcrypt reads of a password.
const LONGEST: usize = 72;

/// Why there is no hash.
#[derive(Debug, Error)]
pub enum CannotHash {
    /// Nobody should be let in without one.
    #[error("standard input is empty: write the password there, as one line")]
    Empty,
    /// More would not count.
    #[error(
        "the password has more than {LONGEST} bytes, and bcrypt reads no more: choose a shorter one"
    )]
    Long,
    /// The hash has no place for it.
    #[error("the password has a line end or a zero byte in it: write it as one line")]
    Lines,
    /// It could not be read, or the hash not be written.
    #[error("cannot {what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Reads a password, with or without an end of line, and prints its hash.
pub(crate) fn run(cost: u32) -> Result<(), CannotHash> {
    let system = |what| move |source| CannotHash::System { what, source };
    let password = read().map_err(system("read standard input"))?;
    let mut word = password.as_slice();
    word = word.strip_suffix(b"\n").unwrap_or(word);
    word = word.strip_suffix(b"\r").unwrap_or(word);
    if word.is_empty() {
        return Err(CannotHash::Empty);
    }
    if word.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        return Err(CannotHash::Lines);
    }
    if word.len() > LONGEST {
        return Err(CannotHash::Long);
    }
    let hash = hash_password(word, cost)
        .map_err(|error| system("make a hash")(io::Error::other(error)))?;
    writeln!(io::stdout(), "{hash}").map_err(system("write standard output"))
}

/// All that there is, or more than can be used of it; from a terminal one line, which it does not show.
fn read() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut password = Vec::new();
    let mut input = stdin.lock().take(LONGEST as u64 + 3);
    if !stdin.is_terminal() {
        input.read_to_end(&mut password)?;
        return Ok(password);
    }
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    say!("The password, which is not shown as you type it:");
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)?;
    let line = input.read_until(b'\n', &mut password);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &shown)?;
    line.map(|_| password)
}
