//! bootctl

fn main() {}
