//! What a command says on stderr.
//!
//! Nobody has to read it: what cannot be said is lost, and the command ends as it would have.

use std::fmt::Display;
use std::io::{Write, stderr};

/// Says why something was not done, or what is to be known of it.
pub(crate) fn say(what: impl Display) {
    remark(format_args!("bootctl: {what}\n"));
}

/// Says something as it is, without a line's end.
pub(crate) fn remark(what: impl Display) {
    // At once: what others say comes before or after it.
    drop(stderr().write_all(what.to_string().as_bytes()));
}
