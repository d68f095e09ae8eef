//! Memory that all connections of a worker work in, each for a moment.
//!
//! What stays behind in it is nobody's: a connection that has to keep something copies it.

use std::cell::RefCell;

/// Empty until the first connection needs it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Records as they have come.
    pub(super) incoming: RefCell<Vec<u8>>,
    /// Records as they go.
    pub(super) outgoing: RefCell<Vec<u8>>,
    /// What goes into one record and is in several pieces.
    pub(super) joined: RefCell<Vec<u8>>,
}
