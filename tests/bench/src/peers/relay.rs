//! No proxy at all, but the least that can stand in its place.

use std::process::Command;

use super::{Peer, Setting, free};

pub fn to_tcp(setting: &Setting) -> Result<Peer, String> {
    start(&format!("tcp:{}", setting.tcp), &[])
}

pub fn to_unix(setting: &Setting) -> Result<Peer, String> {
    start(&format!("unix:{}", setting.unix.display()), &[])
}

/// It moves pages and copies nothing.
pub fn splicing(setting: &Setting) -> Result<Peer, String> {
    start(&format!("tcp:{}", setting.tcp), &["--splice"])
}

fn start(target: &str, flags: &[&str]) -> Result<Peer, String> {
    let address = free();
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.arg("relay").arg(address.to_string()).arg(target).args(flags);
    Peer::start(&mut command, address)
}
