//! The files of the unix sockets that apps listen on: the folder before an instance is started,
//! the file after it has ended, and who may connect in between.
//!
//! An app binds its socket itself, as its own user, in a folder that is its user's and that others
//! can only pass through. To connect takes the right to write to the file, which most umasks
//! leave to the owner; so bootctl grants it before it asks the app anything, and the proxy, which is
//! somebody else, gets in as well. What lies in such a folder is the app user's doing: no link in
//! it is followed, and nothing but a socket is touched.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use init_wire::{Account, JobSpec};
use nix::fcntl::OFlag;

use crate::account;
use crate::place::Place;

/// The kernel's bound of a socket's path, its end not counted.
const LONGEST: usize = 107;
/// Everybody may pass, nobody but the owner may look or write.
const FOLDER: u32 = 0o711;
/// Everybody may connect.
const OPEN: u32 = 0o666;
/// How far the time of a file may be behind the time that init tells: kernels stamp files by ticks.
const COARSE: Duration = Duration::from_millis(20);
/// The least wait before init starts again what listens on a socket of its own: the old file is
/// gone by then, and told from a new one by its time.
pub(crate) const LEAST_DELAY: Duration = Duration::from_millis(50);

/// Why there can be no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketFileError {
    #[error(
        "the path of its socket, {}, is longer than the {LONGEST} bytes that the kernel takes; \
         use socket = \"port\" or \"fd\", or a shorter --run-dir or name",
        .0.display()
    )]
    TooLong(PathBuf),
    #[error("the folder {} of its socket cannot be made: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
}

/// Makes the folder of a job's socket, if it has one, and clears what an earlier run has left.
pub(crate) fn prepare(spec: &JobSpec) -> Result<(), SocketFileError> {
    let Some(Place::Unix(path)) = Place::of(spec) else { return Ok(()) };
    if path.as_os_str().len() > LONGEST {
        return Err(SocketFileError::TooLong(path));
    }
    let Some(folder) = path.parent() else { return Ok(()) };
    let made = folder.parent().map_or(Ok(()), make).and_then(|()| make(folder));
    made.and_then(|()| give(folder, spec.user.as_ref()))
        .map_err(|source| SocketFileError::Folder { path: folder.to_owned(), source })?;
    remove(&path);
    Ok(())
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(folder, Permissions::from_mode(FOLDER))
}

/// Makes a folder that user's. Of a user that is not known init says so when it starts the job.
fn give(folder: &Path, user: Option<&Account>) -> io::Result<()> {
    let root = nix::unistd::geteuid().is_root();
    let uid = user.map_or(Some(0), account::uid);
    match uid.filter(|_| root) {
        Some(uid) => lchown(folder, Some(uid), None),
        None => Ok(()),
    }
}

/// Lets everybody connect who can reach the file.
pub(crate) fn admit(path: &Path) -> io::Result<()> {
    // A handle on the file itself: whoever replaces it in between replaces another one.
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let about = file.metadata()?;
    if !about.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no socket"));
    }
    if about.mode() & OPEN == OPEN { Ok(()) } else { set_open(&file) }
}

/// The kernel changes no mode by such a handle, but by the name that it has in `/proc`.
fn set_open(file: &File) -> io::Result<()> {
    let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(handle, Permissions::from_mode(OPEN))
}

/// Removes what a process that ended then has left: many servers do not listen where a file is.
/// The file of a later process is younger, see [`LEAST_DELAY`].
pub(crate) fn clear_stale(path: &Path, ended: SystemTime) {
    let modified = fs::symlink_metadata(path).and_then(|about| about.modified());
    if modified.is_ok_and(|time| time <= ended + COARSE) {
        remove(path);
    }
}

/// Removes a socket that nobody is to find any more.
pub(crate) fn remove(path: &Path) {
    // What cannot be removed is in the way of the app, which then says so.
    drop(fs::remove_file(path));
}

/// Removes an instance's socket with its folder, and the folder of all with the last one.
pub(crate) fn remove_all(spec: &JobSpec) {
    if let Some(Place::Unix(path)) = Place::of(spec) {
        remove(&path);
        for folder in path.ancestors().skip(1).take(2) {
            // One that is not empty stays.
            drop(fs::remove_dir(folder));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::app::sample;
    use crate::order::Revision;

    fn job(folder: &Path) -> (JobSpec, PathBuf) {
        let path = folder.join("apps/a.1/sock");
        (sample("a", 1).job(1, &Place::Unix(path.clone()), Revision::default()), path)
    }

    #[test]
    fn a_socket_has_a_folder_and_nothing_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (spec, path) = job(folder.path());
        prepare(&spec).expect("made");
        drop(UnixListener::bind(&path).expect("bound"));
        prepare(&spec).expect("cleared");
        assert!(!path.exists());
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!(mode(path.parent().expect("a folder")), FOLDER);
        remove_all(&spec);
        assert!(!folder.path().join("apps").exists());
        assert!(folder.path().exists());
    }

    #[test]
    fn only_sockets_are_opened_and_no_link_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "mine").expect("written");
        fs::set_permissions(path("file"), Permissions::from_mode(0o600)).expect("ours");
        symlink(path("file"), path("link")).expect("made");
        let _listener = UnixListener::bind(path("sock")).expect("bound");
        symlink(path("sock"), path("other")).expect("made");
        for bad in ["file", "link", "other", "nothing"] {
            assert!(admit(&path(bad)).is_err(), "{bad}");
        }
        admit(&path("sock")).expect("it is a socket");
        let mode = |name: &str| fs::metadata(path(name)).expect("there").mode() & 0o777;
        assert_eq!((mode("file"), mode("sock") & OPEN), (0o600, OPEN));
    }

    #[test]
    fn a_younger_socket_is_not_stale() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sock");
        drop(UnixListener::bind(&path).expect("bound"));
        let made = fs::metadata(&path).and_then(|about| about.modified()).expect("a time");
        clear_stale(&path, made - LEAST_DELAY);
        assert!(path.exists(), "it was made after that");
        clear_stale(&path, made);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_is_too_long_is_told() {
        let path = Path::new("/").join("x".repeat(LONGEST));
        let spec = sample("a", 1).job(1, &Place::Unix(path), Revision::default());
        assert!(matches!(prepare(&spec), Err(SocketFileError::TooLong(_))));
    }
}
