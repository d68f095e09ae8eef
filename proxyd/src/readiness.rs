//! What whoever started proxyd is told of it, over `NOTIFY_SOCKET` if there is one.
//!
//! It is a datagram to a unix socket; a name that begins with `@` is in no file system.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::time::{ClockId, clock_gettime};

use crate::say::say;

/// It serves by what is wanted now.
pub(crate) fn ready() {
    tell("READY=1\n");
}

/// It reads its config file anew; [`ready`] follows, whatever comes of it.
pub(crate) fn reloading() {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    let micros = now.unwrap_or_default().as_micros();
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
}

/// It drains, and ends then.
pub(crate) fn stopping() {
    tell("STOPPING=1\n");
}

fn tell(what: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(&name, what) {
        let what = what.lines().next().unwrap_or_default();
        say!("proxyd: NOTIFY_SOCKET {} does not take {what}: {error}", name.display());
    }
}

fn send(name: &OsStr, what: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // Whoever does not read what he is told keeps nobody from serving.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(what.as_bytes(), &address).map(drop)
}
