//! init

fn main() {}
