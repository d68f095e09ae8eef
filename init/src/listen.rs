//! The listening sockets that init keeps for jobs.
//!
//! A socket is opened when the first job that names it starts, and closed when no job names it
//! any more. Between two generations of a job it stays open, so a client that connects then
//! waits in its backlog instead of being refused.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::socket::{Backlog, listen};
use nix::sys::stat::{Mode, umask};

use crate::descriptor::raised;
use crate::spec::{Address, Listen};

/// How many connections may wait while nobody accepts; the kernel's `somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// The sockets by what names them.
#[derive(Debug, Default)]
pub struct Keeper {
    open: HashMap<Listen, OwnedFd>,
}

impl Keeper {
    /// The sockets of a spec in its order, opened now where they are not yet. If one cannot be
    /// opened, none is opened.
    pub fn lend(&mut self, wanted: &[Listen]) -> Result<Vec<RawFd>, Errno> {
        let mut opened = Vec::new();
        for listen in wanted.iter().filter(|listen| !self.open.contains_key(*listen)) {
            match open(&listen.address) {
                Ok(fd) => opened.push((listen, fd)),
                Err(error) => {
                    for (listen, _) in &opened {
                        unlink(&listen.address);
                    }
                    return Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
                }
            }
        }
        self.open.extend(opened.into_iter().map(|(listen, fd)| (listen.clone(), fd)));
        Ok(wanted.iter().filter_map(|l| self.open.get(l)).map(AsRawFd::as_raw_fd).collect())
    }

    /// Closes the sockets that are not wanted any more.
    pub fn keep(&mut self, wanted: impl Fn(&Listen) -> bool) {
        self.open.retain(|listen, _| {
            let keep = wanted(listen);
            if !keep {
                unlink(&listen.address);
            }
            keep
        });
    }
}

fn open(address: &Address) -> io::Result<OwnedFd> {
    let fd = match address {
        Address::Tcp(address) => OwnedFd::from(TcpListener::bind(address)?),
        Address::Unix(path) => OwnedFd::from(open_unix(path)?),
    };
    listen(&fd, Backlog::new(BACKLOG)?)?;
    raised(fd).map_err(io::Error::from)
}

/// Only init's own user may connect. A socket file that nobody listens on any more is replaced.
fn open_unix(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path).and_then(|()| UnixListener::bind(path))
        }
        bound => bound,
    };
    umask(before);
    bound
}

fn is_stale(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

fn unlink(address: &Address) {
    match address {
        Address::Tcp(_) => {}
        // Somebody may have removed it before; there is nothing more to do about it.
        Address::Unix(path) => drop(fs::remove_file(path)),
    }
}
