//! What apps write: collected from init into files, and read from there.

pub(crate) mod keeping;
