//! proxyd

fn main() {}
