//! The listening sockets that init keeps for jobs.
//!
//! A socket is opened when the first job that names its address starts, and closed when no job
//! names it any more. Between two generations of a job it stays open, so a client that connects
//! then waits in its backlog instead of being refused.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, listen, socket,
};
use nix::sys::stat::{Mode, umask};

use crate::descriptor::raised;
use crate::spec::{Address, Listen};
use crate::sys;

/// How many connections may wait while nobody accepts; the kernel's `somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// The sockets by their address.
#[derive(Debug, Default)]
pub struct Keeper {
    open: HashMap<Address, Kept>,
}

/// An open socket; dropping it closes it and removes its file.
#[derive(Debug)]
struct Kept {
    fd: OwnedFd,
    file: Option<SocketFile>,
}

/// A file that is this socket's as long as it is the one that was made then.
#[derive(Debug)]
struct SocketFile {
    path: Box<Path>,
    device: u64,
    inode: u64,
}

impl Keeper {
    /// The sockets of a spec in its order, opened now where they are not yet, as long as there are
    /// at most `most`. If one cannot be opened, none is opened.
    pub fn lend(&mut self, wanted: &[Listen], most: usize) -> Result<Vec<RawFd>, Errno> {
        let mut opened = Vec::new();
        for Listen { address, .. } in wanted {
            if !self.open.contains_key(address) && !opened.iter().any(|(new, _)| new == address) {
                if self.open.len() + opened.len() >= most {
                    return Err(Errno::EMFILE);
                }
                let kept = Kept::open(address).map_err(|error| sys::errno(&error))?;
                opened.push((address.clone(), kept));
            }
        }
        self.open.extend(opened);
        let kept = wanted.iter().filter_map(|listen| self.open.get(&listen.address));
        Ok(kept.map(|kept| kept.fd.as_raw_fd()).collect())
    }

    /// How many sockets are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Leaves the files of sockets where they are when they are closed: somebody who was let go of
    /// goes on listening there.
    pub fn leave_files(&mut self, lent: &[Listen]) {
        for Listen { address, .. } in lent {
            if let Some(kept) = self.open.get_mut(address) {
                kept.file = None;
            }
        }
    }

    /// Closes the sockets that are not wanted any more.
    pub fn keep(&mut self, wanted: impl Fn(&Address) -> bool) {
        self.open.retain(|address, _| wanted(address));
    }
}

impl Kept {
    fn open(address: &Address) -> io::Result<Self> {
        let (fd, file) = match address {
            Address::Tcp(address) => (OwnedFd::from(TcpListener::bind(address)?), None),
            Address::Unix(path) => {
                let socket = open_unix(path)?;
                (OwnedFd::from(socket), Some(SocketFile::at(path)?))
            }
        };
        listen(&fd, Backlog::new(BACKLOG)?)?;
        Ok(Self { fd: raised(fd)?, file })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        let is_ours = |meta: fs::Metadata| (meta.dev(), meta.ino()) == (file.device, file.inode);
        if fs::symlink_metadata(&file.path).is_ok_and(is_ours) {
            // Nothing more can be done about it.
            let _ = fs::remove_file(&file.path);
        }
    }
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        Ok(Self { path: path.into(), device: meta.dev(), inode: meta.ino() })
    }
}

/// Only init's own user may connect. A socket file that nobody listens on any more is replaced;
/// anything else at that path is not touched.
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
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        return false;
    }
    // Without waiting: a listener whose queue is full is alive.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = || {
        let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
    };
    probe() == Err(Errno::ECONNREFUSED)
}
