//! The control socket's file: mode 0660, a stale one replaced, a live one not stolen, removed at
//! a clean end.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::{fs, mem};

use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;

/// The file's name in the runtime folder.
pub(crate) const NAME: &str = "bootctl.sock";

/// The file, as long as it is ours.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    inode: u64,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error(
        "another bootctl listens on {}; stop it first, have this one take over with --take-over, or choose another folder with --run-dir",
        .0.display()
    )]
    Taken(PathBuf),
    #[error("{} is there and is no socket; remove it", .0.display())]
    NoSocket(PathBuf),
    #[error("the control socket {} cannot be created: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Socket {
    /// Creates it in `folder`, and that as well if need be.
    pub(crate) fn bind(folder: &Path) -> Result<(Self, UnixListener), SocketError> {
        let path = folder.join(NAME);
        let failed = |source| SocketError::Io { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        match UnixStream::connect(&path) {
            Ok(_) => return Err(SocketError::Taken(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                if !is_socket(&path) {
                    return Err(SocketError::NoSocket(path));
                }
                fs::remove_file(&path).map_err(failed)?;
            }
            Err(source) => return Err(failed(source)),
        }
        let before = umask(Mode::from_bits_truncate(0o117));
        let bound = UnixListener::bind(&path);
        umask(before);
        let listener = bound.map_err(failed)?;
        let inode = fs::metadata(&path).map_err(failed)?.ino();
        Ok((Self { path, inode }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let path = mem::take(&mut self.path);
        if fs::metadata(&path).is_ok_and(|file| file.ino() == self.inode) {
            // There is nobody left to tell.
            drop(fs::remove_file(path));
        }
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn d05_a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let (socket, _listener) = Socket::bind(folder.path()).expect("a stale one is replaced");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o660);
        let taken = Socket::bind(folder.path()).expect_err("a live one is kept");
        assert!(matches!(taken, SocketError::Taken(_)), "{taken}");
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "mine").expect("written");
        assert!(matches!(Socket::bind(folder.path()), Err(SocketError::NoSocket(_))));
    }
}
