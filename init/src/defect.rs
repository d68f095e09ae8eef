//! Defects on demand, in builds for debugging only: tests show with them that init outlives its own.
//!
//! A job that is to be started under one of these names brings it about.

use std::hint::black_box;

/// Where a defect can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the task that answers a request.
    Handler,
    /// In the reactor.
    Reactor,
    /// In doing what the table asks for.
    Effect,
    /// In the table.
    Core,
    /// In a job that is started again by its policy.
    Respawn,
}

/// Does what `name` says, if it says something that is done here.
///
/// # Panics
///
/// If it says so.
pub fn here(place: Place, name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    match (place, name) {
        (Place::Handler, "defect-panic-in-handler")
        | (Place::Reactor, "defect-panic-in-reactor")
        | (Place::Effect, "defect-panic-in-effect")
        | (Place::Core, "defect-panic-in-core")
        | (Place::Respawn, "defect-panic-in-respawn") => panic!("as asked for"),
        (Place::Core, "defect-abort") => std::process::abort(),
        (Place::Core, "defect-overflow") => _ = black_box(descend(1)),
        (Place::Core, "defect-memory") => {
            _ = black_box(Vec::<u8>::with_capacity(isize::MAX.unsigned_abs() / 2));
        }
        _ => {}
    }
}

/// Needs more stack than there is.
#[expect(unconditional_recursion, reason = "it is meant to")]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    black_box(descend(depth + 1)) + frame.iter().sum::<u64>()
}
