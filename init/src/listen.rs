//! The sockets that init keeps for jobs.
//!
//! A socket is opened when the first job that names its address starts, and closed when no job
//! names it any more. Between two generations of a job it stays open, so a client that connects
//! then waits in its backlog instead of being refused. How it was opened stays with it: who names
//! it with other options is refused until it is closed.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, setsockopt,
    socket, sockopt,
};
use nix::sys::stat::{Mode, fstat, umask};
use nix::unistd::{Gid, Uid, fchownat, geteuid};

use crate::descriptor::{do_not_linger, raised};
use crate::occupant::{Search, SocketNumber};
use crate::snag::{Obstacle, Snag};
use crate::spec::{Address, Listen, Options, UnixName};
use crate::store::Store;
use crate::sys;

/// The sockets by their address.
#[derive(Debug, Default)]
pub struct Keeper {
    open: HashMap<Address, Kept>,
    search: Search,
}

/// An open socket; dropping it closes it and removes its file.
#[derive(Debug)]
struct Kept {
    fd: OwnedFd,
    options: Options,
    file: Option<SocketFile>,
}

/// A file that is this socket's as long as it is the one that was made then.
#[derive(Debug)]
struct SocketFile {
    path: Box<Path>,
    device: u64,
    inode: u64,
}

/// Why a socket cannot be lent: the kernel's reason, or what is as if it were.
pub type Failure = (Errno, Snag);

impl Keeper {
    /// The sockets of a spec in its order, opened now where they are not yet, as long as there are
    /// at most `most`. If one cannot be opened, none is opened.
    pub fn lend(
        &mut self,
        wanted: &[Listen],
        most: usize,
        stored: &Store,
    ) -> Result<Vec<RawFd>, Failure> {
        let mut opened: Vec<(Address, Kept)> = Vec::new();
        for Listen { address, options, .. } in wanted {
            let snag = |obstacle| Snag { address: address.clone(), obstacle };
            if let Some(kept) = self.open.get(address) {
                if let Some(option) = kept.options.difference(options) {
                    return Err((Errno::EADDRINUSE, snag(Some(Obstacle::Opened(option, None)))));
                }
            } else if !opened.iter().any(|(new, _)| new == address) {
                if self.open.len() + opened.len() >= most {
                    return Err((Errno::EMFILE, snag(None)));
                }
                match Kept::open(address, options) {
                    Ok(kept) => opened.push((address.clone(), kept)),
                    Err(errno @ Errno::EADDRINUSE) => {
                        let obstacle = self.obstacle(address, &opened, stored);
                        return Err((errno, snag(Some(obstacle))));
                    }
                    Err(errno) => return Err((errno, snag(None))),
                }
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

    /// Who has an address.
    fn obstacle(
        &mut self,
        address: &Address,
        opened: &[(Address, Kept)],
        stored: &Store,
    ) -> Obstacle {
        if let Address::Unix(UnixName::Path(path)) | Address::UnixDatagram(UnixName::Path(path)) =
            address
            && !is_socket(path)
        {
            return Obstacle::File;
        }
        let Some((sockets, search)) = self.search.sockets(address) else {
            return Obstacle::Unseen;
        };
        let mut kept = self.open.iter().chain(opened.iter().map(|(address, kept)| (address, kept)));
        let is_it = |kept: &Kept| kept.number().is_some_and(|number| sockets.contains(&number));
        if let Some((address, _)) = kept.find(|(_, kept)| is_it(kept)) {
            return Obstacle::Kept(address.clone(), None);
        }
        if let Some(job) = stored.who_has(&sockets) {
            return Obstacle::Stored(job.clone());
        }
        match search.process(&sockets) {
            Some((pid, _)) if pid == std::process::id().cast_signed() => Obstacle::Api,
            Some((pid, name)) => Obstacle::Process { pid, name, job: None },
            None => Obstacle::Unseen,
        }
    }
}

impl Kept {
    fn open(address: &Address, options: &Options) -> Result<Self, Errno> {
        let kept = match address {
            Address::Tcp(at) => {
                Self::bare(inet(SockaddrStorage::from(*at), true, options)?, options)
            }
            Address::Udp(at) => {
                Self::bare(inet(SockaddrStorage::from(*at), false, options)?, options)
            }
            Address::Unix(name) => Self::unix(name, SockType::Stream, options)?,
            Address::UnixDatagram(name) => Self::unix(name, SockType::Datagram, options)?,
        };
        if address.is_connected_to() {
            sys::listen(&kept.fd, options.backlog.into())?;
        }
        Ok(kept)
    }

    fn bare(fd: OwnedFd, options: &Options) -> Self {
        Self { fd, options: options.clone(), file: None }
    }

    fn unix(name: &UnixName, kind: SockType, options: &Options) -> Result<Self, Errno> {
        let fd = raised(socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?)?;
        match name {
            UnixName::Abstract(name) => {
                bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
                Ok(Self::bare(fd, options))
            }
            UnixName::Path(path) => {
                bind_file(&fd, path, kind, options.mode)?;
                let (file, handle) = SocketFile::at(path)?;
                // Removed with this, if what comes fails.
                let kept = Self { fd, options: options.clone(), file: Some(file) };
                if let Some(owner) = options.owner {
                    give(&handle, owner)?;
                }
                Ok(kept)
            }
        }
    }

    /// What the kernel's tables call it.
    fn number(&self) -> Option<SocketNumber> {
        fstat(&self.fd).ok().map(|stat| stat.st_ino)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        do_not_linger(&self.fd);
        let Some(file) = &self.file else { return };
        let is_ours = |meta: fs::Metadata| (meta.dev(), meta.ino()) == (file.device, file.inode);
        if fs::symlink_metadata(&file.path).is_ok_and(is_ours) {
            // Nothing more can be done about it.
            let _ = fs::remove_file(&file.path);
        }
    }
}

impl SocketFile {
    /// The file that was just made at `path`, and a handle on it.
    fn at(path: &Path) -> Result<(Self, OwnedFd), Errno> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = open(path, flags, Mode::empty())?;
        let stat = fstat(&handle)?;
        Ok((Self { path: path.into(), device: stat.st_dev, inode: stat.st_ino }, handle))
    }
}

/// Gives a socket's file to a user and a group. Somebody else may own the folder and have put
/// something in its place, so nothing is given but what can have been made by init just now.
fn give(file: &OwnedFd, (user, group): (u32, u32)) -> Result<(), Errno> {
    let stat = fstat(file)?;
    let is_socket = stat.st_mode & libc::S_IFMT == libc::S_IFSOCK;
    if !is_socket || stat.st_uid != geteuid().as_raw() || stat.st_nlink != 1 {
        return Err(Errno::ESTALE);
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    fchownat(file, "", Some(user), Some(group), AtFlags::AT_EMPTY_PATH)
}

fn inet(at: SockaddrStorage, is_stream: bool, options: &Options) -> Result<OwnedFd, Errno> {
    let is_v6 = at.as_sockaddr_in6().is_some();
    let family = if is_v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let kind = if is_stream { SockType::Stream } else { SockType::Datagram };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if is_stream {
        // Connections of an earlier owner that are still closing do not count. With datagrams it
        // would mean that the address can be taken away.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    if options.reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    if is_v6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &options.v6_only)?;
    }
    bind(fd.as_raw_fd(), &at)?;
    raised(fd)
}

/// Binds to a file with just this mode, from its first moment on. A socket file that nobody listens
/// on any more is replaced; anything else at that path is not touched.
fn bind_file(fd: &OwnedFd, path: &Path, kind: SockType, mode: u32) -> Result<(), Errno> {
    let at = UnixAddr::new(path)?;
    let before = umask(Mode::from_bits_truncate(!mode & 0o777));
    let bound = match bind(fd.as_raw_fd(), &at) {
        Err(Errno::EADDRINUSE) if is_stale(path, kind) => fs::remove_file(path)
            .map_err(|error| sys::errno(&error))
            .and_then(|()| bind(fd.as_raw_fd(), &at)),
        bound => bound,
    };
    umask(before);
    bound
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

fn is_stale(path: &Path, kind: SockType) -> bool {
    if !is_socket(path) {
        return false;
    }
    // Without waiting: a listener whose queue is full is alive.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = || {
        let probe = socket(AddressFamily::Unix, kind, flags, None)?;
        connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
    };
    probe() == Err(Errno::ECONNREFUSED)
}
