//! Ends well at once.

fn main() {}
