//! What a command says: its answer on stdout, anything else on stderr.
//!
//! Nobody has to read stderr: what cannot be said there is lost, and the command ends as it would have. An answer is
//! what the command is for: it fails if that cannot be written, unless its reader, such as `head`, has seen enough.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write, stderr, stdout};

/// Why nobody has the answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be written: {0}")]
pub(crate) struct Unsaid(io::Error);

/// Whether an answer that goes on is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    Gone,
}

/// Answers with a text of whole lines.
pub(crate) fn answer(text: &str) -> Result<(), Unsaid> {
    piece(format!("{text}\n").as_bytes()).map(|_| ())
}

/// Answers with what there is so far.
pub(crate) fn piece(bytes: &[u8]) -> Result<Reader, Unsaid> {
    match write(bytes) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Unsaid(error)),
    }
}

/// Answers with what nobody else has: it is a failure too if nobody reads it.
pub(crate) fn only_answer(text: &str) -> Result<(), Unsaid> {
    write(format!("{text}\n").as_bytes()).map_err(Unsaid)
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = stdout();
    out.write_all(bytes)?;
    out.flush()
}

/// Says why something was not done, or what is to be known of it.
pub(crate) fn say(what: impl Display) {
    remark(format_args!("bootctl: {what}\n"));
}

/// Says something as it is, without a line's end.
pub(crate) fn remark(what: impl Display) {
    // At once: what others say comes before or after it.
    drop(stderr().write_all(what.to_string().as_bytes()));
}
