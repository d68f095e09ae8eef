//! The scripts below `images/`, and what they need.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries;

/// A file below `images/`.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../images").join(name)
}

/// A script below `images/`, which will find the binaries under test.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(path(name));
    let init = binaries::program("init");
    command.env("JOBINIT_BIN", init.parent().expect("a program is in a folder"));
    command
}

/// Runs a script to its end, which has to be a good one.
#[track_caller]
pub fn run(mut script: Command) {
    let status = script.status().unwrap_or_else(|e| panic!("{script:?}: {e}"));
    assert!(status.success(), "{script:?}: {status}");
}

/// Two loopback addresses that nobody listens on.
pub fn free_addresses() -> [SocketAddr; 2] {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // Both are held until both are known, so that they differ.
    let held = [bind(), bind()];
    held.map(|listener| listener.local_addr().expect("a bound socket has an address"))
}
