//! Harness.

pub mod proxyd;
