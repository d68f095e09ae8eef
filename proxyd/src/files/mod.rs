//! Files of a folder, as a route serves them.
//!
//! ```text
//!   path ─▶ place (what a client may name) ─▶ folder (what there is, opened) ─▶ verdict (what of it is asked for)
//! ```
//!
//! The kernel itself sees to it that no name, and no link, leads out of the folder (`openat2`, `RESOLVE_BENEATH`): what
//! is checked of names here is what nobody is to see although it is in there.

mod folder;
mod kind;
mod place;
mod range;
mod validator;
mod verdict;

pub(crate) use folder::{Folder, Found, Missing, NotAFolder, Opened};
pub(crate) use place::{NoPlace, Place, encode};
pub(crate) use range::Part;
pub(crate) use verdict::{Verdict, judge};
